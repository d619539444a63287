//! Goroutines that wait for a mutex, beside the threads that wait for locks.
//!
//! Cost: of each look that is taken, at most a two-hundredth of the time until the next one.

use super::waiters::{Waiter, Wanted};
use crate::{
    host::{
        clock,
        goroutines::{Goroutine, Runtime},
    },
    probes::Look,
};
use snowshed_engine::model::{Nanos, Pid, SiteId};

/// A look that took long is paid off first.
const SHARE: Nanos = 200;

/// Of one process.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    /// `None`: not looked for yet; else what was found.
    runtime: Option<Option<Runtime>>,
    due: Nanos,
    /// As of the last look.
    waiting: Vec<Goroutine>,
}

impl Goroutines {
    /// Adds those that wait.
    pub(super) fn look(&mut self, now: Nanos, pid: Pid, waiters: &mut Vec<Waiter>) {
        let runtime = self.runtime.get_or_insert_with(|| Runtime::of(pid));
        let Some(known) = runtime else { return };
        if now >= self.due {
            let begun = clock::now();
            let waiting = known.waiting();
            self.due = now + clock::now().saturating_sub(begun).saturating_mul(SHARE);
            if waiting.is_none() {
                // It is laid out in another way, or gone.
                *runtime = None;
            }
            self.waiting = waiting.unwrap_or_default();
        }
        let waiter = |one: &Goroutine| Waiter {
            wanted: Wanted::of_runtime(one.place),
            id: one.number,
            turn: one.turn,
            weight: one.weight,
        };
        waiters.extend(self.waiting.iter().map(waiter));
    }

    /// Where those stand that wait for this lock; 0: they have gone on.
    pub(super) fn site(&self, look: &mut Look<'_>, pid: Pid, lock: u64) -> SiteId {
        let Some(Some(runtime)) = &self.runtime else { return SiteId(0) };
        let mut of_lock = self.waiting.iter().filter(|one| Wanted::of_runtime(one.place).word == lock);
        let stack = of_lock.find_map(|one| runtime.stack(one));
        let site =
            |(registers, base, stack): (_, u64, Vec<u8>)| look.sites.of_copy(pid, registers, base, &stack, look.now);
        stack.map_or(SiteId(0), site)
    }
}
