//! Event loops: how busy their threads are, and when one did not come back.
//!
//! Invariant: a stall is one stall however often it is observed while it goes on (same thread, same
//! begin). Only stalls that made somebody wait count in full: events were ready and nobody else waited,
//! or the thread was stuck inside a request. Memory: 256 threads, 256 stalls, 2 minutes of busy time.

use crate::{
    correlate::join::JoinCount,
    instances::Instances,
    model::{InstanceView, Join, LoopInstance, LoopTime, Nanos, Pid, SiteId, Stall, TraceId},
    window::{SECOND, Windows, seconds},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// When an event loop counts as stalled.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StallConfig {
    /// Stalls are counted over so many seconds.
    pub window_seconds: u64,
    /// This many stalls ...
    pub count: u32,
    /// ... of at least this length, milliseconds, ...
    pub each_ms: u64,
    /// ... or a single one of this length, milliseconds.
    pub single_ms: u64,
}

impl Default for StallConfig {
    fn default() -> Self {
        Self { window_seconds: 10, count: 3, each_ms: 200, single_ms: 1_000 }
    }
}

const THREADS: usize = 256;
const STALLS: usize = 256;
const TRACES: usize = 16;
/// A thread without a record for so long is no loop any more.
const THREAD_FRESH: Nanos = 10 * SECOND;
/// No single record may claim more time than this.
const LONGEST_RECORD: Nanos = 3_600 * SECOND;

/// Time in and between waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    busy: Nanos,
    wait: Nanos,
}

impl Busy {
    fn add(&mut self, other: Self) {
        self.busy = self.busy.saturating_add(other.busy);
        self.wait = self.wait.saturating_add(other.wait);
    }

    /// Share of time between waits.
    pub(crate) fn ratio(self) -> Option<f64> {
        let all = seconds(self.busy.saturating_add(self.wait));
        (all > 0.0).then(|| (seconds(self.busy) / all).clamp(0.0, 1.0))
    }
}

/// One thread's last record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopThread {
    pub(crate) at: Nanos,
    pub(crate) busy: Busy,
    pub(crate) waits: u64,
}

impl LoopThread {
    /// Waits that ended, per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    pub(crate) fn waits_per_second(&self) -> f64 {
        let all = seconds(self.busy.busy.saturating_add(self.busy.wait));
        if all > 0.0 { self.waits as f64 / all } else { 0.0 }
    }
}

/// Stalls that do the same (block in one system call, or compute) over the last seconds.
#[derive(Clone, Debug)]
pub(crate) struct StallSite {
    /// Where most of the time was lost; stacks above it may differ from stall to stall.
    pub(crate) site: SiteId,
    /// The thread that lost most time there.
    pub(crate) tid: Pid,
    pub(crate) thread: String,
    pub(crate) syscall: Option<String>,
    pub(crate) on_cpu: bool,
    /// Share of their time that they waited for a CPU, where the scheduler tells.
    pub(crate) queued: Option<f64>,
    pub(crate) count: u32,
    pub(crate) total: Nanos,
    /// The length of the median stall.
    pub(crate) typical: Nanos,
    pub(crate) starved: u32,
    /// Stalls that are joined to a request.
    pub(crate) joined: u32,
    pub(crate) join: Join,
    pub(crate) traces: Vec<TraceId>,
    /// When the first of them began.
    pub(crate) since: Nanos,
}

impl StallSite {
    /// It stands and waits for a disk: these calls do nothing else.
    pub(crate) fn waits_for_a_disk(&self) -> bool {
        let syncs = ["fsync", "fdatasync", "syncfs", "sync", "sync_file_range", "msync"];
        !self.on_cpu && self.syscall.as_deref().is_some_and(|syscall| syncs.contains(&syscall))
    }

    /// It stands and waits for a lock.
    pub(crate) fn waits_for_a_lock(&self) -> bool {
        !self.on_cpu && self.syscall.as_deref() == Some("futex")
    }
}

