//! What event loops waited on and where they did not come back, gathered over the look.
//!
//! Invariant: bounded: so many instances, and the longest stalls only.

use crate::render::{Sites, frames, text::seconds, wire_name};
use serde::Serialize;
use snowshed_engine::model::{LoopInstance, Pid, SiteId, Stall, TraceId, WaitCall};
use std::collections::BTreeMap;

/// Instances that are told apart.
const INSTANCES: usize = 256;
/// Stalls that are kept.
const STALLS: usize = 64;
/// Of these, shown for a process.
const SHOWN: usize = 3;

/// An epoll instance or io_uring; for poll and select, a thread.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Instance {
    call: WaitCall,
    instance: i32,
    pub(super) tid: Option<Pid>,
    threads: u32,
    waits: u64,
    wait_seconds: f64,
    busy_ratio: Option<f64>,
    events_per_wait: Option<f64>,
    full_ratio: Option<f64>,
    batch: u32,
    starved_seconds: f64,
    mixed: bool,
}

impl Instance {
    /// A row of the table.
    pub(super) fn row(&self) -> String {
        let what = match self.instance {
            0.. => format!("{} {}", wire_name(self.call), self.instance),
            _ => wire_name(self.call),
        };
        let who = self.tid.map_or_else(|| format!("{} threads", self.threads), |tid| format!("thread {tid}"));
        let percent = |ratio: f64| format!("{:.0} %", ratio * 100.0);
        let dash = || "-".to_owned();
        let bound = if self.batch > 0 { format!(" of {}", self.batch) } else { String::new() };
        format!(
            "{what:<13} {who:<15} {:>6} {:>8}  {:>13} {:>7}  {}{}",
            self.busy_ratio.map_or_else(dash, percent),
            self.waits,
            self.events_per_wait.map_or_else(dash, |events| format!("{events:.1}{bound}")),
            self.full_ratio.map_or_else(dash, percent),
            if self.starved_seconds > 0.0 { seconds(self.starved_seconds) } else { dash() },
            if self.mixed { "  (its threads wait on others too)" } else { "" },
        )
    }
}

/// A time that a loop did not come back.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StallRecord {
    thread: String,
    tid: Pid,
    seconds: f64,
    on_cpu: bool,
    syscall: Option<String>,
    /// Seconds on the CPU, runnable without one, and blocked.
    running_seconds: Option<f64>,
    queued_seconds: Option<f64>,
    blocked_seconds: Option<f64>,
    starved: bool,
    trace_id: Option<TraceId>,
    pub(super) frames: Vec<String>,
}

impl StallRecord {
    /// In one line.
    pub(super) fn sentence(&self) -> String {
        let did = match (&self.syscall, self.on_cpu) {
            (Some(syscall), false) => format!("blocked in {syscall}"),
            (None, false) => "blocked".to_owned(),
            (_, true) => "computing".to_owned(),
        };
        let time = match (self.running_seconds, self.queued_seconds, self.blocked_seconds) {
            (Some(running), Some(queued), Some(blocked)) => {
                format!(": {running:.2} s on a CPU, {queued:.2} s waiting for one, {blocked:.2} s blocked")
            }
            _ => String::new(),
        };
        let left = if self.starved { "; events were left waiting" } else { "" };
        let trace = self.trace_id.map_or_else(String::new, |trace| format!("; request {trace}"));
        format!("{:.2} s  {} ({}) {did}{time}{left}{trace}", self.seconds, self.thread, self.tid)
    }
}

/// Sums over the look.
#[derive(Clone, Debug)]
struct Sum {
    last: LoopInstance,
    waits: u64,
    wait_ns: u64,
    busy_ns: u64,
    events: u64,
    full: u64,
    starved_ns: u64,
    mixed: bool,
}

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    instances: BTreeMap<(Pid, WaitCall, i32, Option<Pid>), Sum>,
    stalls: Vec<Stall>,
}

impl Gathered {
    pub(super) fn instance(&mut self, told: &LoopInstance) {
        let key = (told.pid, told.call, told.instance, told.tid.filter(|_| told.instance < 0));
        if self.instances.len() >= INSTANCES && !self.instances.contains_key(&key) {
            return;
        }
        let sum = self.instances.entry(key).or_insert(Sum {
            last: *told,
            waits: 0,
            wait_ns: 0,
            busy_ns: 0,
            events: 0,
            full: 0,
            starved_ns: 0,
            mixed: false,
        });
        sum.last = *told;
        sum.waits += told.waits;
        sum.wait_ns += told.wait_ns;
        sum.busy_ns += told.busy_ns.unwrap_or(0);
        sum.events += told.events.unwrap_or(0);
        sum.full += told.full;
        sum.starved_ns += told.starved_ns;
        sum.mixed |= told.mixed;
    }

    /// Keeps the longest ones; a stall that goes on is told again, longer.
    pub(super) fn stall(&mut self, told: &Stall) {
        let same = |known: &&mut Stall| (known.pid, known.tid, known.since) == (told.pid, told.tid, told.since);
        if let Some(known) = self.stalls.iter_mut().find(same) {
            let site = if told.site == SiteId(0) { known.site } else { told.site };
            *known = Stall { site, starved: known.starved || told.starved, ..told.clone() };
            return;
        }
        self.stalls.push(told.clone());
        if self.stalls.len() > STALLS {
            self.stalls.sort_by_key(|stall| std::cmp::Reverse(stall.until.saturating_sub(stall.since)));
            self.stalls.truncate(STALLS);
        }
    }

