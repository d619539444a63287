//! When each process's descriptors are looked at: every second, unless all processes together hold so many that the
//! looks would take more of the agent's time than they may.
//!
//! Policy only. Counted in descriptors and not in time, so that a busy machine does not look less for being busy.
//! Invariant: no process waits longer than [`RAREST`] for a look; one with few descriptors never waits for others.
//! Cost: an entry for each process.

use snowshed_engine::model::{Nanos, Pid};
use std::collections::BTreeMap;

const SECOND: Nanos = 1_000_000_000;
/// Descriptors looked at in a second, of all processes together; one or two µs each, the engine's share included.
const PER_SECOND: u64 = 12_288;
/// A process with fewer is looked at every second, whatever the others hold.
const FEW: u64 = 512;
/// The longest time between two looks.
pub(super) const RAREST: Nanos = 30 * SECOND;
/// What is due so soon is done at once: one wake-up instead of two.
const TOGETHER: Nanos = SECOND / 20;
/// Once so many descriptors were looked at, the next process waits for the next turn, so that few are in memory.
const AT_ONCE: u64 = 16_384;
/// Until that turn.
const TURN: Nanos = SECOND / 50;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    due: Nanos,
    held: u64,
}

/// All processes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    entries: BTreeMap<Pid, Entry>,
    /// Descriptors of all processes at their last looks.
    held: u64,
}

impl Pace {
    /// The processes to be looked at now, those with few descriptors first, then those that waited longest; for whom
    /// there is no room, the next turn comes soon.
    pub(super) fn due(&mut self, pids: &[Pid], now: Nanos) -> Vec<Pid> {
        let mut due: Vec<(Pid, Entry)> = pids
            .iter()
            .map(|pid| (*pid, *self.entries.entry(*pid).or_default()))
            .filter(|(_, entry)| entry.due <= now + TOGETHER)
            .collect();
        due.sort_by_key(|(_, entry)| (entry.held >= FEW, entry.due));
        let mut sum = 0;
        let mut fits = |held: u64| {
            let is_first = sum == 0;
            sum += held.max(1);
            is_first || sum <= AT_ONCE
        };
        let count = due.iter().take_while(|(_, entry)| fits(entry.held)).count();
        due.truncate(count);
        due.into_iter().map(|(pid, _)| pid).collect()
    }

    /// A process was looked at and holds so many.
    pub(super) fn looked(&mut self, pid: Pid, held: u64, now: Nanos) {
        let before = self.entries.get(&pid).map_or(0, |entry| entry.held);
        self.held = (self.held + held).saturating_sub(before);
        let rest = if held < FEW { SECOND } else { self.longest() };
        self.entries.insert(pid, Entry { due: now + rest, held });
    }

    /// Whether a process with many descriptors that has not run since a look can wait for longer: only what happens to
    /// its owners and its peers is news then.
    pub(super) fn can_wait(&self, pid: Pid, looked: Nanos, now: Nanos) -> bool {
        let held = self.entries.get(&pid).map_or(0, |entry| entry.held);
        held >= FEW && now < looked + (4 * self.longest()).min(RAREST)
    }

    /// A process need not be looked at now, because nothing can have changed.
    pub(super) fn pass_over(&mut self, pid: Pid, now: Nanos) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.due = now + SECOND;
        }
    }

    /// Between two looks at a process with many.
    pub(super) fn longest(&self) -> Nanos {
        (SECOND / PER_SECOND).saturating_mul(self.held).clamp(SECOND, RAREST)
    }

    /// How long from now until somebody is due; a second if there is nobody.
    pub(super) fn rest(&self, now: Nanos) -> Nanos {
        let next = self.entries.values().map(|entry| entry.due).min();
        next.map_or(SECOND, |due| due.saturating_sub(now)).clamp(TURN, SECOND)
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        if let Some(entry) = self.entries.remove(&pid) {
            self.held = self.held.saturating_sub(entry.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for a minute in turns; answers when each process was looked at.
    fn run(held: &[u64]) -> Vec<Vec<Nanos>> {
        let mut pace = Pace::default();
        let pids: Vec<Pid> = (0..held.len() as Pid).collect();
        let mut looks = vec![Vec::new(); held.len()];
        let mut now = SECOND;
        while now < 61 * SECOND {
            for pid in pace.due(&pids, now) {
                pace.looked(pid, held[pid as usize], now);
                looks[pid as usize].push(now);
            }
            now += pace.rest(now);
        }
        looks
    }

    fn longest(looks: &[Nanos]) -> Nanos {
        looks.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0)
    }

    #[test]
    fn few_descriptors_are_looked_at_every_second_and_together() {
        let looks = run(&[10; 10]);
        assert!(looks.iter().all(|looks| looks.len() >= 59 && longest(looks) <= SECOND), "{looks:?}");
        assert!(looks.iter().all(|other| *other == looks[0]), "one wake-up for all");
    }

    #[test]
    fn many_descriptors_are_looked_at_at_a_steady_rate_and_the_few_beside_them_every_second() {
        let mut held = vec![10_000; 10];
        held.push(100);
        let looks = run(&held);
        let seen: u64 = looks.iter().zip(&held).map(|(looks, held)| looks.len() as u64 * held).sum();
        assert!(seen <= 65 * PER_SECOND + 100_000, "{seen} in a minute");
        assert!(looks[0].len() >= 7 && longest(&looks[0]) <= 9 * SECOND, "{:?}", looks[0]);
        assert!(looks[10].len() >= 59 && longest(&looks[10]) <= SECOND + 2 * TURN, "{:?}", looks[10]);
        let mut at_once: BTreeMap<Nanos, u64> = BTreeMap::new();
        // The first look does not know yet.
        looks.iter().zip(&held).for_each(|(looks, held)| {
            looks.iter().skip(1).for_each(|at| *at_once.entry(*at).or_default() += held);
        });
        assert!(at_once.values().all(|sum| *sum <= AT_ONCE), "{at_once:?}");
    }

    #[test]
    fn nobody_waits_for_ever_and_who_is_gone_is_forgotten() {
        let mut pace = Pace::default();
        pace.looked(1, 50_000_000, SECOND);
        assert_eq!(pace.longest(), RAREST);
        assert!(pace.due(&[1], RAREST).is_empty() && pace.due(&[1], SECOND + RAREST) == [1]);
        assert!(pace.can_wait(1, SECOND, RAREST) && !pace.can_wait(1, SECOND, SECOND + RAREST));
        pace.looked(2, 10, SECOND);
        assert!(!pace.can_wait(2, SECOND, SECOND + 1), "few cost little");
        pace.forget(1);
        pace.forget(2);
        assert_eq!((pace.longest(), pace.held), (SECOND, 0));
    }
}