/// What the stalls of the last seconds add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct StallPicture {
    /// Enough of them to speak of a stalled loop.
    pub(crate) triggered: bool,
    /// By what they do, most time lost first.
    pub(crate) sites: Vec<StallSite>,
    /// Time lost by all of them, of any length.
    pub(crate) total: Nanos,
}

/// The event loops of one process.
#[derive(Debug)]
pub(crate) struct Loops {
    threads: BTreeMap<Pid, LoopThread>,
    busy: Windows<Busy>,
    stalls: VecDeque<Stall>,
    instances: Instances,
    /// Stalls ever seen.
    pub(crate) stalls_total: u64,
}

impl Loops {
    /// Without a record yet.
    pub(crate) fn new() -> Self {
        Self {
            threads: BTreeMap::new(),
            busy: Windows::new(SECOND, 120),
            stalls: VecDeque::new(),
            instances: Instances::default(),
            stalls_total: 0,
        }
    }

    /// Takes a record of one thread's time.
    pub(crate) fn time(&mut self, told: &LoopTime, at: Nanos) {
        let busy = Busy { busy: told.busy_ns.min(LONGEST_RECORD), wait: told.wait_ns.min(LONGEST_RECORD) };
        if let Some(window) = self.busy.at(at) {
            window.add(busy);
        }
        if self.threads.len() >= THREADS && !self.threads.contains_key(&told.tid) {
            self.threads.retain(|_, thread| at.saturating_sub(thread.at) < THREAD_FRESH);
        }
        if self.threads.len() < THREADS || self.threads.contains_key(&told.tid) {
            self.threads.insert(told.tid, LoopThread { at, busy, waits: told.waits });
        }
    }

    /// Takes a record of what was waited on.
    pub(crate) fn instance(&mut self, told: &LoopInstance, at: Nanos) {
        self.instances.take(told, at);
    }

    /// What is waited on now.
    pub(crate) fn instances(&self, now: Nanos) -> Vec<InstanceView> {
        self.instances.view(now)
    }

    /// Takes a stall, or the news that a known one goes on. `until` must not lie in the future.
    pub(crate) fn stall(&mut self, told: &Stall, until: Nanos) {
        let since = told.since.min(until);
        if let Some(known) = self.stalls.iter_mut().rev().find(|known| known.tid == told.tid && known.since == since) {
            let longest = known.until.max(until);
            *known = Stall { since, until: longest, starved: known.starved || told.starved, ..known.clone() };
            // The first look may have come without a stack or a request.
            if known.site == SiteId(0) {
                (known.site, known.on_cpu) = (told.site, told.on_cpu);
            }
            if known.syscall.is_none() {
                known.syscall.clone_from(&told.syscall);
            }
            known.spent = told.spent.or(known.spent);
            if known.trace.is_none() {
                (known.trace, known.join) = (told.trace, told.join);
            }
            return;
        }
        self.stalls_total = self.stalls_total.saturating_add(1);
        if self.stalls.len() >= STALLS {
            self.stalls.pop_front();
        }
        self.stalls.push_back(Stall { since, until, ..told.clone() });
    }

    /// Threads that are loops now, by id.
    pub(crate) fn threads(&self, now: Nanos) -> impl Iterator<Item = (Pid, &LoopThread)> {
        let fresh = move |thread: &LoopThread| now.saturating_sub(thread.at) < THREAD_FRESH;
        self.threads.iter().filter(move |(_, thread)| fresh(thread)).map(|(tid, thread)| (*tid, thread))
    }

    /// Whether a thread has been stuck in this system call since a time.
    pub(crate) fn stood_in(&self, syscall: &str, since: Nanos) -> bool {
        let there = |stall: &Stall| !stall.on_cpu && stall.syscall.as_deref() == Some(syscall);
        self.stalls.iter().rev().take_while(|stall| stall.until >= since).any(there)
    }

    /// Share of time between waits, over all loop threads, in an interval.
    pub(crate) fn busy_ratio(&self, from: Nanos, to: Nanos) -> Option<f64> {
        let mut all = Busy::default();
        self.busy.range(from, to).for_each(|(_, busy)| all.add(*busy));
        all.ratio()
    }

