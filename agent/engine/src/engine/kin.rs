//! Processes of one service that wait for one another: a database with a process for each connection, workers that share
//! a lock.
//!
//! Invariant: only who stands in `futex` with one thread alone is told what its kin wait for: its lock is held by another
//! process, whose trouble is its own. A copy or a snapshot that nobody waits for stays with whoever makes it.

use super::Engine;
use crate::{
    model::{Blocked, Nanos, Pid},
    window::SECOND,
};

/// Generations that are climbed at most.
const HEIGHT: usize = 8;
/// It has stood there within this time.
const LATELY: Nanos = 10 * SECOND;

impl Engine {
    /// Passes on that a process waits for a disk to those that wait for it. Cost: O(targets).
    pub(super) fn kin_blocked(&mut self, told: &Blocked, at: Nanos) {
        let Some(root) = self.root(told.pid) else { return };
        let waits = |pid: &Pid| {
            self.targets.get(pid).is_some_and(|target| {
                target.threads == Some(1) && target.loops.stood_in("futex", at.saturating_sub(LATELY))
            })
        };
        let kin = |pid: &Pid| *pid != told.pid && waits(pid) && self.root(*pid) == Some(root);
        let all: Vec<Pid> = self.targets.keys().copied().filter(kin).collect();
        for pid in all {
            if let Some(target) = self.targets.get_mut(&pid) {
                target.signs.blocked(told, at);
            }
        }
    }

    /// The first of a family that is watched; none for who is not.
    pub(super) fn root(&self, pid: Pid) -> Option<Pid> {
        let mut first = self.targets.get(&pid)?;
        for _ in 0..HEIGHT {
            let Some(parent) = first.parent.and_then(|parent| self.targets.get(&parent)) else { break };
            first = parent;
        }
        Some(first.pid)
    }
}
