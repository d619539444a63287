//! Waiting for what a session tells.

use snowshed_ebpf::Session;
use snowshed_engine::model::{LockWait, Observation, SiteId};
use std::time::{Duration, Instant};

/// Only a hang takes this long, also on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until an observation gives a value.
pub(crate) fn wait<T>(session: &mut Session, what: &str, mut pick: impl FnMut(&Observation) -> Option<T>) -> T {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < PATIENCE {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        if let Some(found) = seen.iter().find_map(&mut pick) {
            return found;
        }
    }
    panic!("not seen within {PATIENCE:?}: {what}");
}

/// Locks told in so many tellings of a process.
#[allow(dead_code, reason = "the suites of locks use it")]
pub(crate) fn locks_in(session: &mut Session, pid: u32, tellings: u32) -> Vec<LockWait> {
    let (mut told, mut locks) = (0, Vec::new());
    wait(session, "tellings", |seen| {
        match seen {
            Observation::Threads(threads) if threads.pid == pid => told += 1,
            Observation::LockWait(lock) if lock.pid == pid => locks.push(lock.clone()),
            _ => {}
        }
        (told > tellings).then_some(())
    });
    locks
}

/// The functions of a site, innermost first.
#[allow(dead_code, reason = "the suites of locks use it")]
pub(crate) fn functions(session: &mut Session, site: SiteId) -> Vec<String> {
    session.frames(site).into_iter().map(|frame| frame.function).collect()
}
