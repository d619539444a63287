//! Trace contexts that threads publish, however their program was built: every file that they make has the owner that its
//! name says, and none has another.
//!
//! Needs root, BPF, `cc` (Debian: gcc), `strip` (binutils), and `musl-gcc` (musl-tools). What is missing fails the test
//! and is named: nothing is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its victim has failed")]

#[path = "context/built.rs"]
mod built;
#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod victim;
mod whole;

use built::Built;
use snowshed_ebpf::{ContextStatus, OpenFd, Session};
use snowshed_engine::model::{Join, Observation, Pid};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(20);
const THREADS: usize = 8;
const FILES: usize = 40;

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    whole::start()
}

/// Polls until something holds.
fn until(session: &mut Session, what: &str, mut holds: impl FnMut(&mut Session, &[Observation]) -> bool) {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < PATIENCE {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        if holds(session, &seen) {
            return;
        }
    }
    panic!("not within {PATIENCE:?}: {what}; {:?}", session.contexts());
}

/// What the processes hold open of this folder's files: name and owner.
fn files(session: &mut Session, pids: &[Pid], folder: &Path) -> Vec<(String, OpenFd)> {
    let folder = folder.canonicalize().unwrap();
    let mut all = Vec::new();
    for pid in pids {
        let Some(view) = session.holdings(*pid) else { continue };
        let numbers: Vec<i32> = view.items.iter().map(|item| item.number).collect();
        let open = session.open(*pid, &numbers).unwrap();
        all.extend(open.into_iter().filter_map(|one| {
            let name = Path::new(one.name.as_deref()?).strip_prefix(&folder).ok()?.to_str()?.to_owned();
            Some((name, one))
        }));
    }
    all
}

/// Every owner is the one that the name says: the trace in hex, or "none", then a dash and what tells files apart.
fn assert_owners(files: &[(String, OpenFd)], expected: usize, join: impl Fn(&str) -> Join) {
    assert_eq!(files.len(), expected, "files that are open");
    let wrong: Vec<_> = files
        .iter()
        .filter(|(name, file)| {
            let (said, who) = name.split_once('-').unwrap_or((name, ""));
            let owner = file.item.owner;
            let trace = owner.trace.map(|trace| trace.to_string());
            if said == "none" {
                trace.is_some() || owner.join != Join::None
            } else {
                trace.as_deref() != Some(said) || owner.join != join(who)
            }
        })
        .map(|(name, file)| (name, file.item.owner))
        .collect();
    assert!(wrong.is_empty(), "{} of {expected} owners are wrong: {wrong:#?}", wrong.len());
}

/// Runs a program whose threads publish, and holds every owner against the truth.
fn exact(program: &Path, libraries: &[std::path::PathBuf], how: impl Fn(&ContextStatus) -> u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.arg(folder.path()).args([THREADS.to_string(), FILES.to_string()]).args(libraries);
    let victim = Victim::run(&mut command);
    victim.expect("ready");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    session.set_stack_rate(0);
    if !libraries.is_empty() {
        assert_eq!(session.contexts().none, 1, "it has loaded nothing that publishes yet");
    }
    victim.go_on();
    victim.expect("loaded");
    until(&mut session, "where its threads publish is found", |session, _| how(&session.contexts()) == 1);
    victim.go_on();
    victim.expect("done");
    let files = files(&mut session, &[victim.pid()], folder.path());
    assert_owners(&files, THREADS * FILES, |_| Join::ThreadContext);
}

#[test]
fn of_the_program_itself() {
    let built = Built::new();
    let program = built.program("cc", "threads.c", &["-DLINKED", "-Wl,--export-dynamic-symbol=otel_thread_ctx_v1"]);
    exact(&program, &[], |status| status.program);
    // The name is in the table that stripping leaves.
    built.strip(&program);
    exact(&program, &[], |status| status.program);
    // Not shown, not stripped; at a fixed address; and with other storage before it.
    exact(&built.program("cc", "threads.c", &["-DLINKED", "-no-pie"]), &[], |status| status.program);
    exact(&built.program("cc", "threads.c", &["-DLINKED", "-static"]), &[], |status| status.program);
    let filled = built.source("filler.c");
    let aligned = ["-DLINKED", "-DSIZE=77", filled.to_str().unwrap(), "-rdynamic"];
    exact(&built.program("cc", "threads.c", &aligned), &[], |status| status.program);
}

#[test]
fn of_a_library_that_the_program_is_linked_with() {
    for dialect in ["gnu", "gnu2"] {
        let built = Built::new();
        let library = built.library("cc", "publisher", &[&format!("-mtls-dialect={dialect}")]);
        let program = built.linked("cc", &library);
        exact(&program, &[], |status| status.library + status.dynamic);
    }
    let built = Built::new();
    let library = built.library("cc", "publisher", &["-ftls-model=initial-exec"]);
    built.strip(&library);
    exact(&built.linked("cc", &library), &[], |status| status.library);
}

