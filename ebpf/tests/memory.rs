//! Memory and the host layer on the running kernel, against programs whose doings are known.
//!
//! Needs root and BPF, and `cc` for the programs whose functions must be named. No test provokes a shortage of the
//! machine; the killer is met in the suite `cgroup`.

#![allow(clippy::unwrap_used, reason = "a test, where a panic is the report")]

mod seen;
#[allow(dead_code, reason = "other suites use the rest")]
mod victim;
mod whole;

use seen::wait;
use snowshed_ebpf::{Session, Tier};
use snowshed_engine::model::{Level, Observation, PageKind, Pages, Pid, Resource, SiteId};
use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use victim::Victim;

const MIB: u64 = 1 << 20;

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let session = whole::start();
    // A machine of an older kernel says what it is known to lack; anywhere else a lack is a failure.
    let lacks = std::env::var("SNOWSHED_LACKS").unwrap_or_default();
    for probe in session.status().iter().filter(|probe| ["memory", "host"].contains(&probe.name)) {
        let known = lacks.split(',').any(|name| name == probe.name);
        assert!(probe.tier == Tier::Full || known, "{}: {} ({})", probe.name, probe.reason, probe.remedy);
    }
    session
}

fn level(seen: &Observation, pid: Pid, wanted: Resource) -> Option<Level> {
    match seen {
        Observation::Level(level) if level.pid == pid && level.resource == wanted => Some(*level),
        _ => None,
    }
}

fn pages(seen: &Observation, pid: Pid, kind: PageKind) -> Option<&Pages> {
    match seen {
        Observation::Pages(pages) if pages.pid == pid && pages.kind == kind => Some(pages),
        _ => None,
    }
}

