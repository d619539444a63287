//! Threads on the running kernel: locks that are waited for and pools that rest, where threads are made, how they
//! get on with the processor.
//!
//! Needs root, BPF and `cc`. Where these are missing the tests fail and say so.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod seen;
#[allow(dead_code, reason = "shared with the other suites of this crate")]
mod victim;
mod whole;

use seen::{functions, locks_in, wait};
use snowshed_ebpf::{Session, Tier};
use snowshed_engine::model::{LockKind, LockWait, Observation};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use victim::Victim;

fn session() -> Session {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests attach kernel programs: run them as root");
    let session = whole::start();
    let status = session.status();
    let tasks = status.iter().find(|probe| probe.name == "tasks").expect("the probe is listed");
    assert_eq!(tasks.tier, Tier::Full, "{} ({})", tasks.reason, tasks.remedy);
    session
}

/// The C program of this folder, compiled once.
fn victim(mode: &str) -> Victim {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("threads-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("threads");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/victim/threads.c");
        let built = Command::new("cc").args(["-g", "-O1", "-pthread", "-o"]).arg(&program).arg(source).status();
        assert!(built.expect("these tests need cc (Debian: gcc)").success());
        program
    });
    let victim = Victim::run(Command::new(program).arg(mode));
    victim.expect("ready");
    victim
}

#[test]
fn a_contended_mutex_is_told_with_the_places_of_its_waiters_and_of_its_holder() {
    let victim = victim("mutex");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let lock = wait(&mut session, "a contended lock with hand-overs", |seen| match seen {
        Observation::LockWait(lock) if lock.hand_overs > 0 && lock.site.0 != 0 => Some(lock.clone()),
        _ => None,
    });
    assert_eq!((lock.pid, lock.kind), (victim.pid(), LockKind::Word));
    assert!((1..=6).contains(&lock.waiters) && lock.waits > 0, "{lock:?}");
    // Five of six wait at any time: some five seconds a second.
    assert!(lock.wait_ns > 1_000_000_000, "{lock:?}");
    let frames = functions(&mut session, lock.site);
    assert!(frames.iter().any(|frame| frame == "look_up_in_catalogue"), "{frames:?}");
    // Between two of them nobody holds it.
    let holder = wait(&mut session, "who holds it", |seen| match seen {
        Observation::LockWait(lock) => lock.holder.clone().filter(|holder| holder.site.0 != 0),
        _ => None,
    });
    assert!(Path::new(&format!("/proc/{}/task/{}", victim.pid(), holder.tid)).exists());
    let frames = functions(&mut session, holder.site);
    let own = frames.iter().position(|frame| frame == "look_up_in_catalogue");
    assert!(own.is_some() && !frames.iter().any(|frame| frame.contains("mutex_lock")), "{frames:?}");
}

#[test]
fn a_robust_mutex_names_its_holder() {
    let victim = victim("robust");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let lock = wait(&mut session, "the robust mutex", |seen| match seen {
        Observation::LockWait(lock) => Some(lock.clone()),
        _ => None,
    });
    assert_eq!((lock.kind, lock.waiters), (LockKind::Owned, 2), "{lock:?}");
    let holder = lock.holder.expect("the word holds it");
    assert_eq!(holder.thread, "holder");
    assert!(Path::new(&format!("/proc/{}/task/{}", victim.pid(), holder.tid)).exists());
    let frames = functions(&mut session, holder.site);
    assert!(frames.iter().any(|frame| frame == "hold_for_ever"), "{frames:?}");
}

#[test]
fn parked_pools_raise_nothing_idle_or_at_work() {
    let victim = victim("parked");
    let python = Victim::start(
        r#"
from concurrent.futures import ThreadPoolExecutor
import queue, threading, time
pool = ThreadPoolExecutor(8); list(pool.map(time.sleep, [0.05] * 16))
work = queue.Queue()
for _ in range(4): threading.Thread(target=work.get, daemon=True).start()
say('ready'); wait()
"#,
    );
    python.expect("ready");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    session.add_target(python.pid()).unwrap();
    assert_eq!(locks_in(&mut session, victim.pid(), 3).len(), 0, "an idle pool");
    victim.go_on();
    assert_eq!(locks_in(&mut session, victim.pid(), 3).len(), 0, "a pool that is given work");
    assert_eq!(locks_in(&mut session, python.pid(), 2).len(), 0, "Python's pools");
}

