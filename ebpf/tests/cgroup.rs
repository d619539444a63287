//! A limit of memory and a kill for lack of it, in a real memory cgroup: of the first hierarchy or of the unified one,
//! whichever has the controller here.
//!
//! Needs root, BPF and Python. The killer is met only inside a cgroup of its own, whose file system is checked before
//! a limit is written; where none can be had it says loudly that it was skipped. It also runs in virtual machines,
//! where the controller is in the unified hierarchy.

#![allow(clippy::unwrap_used, reason = "a test, where a panic is the report")]

mod seen;
#[allow(dead_code, reason = "other suites use the rest")]
mod victim;
mod whole;

use seen::wait;
use snowshed_engine::model::{HostScope, HostSignal, Observation, Resource};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use victim::Victim;

const MIB: u64 = 1 << 20;
const ROOT: &str = "/sys/fs/cgroup";
const V1: i64 = 0x0027_e0eb;
const V2: i64 = 0x6367_7270;

/// A memory cgroup; gone with it.
struct Group(PathBuf);

impl Group {
    /// With this limit, and with none of its members' own above it; else the reason why there is no such thing here.
    fn new(limit: u64) -> Result<Self, String> {
        Self::unified(limit).or_else(|unified| Self::first(limit).map_err(|first| format!("{unified}; {first}")))
    }

    fn unified(limit: u64) -> Result<Self, String> {
        let root = Path::new(ROOT);
        if !is(root, V2) {
            return Err(format!("{ROOT} is no cgroup of the unified hierarchy"));
        }
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).map_err(|error| error.to_string())?;
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return Err("the unified hierarchy has no memory controller".to_owned());
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory").map_err(|error| format!("+memory: {error}"))?;
        Self::made(root, V2, "memory.max", limit)
    }

    fn first(limit: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = own.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path.to_owned());
        let path = path.ok_or("the memory controller is in no hierarchy of its own")?;
        Self::made(
            &Path::new(ROOT).join("memory").join(path.trim_start_matches('/')),
            V1,
            "memory.limit_in_bytes",
            limit,
        )
    }

    fn made(parent: &Path, magic: i64, file: &str, limit: u64) -> Result<Self, String> {
        if !is(parent, magic) {
            return Err(format!("{} is no cgroup", parent.display()));
        }
        let group = parent.join(format!("snowshed-test-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("make {}: {error}", group.display()))?;
        let group = Self(group);
        assert!(is(&group.0, magic), "{} is no cgroup", group.0.display());
        fs::write(group.0.join(file), limit.to_string()).map_err(|error| format!("{file}: {error}"))?;
        let told = fs::read_to_string(group.0.join(file)).map_err(|error| error.to_string())?;
        if told.trim() != limit.to_string() {
            return Err(format!("the kernel made {} of a limit of {limit}", told.trim()));
        }
        println!("{file} in {}", group.0.display());
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process of it may still be ending.
        let begun = Instant::now();
        while fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
    }
}

fn is(folder: &Path, magic: i64) -> bool {
    let path = CString::new(folder.to_str().unwrap()).unwrap();
    // SAFETY: all-zero is a valid answer, and the path is terminated.
    let mut told: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid.
    unsafe { libc::statfs(path.as_ptr(), &raw mut told) == 0 && told.f_type == magic }
}

#[test]
fn a_kill_for_lack_of_memory_in_a_cgroup_is_seen_with_its_limit() {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "this test attaches kernel programs: run it as root");
    let limit = 64 * MIB;
    let group = match Group::new(limit) {
        Ok(group) => group,
        Err(reason) => {
            // The decoding has its unit test; that the kernel's tracepoint fires was then not tried here.
            println!("SKIPPED: a kill for lack of memory: {reason}");
            return;
        }
    };
    let victim = Victim::start("say('ready'); wait(); wait(); keep = bytearray(200 << 20); say('survived')");
    victim.expect("ready");
    let pid = victim.pid();
    fs::write(group.0.join("cgroup.procs"), pid.to_string()).unwrap();
    let mut session = whole::start();
    session.add_target(pid).unwrap();
    victim.go_on();
    let told = wait(&mut session, "the cgroup's level", |seen| match seen {
        Observation::Level(level) if level.pid == pid && level.resource == Resource::CgroupMemory => {
            level.limit.filter(|told| *told == limit).map(|_| *level)
        }
        _ => None,
    });
    assert!(told.value < limit, "{told:?}");
    wait(&mut session, "a look at the cgroup", |seen| match seen {
        Observation::Host(look) if look.pid == Some(pid) && look.scope == HostScope::Cgroup => {
            look.items.iter().any(|item| item.signal == HostSignal::OomKills).then_some(())
        }
        _ => None,
    });
    victim.go_on();
    wait(&mut session, "the kill", |seen| match seen {
        Observation::OomKill(kill) if kill.pid == pid => Some(()),
        _ => None,
    });
    drop(victim);
}