#[test]
fn of_a_library_that_is_loaded_late() {
    let built = Built::new();
    let program = built.program("cc", "threads.c", &["-ldl"]);
    for dialect in ["gnu", "gnu2"] {
        let library = built.library("cc", "publisher", &[&format!("-mtls-dialect={dialect}")]);
        // One that is alone still finds room beside the thread pointer, if it asks by a descriptor.
        exact(&program, &[library], |status| status.library + status.dynamic);
    }
}

#[test]
fn of_a_library_that_is_loaded_after_many() {
    let built = Built::new();
    let program = built.program("cc", "threads.c", &["-ldl"]);
    for dialect in ["gnu", "gnu2"] {
        let flag = format!("-mtls-dialect={dialect}");
        // More modules than a thread's table has room for at first, and no room beside the thread pointer.
        let mut libraries = built.fillers("cc", 80, &flag);
        libraries.push(built.library("cc", "publisher", &[&flag]));
        exact(&program, &libraries, |status| status.dynamic);
    }
}

#[test]
fn of_programs_with_musl() {
    let built = Built::new();
    exact(&built.program("musl-gcc", "threads.c", &["-DLINKED", "-static"]), &[], |status| status.program);
    exact(&built.program("musl-gcc", "threads.c", &["-DLINKED", "-rdynamic"]), &[], |status| status.program);
    let program = built.program("musl-gcc", "threads.c", &["-rdynamic"]);
    for dialect in ["gnu", "gnu2"] {
        let flag = format!("-mtls-dialect={dialect}");
        let library = built.library("musl-gcc", "publisher", &[&flag]);
        exact(&built.linked("musl-gcc", &library), &[], |status| status.library + status.dynamic);
        let mut libraries = built.fillers("musl-gcc", 20, &flag);
        libraries.push(library);
        exact(&program, &libraries, |status| status.dynamic);
    }
}

#[test]
fn garbage_reads_as_none() {
    let built = Built::new();
    let whole = built.program("cc", "garbage.c", &["publisher", "-rdynamic"]);
    let library = built.library("cc", "publisher", &["-mtls-dialect=gnu"]);
    let split = built.against("cc", "garbage.c", &library);
    for (program, tables) in [(whole, false), (split, true)] {
        let folder = tempfile::tempdir().unwrap();
        let victim = Victim::run(Command::new(&program).arg(folder.path()));
        victim.expect("ready");
        let mut session = session();
        session.add_target(victim.pid()).unwrap();
        until(&mut session, "where it publishes is found", |session, _| session.contexts().none == 0);
        victim.go_on();
        victim.expect("done");
        let mut files = files(&mut session, &[victim.pid()], folder.path());
        assert!(files.len() > 50, "{}", files.len());
        if !tables {
            // What is published at a fixed place does not depend on the table: under a broken one it is right.
            let right = files.iter().filter(|(_, file)| file.item.owner.trace.is_some()).count();
            assert_eq!(right, 1 + 15, "one of each table, and the last");
            files.retain(|(name, file)| !name.starts_with("none") || file.item.owner.trace.is_none());
        }
        let count = files.len();
        assert_owners(&files, count, |_| Join::ThreadContext);
    }
}

#[test]
fn children_inherit_and_threads_until_they_publish() {
    let built = Built::new();
    let program = built.program("cc", "family.c", &["publisher", "-rdynamic"]);
    let folder = tempfile::tempdir().unwrap();
    let victim = Victim::run(Command::new(&program).arg(folder.path()));
    victim.expect("ready");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    victim.go_on();
    victim.expect("done");
    let path = folder.path().to_owned();
    let all = |session: &mut Session| {
        let pids = session.targets();
        files(session, &pids, &path)
    };
    // A child holds its parent's files too: each counts for who made it.
    let wanted = ["lent", "thread", "idle", "copy", "child", "executed", "grandchild", "later"];
    until(&mut session, "everybody has made its file", |session, _| {
        let files = all(session);
        wanted.iter().all(|who| files.iter().any(|(name, _)| name.ends_with(who)))
    });
    let files = all(&mut session);
    let count = files.len();
    assert_owners(&files, count, |who| match who {
        "thread" | "copy" => Join::ThreadContext,
        _ => Join::Inherited,
    });
    let lent: Vec<&str> =
        files.iter().filter(|(_, file)| file.item.owner.lent).map(|(name, _)| name.as_str()).collect();
    // Of the thread's files, and of its children's copies of them, but of no child's own.
    assert!(!lent.is_empty() && lent.iter().all(|name| name.ends_with("-lent")), "{lent:?}");
    for pid in session.targets().into_iter().filter(|pid| *pid != victim.pid()) {
        // SAFETY: a signal to a child of this test's own program, which it has not waited for.
        unsafe { libc::kill(libc::pid_t::try_from(pid).unwrap(), libc::SIGKILL) };
    }
}