/// Rust's conditions and mutexes wait with the same operation; this process is the victim.
#[test]
fn a_rust_condition_that_was_signalled_twice_rests_and_a_rust_mutex_is_contended() {
    let mut session = session();
    let pid = std::process::id();
    session.add_target(pid).unwrap();
    let resting = Arc::new((Mutex::new(false), Condvar::new()));
    // The condition's word is now 2, which a mutex shows when it is waited for.
    resting.1.notify_one();
    resting.1.notify_one();
    let pool: Vec<_> = (0..4)
        .map(|_| {
            let resting = Arc::clone(&resting);
            thread::spawn(move || {
                let mut over = resting.0.lock().unwrap();
                while !*over {
                    over = resting.1.wait(over).unwrap();
                }
            })
        })
        .collect();
    let word = |locks: &[LockWait]| locks.iter().map(|lock| lock.word).collect::<Vec<_>>();
    let idle = locks_in(&mut session, pid, 3);
    assert!(idle.is_empty(), "{idle:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let catalogue = Arc::new(Mutex::new(0_u64));
    let contenders: Vec<_> = (0..5)
        .map(|_| {
            let (stop, catalogue) = (Arc::clone(&stop), Arc::clone(&catalogue));
            thread::Builder::new().name("contender".into()).spawn(move || contend(&stop, &catalogue)).unwrap()
        })
        .collect();
    let lock = wait(&mut session, "the mutex", |seen| match seen {
        Observation::LockWait(lock) if lock.site.0 != 0 => Some(lock.clone()),
        _ => None,
    });
    let frames = functions(&mut session, lock.site);
    stop.store(true, Ordering::Relaxed);
    *resting.0.lock().unwrap() = true;
    resting.1.notify_all();
    contenders.into_iter().chain(pool).for_each(|thread| thread.join().unwrap());
    assert!(frames.iter().any(|frame| frame.contains("contend")), "{frames:?}");
    assert_eq!((lock.thread.as_str(), lock.kind), ("contender", LockKind::Word), "{:?}", word(&idle));
}

#[inline(never)]
fn contend(stop: &AtomicBool, catalogue: &Mutex<u64>) {
    while !stop.load(Ordering::Relaxed) {
        {
            let mut catalogue = catalogue.lock().unwrap_or_else(PoisonError::into_inner);
            *catalogue += 1;
            // Work under the lock, not a wait for anything: a thread that holds a lock and sleeps.
            thread::sleep(Duration::from_millis(40));
        }
        thread::yield_now();
    }
}

#[test]
fn threads_that_are_left_behind_show_where_they_were_made() {
    let victim = victim("leak");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    locks_in(&mut session, victim.pid(), 1);
    victim.go_on();
    victim.expect("done");
    let mut last = Vec::new();
    let group = wait(&mut session, "24 threads of one place", |seen| match seen {
        Observation::Threads(threads) => {
            last = threads.groups.clone();
            let total: u32 = threads.groups.iter().map(|group| group.live).sum();
            assert!(total <= 25, "{threads:?}");
            threads.groups.iter().find(|group| group.site.0 != 0 && total == 25).cloned()
        }
        _ => None,
    });
    let frames = functions(&mut session, group.site);
    assert!(frames.iter().any(|frame| frame == "spawn_leaked_worker"), "{frames:?}");
    assert!(frames.iter().any(|frame| frame == "main"), "{frames:?}");
    // Stacks are rationed: not every thread has one.
    assert!(group.live == 24 && group.sampled >= 5 && group.name.starts_with("worker-"), "{group:?} of {last:?}");
}

#[test]
fn python_threads_show_where_they_were_made_too() {
    let victim = Victim::start(
        r#"
import threading, time
wait(); keep = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(5)]
[one.start() for one in keep]; say('done'); wait()
"#,
    );
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    locks_in(&mut session, victim.pid(), 1);
    victim.go_on();
    victim.expect("done");
    let group = wait(&mut session, "5 threads of one place", |seen| match seen {
        Observation::Threads(threads) => {
            threads.groups.iter().find(|group| group.site.0 != 0 && group.live == 5).cloned()
        }
        _ => None,
    });
    let frames = functions(&mut session, group.site);
    assert!(frames.iter().any(|frame| frame == "pthread_create"), "{frames:?}");
    assert!(frames.ends_with(&["Thread.start", "<listcomp>", "<module>"].map(String::from)), "{frames:?}");
}

