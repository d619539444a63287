//! What is known of a target's threads and tasks: the present groups, which of them pile up, and totals of what
//! threads waited for.
//!
//! Invariant: it stores and adds up; what follows from it is not decided here. At most [`LOCKS`] locks are kept;
//! the one waited for least makes room.

mod piles;

pub(crate) use piles::{Counted, Pile};

use crate::{
    model::{
        Blocked, BlockedView, CpuTime, LockKind, LockView, LockWait, Nanos, Pid, TaskGroup, TaskGroups, TasksView,
        ThreadGroup, Threads,
    },
    rise::GrowthConfig,
    window::{SECOND, Windows, seconds},
};
use piles::Piles;
use std::collections::BTreeMap;

/// Locks that are kept for a target.
const LOCKS: usize = 64;
/// Groups of threads that are kept.
const GROUPS: usize = 64;
/// Whoever gave so many answers in five minutes is measured by them.
const SERVES: u64 = 60;
/// A lock that nobody told of for so long is quiet.
const QUIET: Nanos = 3_000_000_000;

/// A place that locks are waited for at; without a place, one lock.
type Place = (u64, u64, LockKind);

/// Threads of a target.
#[derive(Debug)]
pub(crate) struct Tasks {
    groups: Vec<ThreadGroup>,
    left_out: u32,
    tasks: Vec<TaskGroup>,
    tasks_live: Option<u64>,
    piles: Piles,
    /// CPU time by 2 s: how much it did.
    worked: Windows<Nanos>,
    /// Answers that it gave, by 2 s: likewise, and what leaks has no part in it.
    answered: Windows<u64>,
    locks: BTreeMap<Place, (LockWait, u64)>,
    used: Nanos,
    delay: Nanos,
    throttled: Option<(u64, Nanos)>,
    blocked: Nanos,
    longest: Option<Blocked>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            left_out: 0,
            tasks: Vec::new(),
            tasks_live: None,
            piles: Piles::default(),
            worked: Windows::new(2 * SECOND, 150),
            answered: Windows::new(2 * SECOND, 150),
            locks: BTreeMap::new(),
            used: 0,
            delay: 0,
            throttled: None,
            blocked: 0,
            longest: None,
        }
    }
}

impl Tasks {
    /// Takes the present groups.
    pub(crate) fn threads(&mut self, told: &Threads, at: Nanos) {
        self.piles.threads(&told.groups, told.left_out > 0, at);
        self.groups.clear();
        self.groups.extend(told.groups.iter().take(GROUPS).cloned());
        let rest = told.groups.iter().skip(GROUPS).fold(0_u32, |sum, group| sum.saturating_add(group.live));
        self.left_out = told.left_out.saturating_add(rest);
    }

    /// Takes the tasks that the process told of.
    pub(crate) fn tasks(&mut self, told: &TaskGroups, at: Nanos) {
        self.tasks.clear();
        self.tasks.extend(told.groups.iter().take(GROUPS).cloned());
        self.piles.tasks(&self.tasks, told.left_out > 0 || told.groups.len() > GROUPS, at);
    }

    /// Takes how many tasks there are.
    pub(crate) fn tasks_live(&mut self, live: u64, at: Nanos) {
        self.tasks_live = Some(live);
        self.piles.all_tasks(live, at);
    }