/// A program in C, compiled in a folder of its own; both end with the test.
struct Program {
    child: Child,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Program {
    fn start(name: &str, source: &str) -> Self {
        let folder = Folder(std::env::temp_dir().join(format!("snowshed-{name}-{}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        let (file, program) = (folder.0.join("victim.c"), folder.0.join("victim"));
        fs::write(&file, format!("#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n{source}")).unwrap();
        let built = Command::new("cc").args(["-g", "-O1", "-fno-inline", "-o"]).arg(&program).arg(&file).status();
        assert!(built.expect("these tests need cc (Debian: gcc)").success(), "the program does not compile");
        // Its input is a pipe of ours: should this test be killed, a read there ends it.
        let child = Command::new(&program).stdin(Stdio::piped()).spawn().unwrap();
        Self { child, _folder: folder }
    }

    /// What it reads is there.
    fn begin(&mut self) {
        self.child.stdin.as_mut().expect("it is a pipe").write_all(b"x").unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Bytes by the first frame of a site that one of `names` is in, and all bytes, until so many came in.
fn bytes_by_function(session: &mut Session, pid: Pid, names: &[&str], until: u64) -> (HashMap<String, u64>, u64) {
    let (mut sites, mut all) = (HashMap::<SiteId, u64>::new(), 0);
    wait(session, "enough pages", |seen| {
        let pages = pages(seen, pid, PageKind::Anon)?;
        all += pages.bytes;
        for place in &pages.sites {
            *sites.entry(place.site).or_default() += place.bytes;
        }
        (all >= until).then_some(())
    });
    let mut found = HashMap::new();
    for (site, bytes) in sites {
        let frames = session.frames(site);
        let name = names.iter().find(|name| frames.iter().any(|frame| frame.function.contains(**name)));
        *found.entry(name.map_or_else(|| "?".to_owned(), |name| (*name).to_owned())).or_default() += bytes;
    }
    (found, all)
}

#[test]
fn pages_are_counted_and_the_function_that_leaks_is_named() {
    // Each millisecond 32 KiB kept by one function, and 4 KiB by another: a ninth.
    let mut program = Program::start(
        "leak",
        "void *hold; void keep(char *p) { *(void **)p = hold; hold = p; }
         void leaky_upload(void) { char *p = malloc(32768); memset(p, 1, 32768); keep(p); }
         void small_cache(void) { char *p = malloc(4096); memset(p, 1, 4096); keep(p); }
         int main(void) { read(0, &hold, 1); for (int i = 0; i < 10000; i++) { leaky_upload(); small_cache(); usleep(1000); } read(0, &hold, 1); }",
    );
    let mut session = session();
    let pid = program.child.id();
    session.add_target(pid).unwrap();
    // A session may take seconds to start.
    program.begin();
    // Counting begins with the first period; from there on the count must fit the kernel's own level.
    wait(&mut session, "the first pages", |seen| {
        pages(seen, pid, PageKind::Anon).filter(|told| told.bytes > 0).map(|_| ())
    });
    let before = wait(&mut session, "a level", |seen| level(seen, pid, Resource::RssAnon)).value;
    // Each fifth of a second is divided by some ten stacks, of which the last stands for half of its pages: of 64 MiB the
    // smaller part came out three times too large by chance in one of fifty runs.
    let (by, all) = bytes_by_function(&mut session, pid, &["leaky_upload", "small_cache"], 256 * MIB);
    let after = wait(&mut session, "a level", |seen| level(seen, pid, Resource::RssAnon)).value;
    let leaky = by.get("leaky_upload").copied().unwrap_or(0);
    let small = by.get("small_cache").copied().unwrap_or(0);
    assert!(leaky > all * 7 / 10, "{by:?} of {all}");
    assert!(small < leaky / 3, "{by:?} of {all}");
    // A level is told with the count; a look more or less may lie between them.
    let grown = after - before;
    assert!(grown < all * 2 && all < grown * 2, "counted {all}, grown {grown}");
}

#[test]
fn memory_that_is_used_again_comes_in_nowhere() {
    let program = Program::start(
        "reuse",
        "int main(void) { for (;;) { char *p = malloc(65536); memset(p, 1, 65536); free(p); usleep(500); } }",
    );
    let mut session = session();
    let pid = program.child.id();
    session.add_target(pid).unwrap();
    // Four seconds of 2,000 allocations each.
    let (mut told, mut bytes) = (0, 0);
    wait(&mut session, "four records", |seen| {
        let pages = pages(seen, pid, PageKind::Anon)?;
        // The first covers the time before counting began.
        (told, bytes) = (told + 1, if told == 0 { 0 } else { bytes + pages.bytes });
        (told == 5).then_some(())
    });
    assert!(bytes < MIB, "{bytes} bytes came in where everything is used again");
}

/// The next value of each level that was measured after that time.
fn levels_after<const N: usize>(session: &mut Session, pid: Pid, kinds: [Resource; N], at: u64) -> [u64; N] {
    let mut found = [None; N];
    wait(session, "a later level of each kind", |seen| {
        for (kind, found) in kinds.iter().zip(&mut found) {
            let value = level(seen, pid, *kind).filter(|level| level.at > at).map(|level| level.value);
            *found = value.or(*found);
        }
        found.iter().all(Option::is_some).then_some(())
    });
    found.map(|value| value.expect("all of them came"))
}

#[test]
fn kinds_of_memory_are_told_apart() {
    let victim = Victim::start(
        r#"
import mmap, os, tempfile
wait(); own = bytearray(24 << 20); say('own')
wait(); fd = os.memfd_create('x'); os.ftruncate(fd, 40 << 20); shared = mmap.mmap(fd, 40 << 20)
for at in range(0, 40 << 20, 4096): shared[at] = 1
say('shared')
wait(); file = tempfile.TemporaryFile(dir='.'); file.write(bytes(16 << 20)); file.flush()
view = mmap.mmap(file.fileno(), 16 << 20, prot=mmap.PROT_READ); sum(view[at] for at in range(0, 16 << 20, 4096)); say('file')
wait(); space = mmap.mmap(-1, 512 << 20); say('space'); wait()
"#,
    );
    let mut session = session();
    let pid = victim.pid();
    session.add_target(pid).unwrap();
    let kinds = [Resource::RssAnon, Resource::RssShmem, Resource::RssFile, Resource::AddressSpace];
    let mut last = levels_after(&mut session, pid, kinds, 0);
    for (step, name, rise) in [(0, "own", 24), (1, "shared", 40), (2, "file", 16), (3, "space", 512)] {
        victim.go_on();
        victim.expect(name);
        let at = Session::now();
        let mut now = levels_after(&mut session, pid, kinds, at);
        let grown: Vec<u64> = now.iter().zip(last).map(|(now, last)| now.saturating_sub(last) / MIB).collect();
        assert!((rise - 1..=rise + 2).contains(&grown[step]), "{name}: {grown:?}");
        for other in (0..3).filter(|other| *other != step) {
            // Reading a file page by page maps a few more around each.
            assert!(grown[other] <= 2, "{name}: {grown:?}");
        }
        std::mem::swap(&mut last, &mut now);
    }
}

#[test]
fn shared_pages_are_counted_as_such() {
    let victim = Victim::start(
        r#"
import mmap, os
fd = os.memfd_create('x'); os.ftruncate(fd, 40 << 20); shared = mmap.mmap(fd, 40 << 20); wait()
for at in range(0, 40 << 20, 4096): shared[at] = 1
say('done'); wait()
"#,
    );
    let mut session = session();
    let pid = victim.pid();
    session.add_target(pid).unwrap();
    wait(&mut session, "counting", |seen| pages(seen, pid, PageKind::Shmem).map(|_| ()));
    victim.go_on();
    victim.expect("done");
    let mut bytes = 0;
    wait(&mut session, "40 MiB of shared memory", |seen| {
        bytes += pages(seen, pid, PageKind::Shmem)?.bytes;
        (bytes >= 39 * MIB).then_some(())
    });
    assert!(bytes <= 41 * MIB, "{bytes}");
}
