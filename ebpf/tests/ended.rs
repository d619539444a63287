//! Who may be watched: what lives, not what has ended and is only still listed.
//!
//! Needs root and BPF.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its victim has failed")]

#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::{Options, Session, SessionError};
use snowshed_engine::model::Observation;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};
use victim::Victim;

/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn who_has_ended_is_not_watched_again_while_nobody_has_asked_for_its_end() {
    for options in [Options::default(), Options { no_bpf: true }] {
        let mut session = Session::start(options);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        session.add_target(child.id()).unwrap();
        session.remove_target(child.id());
        child.kill().unwrap();
        // It is in `/proc`, without memory or arguments, until its parent has asked.
        while !fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        let refused = session.add_target(child.id());
        let mut out = Vec::new();
        session.news(&mut out);
        child.wait().unwrap();
        assert!(matches!(refused, Err(SessionError::NoSuchProcess(pid)) if pid == child.id()), "{refused:?}");
        let of_it = |seen: &&Observation| matches!(seen, Observation::Process(seen) if seen.pid == child.id());
        assert_eq!((out.iter().filter(of_it).count(), session.targets()), (1, vec![]), "told once: {out:?}");
    }
}

#[test]
fn without_kernel_programs_who_has_ended_is_told_before_anybody_has_asked_for_its_end() {
    let mut session = Session::start(Options { no_bpf: true });
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    session.add_target(child.id()).unwrap();
    child.kill().unwrap();
    let (begun, mut out) = (Instant::now(), Vec::new());
    let is_told =
        |out: &[Observation]| out.iter().any(|seen| matches!(seen, Observation::Exit(exit) if exit.pid == child.id()));
    while !is_told(&out) && begun.elapsed() < PATIENCE {
        session.poll(Duration::from_millis(100), &mut out);
    }
    assert!(is_told(&out) && session.targets().is_empty(), "{:?}", session.targets());
    child.wait().unwrap();
}

#[test]
fn who_goes_on_without_its_first_thread_is_watched() {
    let victim = Victim::start(
        r#"
import ctypes, threading
def rest():
    import time
    while open('/proc/self/stat').read().split(') ')[1][0] != 'Z':
        time.sleep(0.01)
    say('alone'); wait()
threading.Thread(target=rest).start()
ctypes.CDLL(None).pthread_exit(None)
"#,
    );
    victim.expect("alone");
    let mut session = whole::start();
    session.add_target(victim.pid()).unwrap();
    assert_eq!(session.targets(), vec![victim.pid()]);
}