    /// The stalls of the last seconds, put together.
    pub(crate) fn picture(&self, now: Nanos, config: &StallConfig) -> StallPicture {
        let from = now.saturating_sub(config.window_seconds.saturating_mul(SECOND));
        let recent: Vec<&Stall> =
            self.stalls.iter().filter(|stall| stall.until >= from && stall.until <= now).collect();
        // Halves: a stall that nobody waited for counts as half a one, and must last twice as long.
        let (mut halves, mut single) = (0_u32, false);
        for stall in &recent {
            let weight = if made_wait(stall) { 2 } else { 1 };
            let length = stall.until.saturating_sub(stall.since);
            halves += if length >= millis(config.each_ms) { weight } else { 0 };
            single |= length.saturating_mul(Nanos::from(weight)) / 2 >= millis(config.single_ms).max(1);
        }
        let triggered = single || (halves > 0 && halves >= config.count.saturating_mul(2));
        let total = recent.iter().map(|stall| stall.until.saturating_sub(stall.since)).fold(0, Nanos::saturating_add);
        let mut by_doing: BTreeMap<(bool, Option<&str>), Vec<&Stall>> = BTreeMap::new();
        for stall in recent {
            if stall.until.saturating_sub(stall.since) >= millis(config.each_ms) {
                let doing = (stall.on_cpu, stall.syscall.as_deref().filter(|_| !stall.on_cpu));
                by_doing.entry(doing).or_default().push(stall);
            }
        }
        let mut sites: Vec<StallSite> = by_doing.into_values().filter_map(|stalls| fold(&stalls)).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.total));
        StallPicture { triggered, sites, total }
    }
}

fn made_wait(stall: &Stall) -> bool {
    stall.starved || stall.trace.is_some() || stall.join != Join::None
}

fn millis(count: u64) -> Nanos {
    count.saturating_mul(SECOND / 1_000)
}

fn fold(stalls: &[&Stall]) -> Option<StallSite> {
    let length = |stall: &Stall| stall.until.saturating_sub(stall.since);
    let mut by_thread: BTreeMap<Pid, (Nanos, &Stall)> = BTreeMap::new();
    let mut by_site: BTreeMap<SiteId, Nanos> = BTreeMap::new();
    let mut lengths: Vec<Nanos> = Vec::with_capacity(stalls.len());
    let mut joins = JoinCount::default();
    let mut traces: Vec<(Nanos, TraceId)> = Vec::new();
    for stall in stalls {
        let thread = by_thread.entry(stall.tid).or_insert((0, stall));
        thread.0 = thread.0.saturating_add(length(stall));
        let lost = by_site.entry(stall.site).or_default();
        *lost = lost.saturating_add(length(stall));
        lengths.push(length(stall));
        joins.add(stall.join);
        traces.retain(|(_, trace)| Some(*trace) != stall.trace);
        traces.extend(stall.trace.map(|trace| (stall.until, trace)));
    }
    lengths.sort_unstable();
    traces.sort_by_key(|(until, _)| *until);
    let (_, worst) = by_thread.into_values().max_by_key(|(total, _)| *total)?;
    // A known place tells more than an unknown one, however much time that took.
    let (site, _) = by_site.into_iter().max_by_key(|(site, lost)| (*site != SiteId(0), *lost))?;
    let count = |wanted: fn(&Stall) -> bool| stalls.iter().filter(|stall| wanted(stall)).count();
    let newest = traces.len().saturating_sub(TRACES);
    Some(StallSite {
        site,
        tid: worst.tid,
        thread: worst.thread.clone(),
        syscall: stalls.iter().rev().find_map(|stall| stall.syscall.clone()),
        on_cpu: worst.on_cpu,
        queued: queued(stalls),
        count: u32::try_from(stalls.len()).unwrap_or(u32::MAX),
        total: lengths.iter().copied().fold(0, Nanos::saturating_add),
        typical: lengths.get(lengths.len() / 2).copied()?,
        starved: u32::try_from(count(|stall| stall.starved)).unwrap_or(u32::MAX),
        joined: u32::try_from(count(|stall| stall.trace.is_some() || stall.join != Join::None)).unwrap_or(u32::MAX),
        join: joins.commonest(),
        traces: traces[newest..].iter().map(|(_, trace)| *trace).collect(),
        since: stalls.iter().map(|stall| stall.since).min()?,
    })
}

