//! What the event loops of a process wait on: figures of the last second, and sums.
//!
//! Invariant: bounded; a descriptor that is not told any more leaves. Memory: 256 entries a process.

use crate::{
    model::{InstanceView, LoopInstance, Nanos, Pid, WaitCall},
    window::{SECOND, seconds},
};
use std::collections::BTreeMap;

const MOST: usize = 256;
/// Without a record for so long it is waited on no more.
const FRESH: Nanos = 10 * SECOND;

/// One of them: its last record, and the sums.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Nanos,
    last: LoopInstance,
    waits: u64,
    events: u64,
    full: u64,
    starved: Nanos,
}

/// All of one process. Poll and select have no descriptor: there the thread tells them apart.
#[derive(Debug, Default)]
pub(crate) struct Instances(BTreeMap<(WaitCall, i32, Option<Pid>), Entry>);

impl Instances {
    /// Takes a record.
    pub(crate) fn take(&mut self, told: &LoopInstance, at: Nanos) {
        let key = (told.call, told.instance, told.tid.filter(|_| told.instance < 0));
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, entry| at.saturating_sub(entry.at) < FRESH);
            if self.0.len() >= MOST {
                return;
            }
        }
        let entry = self.0.entry(key).or_insert(Entry { at, last: *told, waits: 0, events: 0, full: 0, starved: 0 });
        (entry.at, entry.last) = (at, *told);
        entry.waits = entry.waits.saturating_add(told.waits);
        entry.events = entry.events.saturating_add(told.events.unwrap_or(0));
        entry.full = entry.full.saturating_add(told.full);
        entry.starved = entry.starved.saturating_add(told.starved_ns);
    }

    /// Those that are waited on now.
    pub(crate) fn view(&self, now: Nanos) -> Vec<InstanceView> {
        self.0.values().filter(|entry| now.saturating_sub(entry.at) < FRESH).map(view).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ratios for display")]
fn view(entry: &Entry) -> InstanceView {
    let last = &entry.last;
    let per_wait = |count: u64| (last.waits > 0).then(|| count as f64 / last.waits as f64);
    let busy = last.busy_ns.map(seconds).and_then(|busy| {
        let all = busy + seconds(last.wait_ns);
        (all > 0.0).then(|| (busy / all).clamp(0.0, 1.0))
    });
    InstanceView {
        call: last.call,
        instance: last.instance,
        tid: last.tid,
        threads: last.threads,
        busy_ratio: busy,
        events_per_wait: last.events.and_then(per_wait),
        full_ratio: (last.batch > 0).then(|| per_wait(last.full)).flatten(),
        batch: last.batch,
        waits_total: entry.waits,
        events_total: entry.events,
        full_total: entry.full,
        starved_seconds_total: seconds(entry.starved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(instance: i32, waits: u64) -> LoopInstance {
        LoopInstance {
            pid: 1,
            call: WaitCall::Epoll,
            instance,
            tid: Some(7),
            threads: 1,
            waits,
            wait_ns: SECOND / 4,
            busy_ns: Some(3 * SECOND / 4),
            events: Some(3 * waits),
            full: waits / 2,
            batch: 4,
            starved_ns: SECOND / 10,
            mixed: false,
            at: 0,
        }
    }

    #[test]
    fn sums_grow_and_ratios_are_of_the_last_record() {
        let mut instances = Instances::default();
        instances.take(&told(5, 10), SECOND);
        instances.take(&told(5, 0), 2 * SECOND);
        let seen = instances.view(2 * SECOND);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].waits_total, seen[0].events_total, seen[0].full_total), (10, 30, 5));
        assert_eq!((seen[0].busy_ratio, seen[0].events_per_wait, seen[0].full_ratio), (Some(0.75), None, None));
        instances.take(&told(5, 4), 3 * SECOND);
        let seen = instances.view(3 * SECOND);
        assert_eq!((seen[0].events_per_wait, seen[0].full_ratio), (Some(3.0), Some(0.5)));
        assert!((seen[0].starved_seconds_total - 0.3).abs() < 1e-9);
    }

    #[test]
    fn threads_that_poll_are_told_apart_and_old_ones_leave() {
        let mut instances = Instances::default();
        let polls = |tid| LoopInstance { call: WaitCall::Poll, tid: Some(tid), batch: 0, ..told(-1, 1) };
        instances.take(&polls(1), SECOND);
        instances.take(&polls(2), SECOND);
        assert_eq!(instances.view(2 * SECOND).len(), 2);
        assert!(instances.view(60 * SECOND).is_empty());
        (0..1_000).for_each(|fd| instances.take(&told(fd, 1), SECOND));
        assert_eq!(instances.0.len(), MOST);
        instances.take(&told(5_000, 1), 60 * SECOND);
        assert_eq!(instances.0.len(), 1, "room is made by those that left");
    }
}