    /// Places that the report names.
    pub(super) fn sites(&self) -> impl Iterator<Item = SiteId> + '_ {
        self.stalls.iter().map(|stall| stall.site)
    }

    /// The longest stalls of a process.
    pub(super) fn worst(&self, pid: Pid, sites: &Sites) -> Vec<StallRecord> {
        let mut stalls: Vec<&Stall> = self.stalls.iter().filter(|stall| stall.pid == pid).collect();
        stalls.sort_by_key(|stall| std::cmp::Reverse(stall.until.saturating_sub(stall.since)));
        let record = |stall: &&Stall| StallRecord {
            thread: stall.thread.clone(),
            tid: stall.tid,
            seconds: s(stall.until.saturating_sub(stall.since)),
            on_cpu: stall.on_cpu,
            syscall: stall.syscall.clone(),
            running_seconds: stall.spent.map(|spent| s(spent.running)),
            queued_seconds: stall.spent.map(|spent| s(spent.queued)),
            blocked_seconds: stall.spent.map(|spent| s(spent.blocked)),
            starved: stall.starved,
            trace_id: stall.trace,
            frames: frames(sites, stall.site),
        };
        stalls.iter().take(SHOWN).map(record).collect()
    }

    /// The instances of a process, busiest first.
    pub(super) fn of(&self, pid: Pid) -> Vec<Instance> {
        let mine = self.instances.values().filter(|sum| sum.last.pid == pid);
        let mut rows: Vec<Instance> = mine.map(instance).collect();
        rows.sort_by(|a, b| b.starved_seconds.total_cmp(&a.starved_seconds).then(b.waits.cmp(&a.waits)));
        rows
    }
}

fn s(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn instance(sum: &Sum) -> Instance {
    let per_wait = |count: u64| (sum.waits > 0).then(|| count as f64 / sum.waits as f64);
    let alone = sum.last.busy_ns.is_some();
    Instance {
        call: sum.last.call,
        instance: sum.last.instance,
        tid: sum.last.tid,
        threads: sum.last.threads,
        waits: sum.waits,
        wait_seconds: s(sum.wait_ns),
        busy_ratio: alone.then(|| sum.busy_ns as f64 / (sum.busy_ns + sum.wait_ns).max(1) as f64),
        events_per_wait: sum.last.events.and(per_wait(sum.events)),
        full_ratio: (sum.last.batch > 0).then(|| per_wait(sum.full)).flatten(),
        batch: sum.last.batch,
        starved_seconds: s(sum.starved_ns),
        mixed: sum.mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::{Join, Spent};

    const MS: u64 = 1_000_000;

    fn stall(since: u64, length: u64, site: u64) -> Stall {
        Stall {
            pid: 7,
            tid: 8,
            thread: "worker".into(),
            instance: 5,
            since: since * MS,
            until: (since + length) * MS,
            trace: None,
            join: Join::None,
            site: SiteId(site),
            on_cpu: true,
            syscall: None,
            starved: site == 0,
            spent: Some(Spent { running: length * MS, queued: 0, blocked: 0 }),
        }
    }

    #[test]
    fn a_stall_told_twice_is_one_and_the_longest_come_first() {
        let mut gathered = Gathered::default();
        gathered.stall(&stall(1_000, 200, 0));
        gathered.stall(&stall(1_000, 300, 4));
        (0..200).for_each(|n| gathered.stall(&stall(2_000 + n, 150, 0)));
        gathered.stall(&stall(9_000, 1_500, 0));
        assert_eq!(gathered.stalls.len(), STALLS);
        let worst = gathered.worst(7, &Sites::default());
        assert_eq!(worst.iter().map(|one| (one.seconds * 1e3) as u64).collect::<Vec<_>>(), [1_500, 300, 150]);
        let text = worst[1].sentence();
        for part in ["0.30 s", "worker (8) computing", "0.30 s on a CPU", "events were left waiting"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(gathered.worst(6, &Sites::default()).is_empty());
    }

    #[test]
    fn an_instance_is_summed_over_the_look() {
        let told = LoopInstance {
            pid: 7,
            call: WaitCall::Epoll,
            instance: 5,
            tid: Some(8),
            threads: 1,
            waits: 10,
            wait_ns: 250 * MS,
            busy_ns: Some(750 * MS),
            events: Some(30),
            full: 5,
            batch: 4,
            starved_ns: 0,
            mixed: false,
            at: 0,
        };
        let mut gathered = Gathered::default();
        gathered.instance(&told);
        gathered.instance(&told);
        let rows = gathered.of(7);
        assert_eq!(rows.len(), 1);
        let row = rows[0].row();
        for part in ["epoll 5", "thread 8", "75 %", "20", "3.0 of 4", "50 %"] {
            assert!(row.contains(part), "{part} is missing in {row}");
        }
    }
}