    /// Takes answers that it gave since the last look.
    pub(crate) fn answers(&mut self, count: u64, at: Nanos) {
        if let Some(sum) = self.answered.at(at) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Work a second, between two times that were watched: answers where it gives any, else CPU time. All that is told
    /// at one moment has the same unit.
    pub(crate) fn work(&self, from: Nanos, until: Nanos) -> Option<f64> {
        let add = |windows: &Windows<u64>, from, until| {
            let sum = |(sum, count): (u64, u64), (_, more): (_, &u64)| (sum.saturating_add(*more), count + 1);
            windows.range(from, until).fold((0, 0), sum)
        };
        let serves = add(&self.answered, 0, Nanos::MAX).0 >= SERVES;
        let (sum, count) = add(if serves { &self.answered } else { &self.worked }, from, until);
        (count > 0).then(|| seconds(sum) / (2 * count) as f64)
    }

    /// Origins of threads and tasks that only become more, or seem to where it need not be `sure`; `load` tells how many
    /// requests and connections came to it since a time.
    pub(crate) fn piles(&self, config: &GrowthConfig, sure: bool, load: impl Fn(Nanos) -> f64) -> Vec<Pile> {
        let pool = if sure { piles::POOL } else { piles::SUSPECT };
        self.piles.growing(config, pool, |from, until| self.work(from, until), load)
    }

    /// Takes waits for a lock.
    pub(crate) fn lock(&mut self, told: &LockWait, at: Nanos) {
        let place = (told.site.0, if told.site.0 == 0 { told.word } else { 0 }, told.kind);
        if self.locks.len() >= LOCKS && !self.locks.contains_key(&place) {
            let least = self.locks.iter().min_by_key(|(_, (lock, _))| lock.wait_ns).map(|(place, _)| *place);
            least.map(|place| self.locks.remove(&place));
        }
        let Some((known, last)) = self.locks.get_mut(&place) else {
            self.locks.insert(place, (told.clone(), at));
            return;
        };
        known.waiters = told.waiters;
        known.waits = known.waits.saturating_add(told.waits);
        known.wait_ns = known.wait_ns.saturating_add(told.wait_ns);
        known.longest_ns = known.longest_ns.max(told.longest_ns);
        known.hand_overs = known.hand_overs.saturating_add(told.hand_overs);
        if told.holder.is_some() {
            known.holder.clone_from(&told.holder);
        }
        *last = at;
    }

    /// Takes CPU time.
    pub(crate) fn cpu(&mut self, told: &CpuTime, at: Nanos) {
        if let Some(sum) = self.worked.at(at) {
            *sum = sum.saturating_add(told.used_ns);
        }
        self.used = self.used.saturating_add(told.used_ns);
        self.delay = self.delay.saturating_add(told.delay_ns);
        if let Some(more) = told.throttled {
            let (periods, ns) = self.throttled.unwrap_or_default();
            self.throttled = Some((periods.saturating_add(more.periods), ns.saturating_add(more.ns)));
        }
    }

    /// Takes uninterruptible waits.
    pub(crate) fn blocked(&mut self, told: &Blocked) {
        self.blocked = self.blocked.saturating_add(told.wait_ns);
        if self.longest.as_ref().is_none_or(|longest| longest.longest_ns < told.longest_ns) {
            self.longest = Some(told.clone());
        }
    }

    /// The picture.
    pub(crate) fn view(&self, pid: Pid, now: Nanos) -> TasksView {
        let mut locks: Vec<LockView> = self.locks.values().map(|(lock, last)| view_lock(lock, *last, now)).collect();
        locks.sort_by(|a, b| b.wait_seconds.total_cmp(&a.wait_seconds));
        TasksView {
            pid,
            groups: self.groups.clone(),
            left_out: self.left_out,
            tasks: self.tasks.clone(),
            tasks_live: self.tasks_live,
            locks,
            cpu_used_seconds: seconds(self.used),
            cpu_delay_seconds: seconds(self.delay),
            throttled: self.throttled.map(|(periods, ns)| (periods, seconds(ns))),
            blocked_seconds: seconds(self.blocked),
            blocked: self.longest.as_ref().map(|longest| BlockedView {
                longest_seconds: seconds(longest.longest_ns),
                thread: longest.thread.clone(),
                syscall: longest.syscall.clone(),
                function: longest.function.clone(),
                device: longest.device.clone(),
                site: longest.site,
            }),
        }
    }
}

fn view_lock(lock: &LockWait, last: Nanos, now: Nanos) -> LockView {
    LockView {
        kind: lock.kind,
        site: lock.site,
        thread: lock.thread.clone(),
        waiters: if now.saturating_sub(last) > QUIET { 0 } else { lock.waiters },
        waits: lock.waits,
        wait_seconds: seconds(lock.wait_ns),
        longest_seconds: seconds(lock.longest_ns),
        hand_overs: lock.hand_overs,
        holder: lock.holder.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SiteId, Throttled};

    fn wait(word: u64, site: u64, wait_ns: Nanos) -> LockWait {
        LockWait {
            pid: 7,
            word,
            kind: LockKind::Word,
            waiters: 2,
            waits: 3,
            wait_ns,
            longest_ns: wait_ns,
            hand_overs: 1,
            site: SiteId(site),
            thread: "worker".into(),
            holder: None,
            at: 0,
        }
    }

    #[test]
    fn work_is_answers_where_there_are_any() {
        let mut tasks = Tasks::default();
        for second in 0..60_u64 {
            let used_ns = if second < 30 { 1_000 } else { 9_000_000 };
            let told = CpuTime { pid: 7, at: 0, over_ns: SECOND, used_ns, delay_ns: 0, throttled: None };
            tasks.cpu(&told, second * SECOND);
        }
        let ratio = |tasks: &Tasks| tasks.work(0, 29 * SECOND).unwrap() / tasks.work(30 * SECOND, 59 * SECOND).unwrap();
        assert!(ratio(&tasks) < 0.01, "all that is known is CPU time");
        (0..60).for_each(|second| tasks.answers(4, second * SECOND));
        assert!((ratio(&tasks) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn locks_of_one_place_are_one_and_the_least_makes_room() {
        let mut tasks = Tasks::default();
        tasks.lock(&wait(1, 9, 1_000), 1);
        tasks.lock(&wait(2, 9, 5_000), 2);
        let view = tasks.view(7, 3);
        assert_eq!((view.locks.len(), view.locks[0].waits, view.locks[0].hand_overs), (1, 6, 2));
        assert!((view.locks[0].wait_seconds - 6e-6).abs() < 1e-12, "{:?}", view.locks);
        for word in 0..1_000 {
            tasks.lock(&wait(word, 0, 10), 4);
        }
        let view = tasks.view(7, 4);
        assert_eq!((view.locks.len(), view.locks[0].waits), (LOCKS, 6), "the most waited for stays");
        assert_eq!(tasks.view(7, 4 + QUIET + 1).locks[0].waiters, 0);
    }

    #[test]
    fn throttling_is_unknown_until_it_is_told() {
        let mut tasks = Tasks::default();
        let mut cpu = CpuTime { pid: 7, at: 1, over_ns: 1, used_ns: 2, delay_ns: 3, throttled: None };
        tasks.cpu(&cpu, 1);
        assert_eq!(tasks.view(7, 1).throttled, None);
        cpu.throttled = Some(Throttled { periods: 2, ns: 1_000_000_000 });
        tasks.cpu(&cpu, 1);
        tasks.cpu(&cpu, 1);
        assert_eq!(tasks.view(7, 1).throttled, Some((4, 2.0)));
    }
}