/// Share of the time of some stalls that their threads waited for a CPU.
fn queued(stalls: &[&Stall]) -> Option<f64> {
    let (mut waited, mut all) = (0.0, 0.0);
    for spent in stalls.iter().filter_map(|stall| stall.spent) {
        waited += seconds(spent.queued);
        all += seconds(spent.queued) + seconds(spent.running) + seconds(spent.blocked);
    }
    (all > 0.0).then_some(waited / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(since_ms: u64, length_ms: u64, starved: bool) -> Stall {
        Stall {
            pid: 1,
            tid: 7,
            thread: "loop".into(),
            instance: 3,
            since: millis(since_ms),
            until: millis(since_ms + length_ms),
            trace: None,
            join: Join::None,
            site: SiteId(9),
            on_cpu: false,
            syscall: Some("read".into()),
            starved,
            spent: None,
        }
    }

    fn picture(stalls: &[Stall]) -> StallPicture {
        let mut loops = Loops::new();
        stalls.iter().for_each(|stall| loops.stall(stall, stall.until));
        loops.picture(10 * SECOND, &StallConfig::default())
    }

    #[test]
    fn one_stall_observed_often_is_one() {
        let looks: Vec<Stall> = (1..=6).map(|n| stall(8_000, n * 100, true)).collect();
        let seen = picture(&looks);
        assert_eq!((seen.sites[0].count, seen.sites[0].total), (1, millis(600)));
        assert!(!seen.triggered);
        assert!(picture(&[stall(8_000, 1_000, true)]).triggered, "one of a second is enough");
    }

    #[test]
    fn three_are_enough_and_twice_as_many_where_nobody_waited() {
        let many = |count: u64, starved| (0..count).map(|n| stall(5_000 + n * 300, 200, starved)).collect::<Vec<_>>();
        assert!(!picture(&many(2, true)).triggered);
        assert!(picture(&many(3, true)).triggered);
        assert!(!picture(&many(5, false)).triggered);
        assert!(picture(&many(6, false)).triggered);
        assert!(!picture(&[stall(8_000, 1_900, false)]).triggered);
        assert!(!picture(&[]).triggered);
    }

    #[test]
    fn stalls_in_one_call_are_one_thing_although_their_stacks_differ() {
        let mut stalls: Vec<Stall> = (0..5).map(|n| stall(5_000 + n * 500, 300, true)).collect();
        (0..3).for_each(|n| stalls[n].site = SiteId(n as u64));
        stalls.push(Stall { on_cpu: true, ..stall(8_000, 250, true) });
        let seen = picture(&stalls);
        let told: Vec<_> = seen.sites.iter().map(|site| (site.count, site.site, site.on_cpu)).collect();
        assert_eq!(told, [(5, SiteId(9), false), (1, SiteId(9), true)]);
    }

    #[test]
    fn busy_ratio_is_over_all_threads() {
        let mut loops = Loops::new();
        for (tid, busy_ns) in [(1, SECOND), (2, 0)] {
            let told = LoopTime { pid: 1, tid, instance: 3, waits: 10, wait_ns: SECOND - busy_ns, busy_ns, at: SECOND };
            loops.time(&told, SECOND);
        }
        assert_eq!(loops.busy_ratio(0, 2 * SECOND), Some(0.5));
        assert_eq!(loops.busy_ratio(5 * SECOND, 6 * SECOND), None);
        assert_eq!(loops.threads(2 * SECOND).count(), 2);
        assert_eq!(loops.threads(60 * SECOND).count(), 0);
    }
}