const PROCESS_CONTEXT: &str = r#"
import ctypes, mmap, os, struct
memory = None
def message(number, body): return bytes([number << 3 | 2, len(body)]) + body
def attribute(key, value): return message(1, key) + message(2, message(1, value))
def publish(service, instance, size=None, pointer=None, stamp=1, schema=b'tlsdesc_v1_dev'):
    global memory, address
    if memory is None:
        fd = os.memfd_create('OTEL_CTX'); os.ftruncate(fd, 4096)
        memory = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE); os.close(fd)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    body = message(1, message(1, attribute(b'service.name', service)) + message(1, attribute(b'service.instance.id', instance)))
    body += message(2, attribute(b'threadlocal.schema_version', schema))
    memory[16:24] = bytes(8)
    memory[32:32 + len(body)] = body
    memory[0:16] = b'OTEL_CTX' + struct.pack('=II', 2, len(body) if size is None else size)
    memory[24:32] = struct.pack('=Q', address + 32 if pointer is None else pointer)
    memory[16:24] = struct.pack('=Q', stamp)
say('ready'); wait()
publish(b'checkout', b'seven'); say('named'); wait()
publish(b'wrong', b'x', size=0xffffffff, stamp=2)
publish(b'wrong', b'x', pointer=1, stamp=3)
publish(b'wrong', b'x', pointer=(1 << 64) - 1, stamp=4)
publish(b'wrong', b'x', size=17, stamp=5); say('hostile'); wait()
publish(b'payment', b'eight', stamp=6, schema=b'another_v9'); say('renamed'); wait()
if os.fork() == 0: wait(); os._exit(0)
say('forked'); wait()
"#;

#[test]
fn a_process_is_called_what_it_calls_itself() {
    let victim = Victim::start(PROCESS_CONTEXT);
    let pid = victim.pid();
    victim.expect("ready");
    let mut session = session();
    session.add_target(pid).unwrap();
    let named = |seen: &[Observation]| {
        seen.iter().find_map(|seen| match seen {
            Observation::Process(one) if one.pid == pid => Some((one.name.clone(), one.instance.clone())),
            _ => None,
        })
    };
    until(&mut session, "its kernel name", |_, seen| named(seen).is_some_and(|(name, _)| name.starts_with("python3")));
    victim.go_on();
    victim.expect("named");
    let right = ("checkout".to_owned(), Some("seven".to_owned()));
    until(&mut session, "its own name", |_, seen| named(seen) == Some(right.clone()));
    assert_eq!((session.contexts().named, session.contexts().reasons.len()), (1, 0));
    victim.go_on();
    victim.expect("hostile");
    victim.go_on();
    victim.expect("renamed");
    // What was garbage in between was never told; what came after it is.
    until(&mut session, "its new name", |_, seen| {
        let name = named(seen);
        assert_ne!(name.as_ref().map(|(name, _)| name.as_str()), Some("wrong"));
        name == Some(("payment".to_owned(), Some("eight".to_owned())))
    });
    let reasons = session.contexts().reasons;
    assert!(reasons.iter().any(|reason| reason.contains("another_v9")), "{reasons:?}");
    victim.go_on();
    // A child is not what its parent called itself.
    let mut child = None;
    until(&mut session, "the child", |_, seen| {
        child = child.take().or_else(|| {
            seen.iter().find_map(|seen| match seen {
                Observation::Process(one) if one.parent == Some(pid) => Some((one.name.clone(), one.instance.clone())),
                _ => None,
            })
        });
        child.is_some()
    });
    assert!(child.is_some_and(|(name, instance)| name.starts_with("python3") && instance.is_none()));
}

#[test]
fn a_process_that_holds_up_whoever_reads_it_holds_up_nobody_else() {
    let built = Built::new();
    let silent = Victim::run(&mut Command::new(built.program("cc", "silent.c", &[])));
    silent.expect("ready");
    let mut session = session();
    session.add_target(silent.pid()).unwrap();
    let victim = Victim::start(PROCESS_CONTEXT);
    victim.expect("ready");
    session.add_target(victim.pid()).unwrap();
    victim.go_on();
    until(&mut session, "the other one's name, and that this one is silent", |session, _| {
        let contexts = session.contexts();
        contexts.named == 1 && contexts.reasons.iter().any(|reason| reason.contains("has not answered"))
    });
    // What needs no memory of it goes on.
    assert!(session.holdings(silent.pid()).is_some_and(|view| !view.items.is_empty()));
}