#[test]
fn an_uninterruptible_wait_is_told_with_its_system_call() {
    let victim = victim("vfork");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    victim.go_on();
    let blocked = wait(&mut session, "a blocked thread", |seen| match seen {
        Observation::Blocked(blocked) if blocked.pid == victim.pid() && blocked.longest_ns > 500_000_000 => {
            Some(blocked.clone())
        }
        _ => None,
    });
    assert_eq!((blocked.thread.as_str(), blocked.syscall.as_str()), ("threads", "vfork"), "{blocked:?}");
    assert!(blocked.wait_ns > 300_000_000, "{blocked:?}");
}

#[test]
fn waiting_for_a_processor_shows_as_delay() {
    // Three spinning threads on one processor: each waits two thirds of the time.
    let victim = Victim::start(
        r#"
import os, subprocess
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
spin = [subprocess.Popen(['python3', '-c', 'while True: pass']) for _ in range(2)]
say('ready')
try:
    import select, sys
    while not select.select([sys.stdin], [], [], 0)[0]: pass
finally: [one.kill() for one in spin]
"#,
    );
    victim.expect("ready");
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let cpu = wait(&mut session, "a second of delay", |seen| match seen {
        Observation::CpuTime(cpu) if cpu.pid == victim.pid() && cpu.delay_ns > 0 && cpu.used_ns > 0 => Some(*cpu),
        _ => None,
    });
    victim.go_on();
    assert!(cpu.delay_ns > cpu.over_ns / 10, "{cpu:?}");
}

/// A processor limit of a fifth in a real cgroup.
struct Limited(PathBuf);

impl Limited {
    fn new() -> Option<Self> {
        let name = format!("snowshed-tasks-{}", std::process::id());
        let first = ["cpu", "cpu,cpuacct"].iter().map(|place| Path::new("/sys/fs/cgroup").join(place));
        if let Some(place) = first.into_iter().find(|place| is_cgroup(place, 0x0027_e0eb)) {
            let folder = place.join(&name);
            fs::create_dir(&folder).ok()?;
            let limited = Self(folder);
            fs::write(limited.0.join("cpu.cfs_quota_us"), "20000").ok()?;
            return Some(limited);
        }
        let place = Path::new("/sys/fs/cgroup");
        let folder = place.join(&name);
        if !is_cgroup(place, 0x6367_7270) {
            return None;
        }
        fs::create_dir(&folder).ok()?;
        let limited = Self(folder);
        fs::write(limited.0.join("cpu.max"), "20000 100000").ok()?;
        Some(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Its member has been killed; the kernel may take a moment to let it go.
        let begun = Instant::now();
        while fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(5) {
            thread::yield_now();
        }
    }
}

fn is_cgroup(path: &Path, magic: i64) -> bool {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: an all-zero structure is valid, the path ends with a zero byte.
    unsafe {
        let mut told: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut told) == 0 && told.f_type == magic
    }
}

#[test]
fn throttling_is_read_from_the_targets_cgroup() {
    let Some(limited) = Limited::new() else {
        println!("SKIPPED: no cgroup with a processor controller here can be made, so throttling was not tried");
        return;
    };
    let victim = Victim::start(
        r#"
wait(); say('spinning')
import select, sys
while not select.select([sys.stdin], [], [], 0)[0]: pass
"#,
    );
    fs::write(limited.0.join("cgroup.procs"), victim.pid().to_string()).unwrap();
    let mut session = session();
    session.add_target(victim.pid()).unwrap();
    let throttled = |seen: &Observation| match seen {
        Observation::CpuTime(cpu) if cpu.pid == victim.pid() => Some(cpu.throttled),
        _ => None,
    };
    let calm = wait(&mut session, "a telling", throttled);
    assert_eq!(calm.map(|told| told.periods), Some(0), "nothing yet, and known");
    victim.go_on();
    victim.expect("spinning");
    let found = wait(&mut session, "throttling", |seen| throttled(seen).flatten().filter(|told| told.periods >= 3));
    assert!(found.ns > 100_000_000, "{found:?}");
    drop(victim);
}
