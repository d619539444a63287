//! What became of each epoll instance (and io_uring, and thread that polls), from look to look. Pure.
//!
//! Threads of some runtimes come and go, so what was left unserved is judged here and not by thread: events were
//! ready at two looks in a row, nobody waited at either, and no wait ended in between.

use super::{judge, ways};
use crate::wire::{NO_INSTANCE, ThreadRecord};
use snowshed_engine::model::{LoopInstance, Nanos, Pid, WaitCall};
use std::collections::HashMap;

/// Instances of all processes that are followed.
const MOST: usize = 4096;

/// An instance's address in the kernel; for threads that poll, their own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Instance(u64),
    Thread(u32),
}

impl Key {
    pub(super) fn of(record: &ThreadRecord) -> Self {
        if record.instance == 0 { Self::Thread(record.host[0]) } else { Self::Instance(record.instance) }
    }
}

/// One of them, since it was told last.
#[derive(Default)]
struct Entry {
    told_at: Nanos,
    waits: u64,
    wait: Nanos,
    busy: Nanos,
    events: u64,
    full: u64,
    starved: Nanos,
    mixed: bool,
    /// Events were ready and nobody waited at the last look: when that was.
    unserved: Option<Nanos>,
    /// Since when that is so at every look.
    since: Option<Nanos>,
    seen: Nanos,
}

/// All of them.
#[derive(Default)]
pub(super) struct Instances {
    entries: HashMap<(Pid, Key), Entry>,
    /// What each thread had been through at the last look, and when that was.
    threads: HashMap<(Pid, u32), (ThreadRecord, Nanos)>,
}

/// How one instance is served at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// Threads that wait on it.
    pub(super) threads: u32,
    /// Since when events have been ready at every look without anybody coming for them.
    pub(super) starved_since: Option<Nanos>,
}

/// Time in waits and between them, the one that goes on included.
pub(super) fn totals(record: &ThreadRecord, now: Nanos) -> (Nanos, Nanos) {
    let task = &record.task;
    if task.wait_since != 0 {
        (task.wait_ns + now.saturating_sub(task.wait_since), task.busy_ns)
    } else if task.wait_ended != 0 {
        (task.wait_ns, task.busy_ns + now.saturating_sub(task.wait_ended))
    } else {
        (task.wait_ns, task.busy_ns)
    }
}

impl Instances {
    /// Takes the loop threads of a process at a look; `idle_at`: when a look found none of them at work, so that all
    /// they have counted is new since then.
    pub(super) fn look(
        &mut self,
        pid: Pid,
        records: &[ThreadRecord],
        idle_at: Option<Nanos>,
        now: Nanos,
    ) -> HashMap<Key, Service> {
        let mut served: HashMap<Key, (Service, bool, bool, u64)> = HashMap::new();
        for record in records {
            let key = Key::of(record);
            let new = self.step(pid, key, record, idle_at, now);
            let (service, ready, waited, waits) = served.entry(key).or_default();
            service.threads += 1;
            *ready |= record.ready != 0;
            *waited |= record.task.wait_since != 0;
            *waits += new;
        }
        served
            .into_iter()
            .map(|(key, (mut service, ready, waited, waits))| {
                if let Some(entry) = self.entries.get_mut(&(pid, key)) {
                    let unserved = ready && !waited;
                    match entry.unserved.filter(|_| unserved && waits == 0) {
                        Some(before) => {
                            entry.starved += now.saturating_sub(before);
                            service.starved_since = Some(*entry.since.get_or_insert(before));
                        }
                        None => entry.since = None,
                    }
                    entry.unserved = unserved.then_some(now);
                }
                (key, service)
            })
            .collect()
    }

    /// Adds what one thread has been through since the last look; answers its waits.
    fn step(&mut self, pid: Pid, key: Key, record: &ThreadRecord, idle_at: Option<Nanos>, now: Nanos) -> u64 {
        let thread = (pid, record.host[0]);
        let before = self.threads.insert(thread, (*record, now));
        if self.entries.len() >= MOST && !self.entries.contains_key(&(pid, key)) {
            return 0;
        }
        let entry = self.entries.entry((pid, key)).or_insert(Entry {
            told_at: idle_at.unwrap_or(now),
            seen: now,
            ..Entry::default()
        });
        entry.seen = now;
        let (old, at) = match before {
            Some(before) => before,
            None if idle_at.is_some() => (ThreadRecord::default(), now),
            None => (*record, now),
        };
        let (task, told) = (&record.task, &old.task);
        let (wait, busy) = totals(record, now);
        let (wait_before, busy_before) = totals(&old, at);
        let waits = task.waits.saturating_sub(told.waits);
        entry.waits += waits;
        entry.wait += wait.saturating_sub(wait_before);
        entry.busy += busy.saturating_sub(busy_before);
        entry.events += task.events.saturating_sub(told.events);
        entry.full += task.full.saturating_sub(told.full);
        entry.mixed |= told.switches != 0 && told.switches != task.switches;
        waits
    }

    /// What is to be told of a process: each instance once every `every`.
    pub(super) fn tell(
        &mut self,
        pid: Pid,
        records: &[ThreadRecord],
        (every, level, now): (Nanos, usize, Nanos),
        mut each: impl FnMut(LoopInstance),
    ) {
        let mut done: Vec<Key> = Vec::new();
        for record in records {
            let key = Key::of(record);
            let Some(call) = ways::call(record).filter(|_| !done.contains(&key)) else { continue };
            done.push(key);
            let mates = records.iter().filter(|other| Key::of(other) == key).count();
            let Some(entry) = self.entries.get_mut(&(pid, key)) else { continue };
            if now.saturating_sub(entry.told_at) < every {
                continue;
            }
            let named = record.task.epoll != NO_INSTANCE;
            each(LoopInstance {
                pid,
                call,
                instance: if named { i32::try_from(record.task.epoll).unwrap_or(-1) } else { -1 },
                tid: (mates == 1).then(|| record.numbers.get(level).copied().unwrap_or_default()),
                threads: u32::try_from(mates).unwrap_or(u32::MAX),
                waits: entry.waits,
                wait_ns: entry.wait,
                busy_ns: (mates == 1).then_some(entry.busy),
                events: (call != WaitCall::IoUring).then_some(entry.events),
                full: entry.full,
                batch: record.task.batch,
                starved_ns: entry.starved,
                mixed: entry.mixed,
                at: now,
            });
            let (unserved, since) = (entry.unserved, entry.since);
            *entry = Entry { told_at: now, unserved, since, seen: now, ..Entry::default() };
        }
    }

    /// Forgets what has not been seen since then.
    pub(super) fn sweep(&mut self, since: Nanos) {
        self.entries.retain(|_, entry| entry.seen >= since);
        self.threads.retain(|_, (_, at)| *at >= since);
    }

    pub(super) fn forget(&mut self, pid: Pid) {
        self.entries.retain(|(owner, _), _| *owner != pid);
        self.threads.retain(|(owner, _), _| *owner != pid);
    }
}

/// Events were left waiting at an instance for which a thread is alone responsible.
pub(super) fn left_waiting(service: Service, record: &ThreadRecord) -> bool {
    service.threads == 1 && service.starved_since.is_some() && !judge::polls(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn thread(tid: u32, waits: u64, ready: bool, waiting: bool) -> ThreadRecord {
        let mut record = ThreadRecord { host: [tid, 1], instance: 77, ready: ready.into(), ..ThreadRecord::default() };
        record.task.waits = waits;
        record.task.events = 2 * waits;
        (record.task.epoll, record.task.call, record.task.switches) = (5, 232, 1);
        record.task.wait_since = u64::from(waiting);
        record
    }

    #[test]
    fn only_events_that_nobody_came_for_between_two_looks_starve() {
        let key = Key::Instance(77);
        let mut all = Instances::default();
        let mut at = |at: Nanos, records: &[ThreadRecord]| all.look(1, records, None, at * MS)[&key];
        assert_eq!(at(100, &[thread(1, 5, true, false)]).starved_since, None);
        assert_eq!(at(200, &[thread(1, 6, true, false)]).starved_since, None, "it came in between");
        assert_eq!(at(300, &[thread(1, 6, true, false)]).starved_since, Some(200 * MS));
        let with_another = [thread(1, 6, true, false), thread(2, 9, true, true)];
        assert_eq!(at(400, &with_another), Service { threads: 2, starved_since: None }, "another one waits");
        let both_away = [thread(1, 6, true, false), thread(2, 9, true, false)];
        assert_eq!(at(500, &both_away).starved_since, None);
        assert_eq!(at(600, &both_away).starved_since, Some(500 * MS));
        let mut told = Vec::new();
        all.tell(1, &both_away, (100 * MS, 0, 600 * MS), |one| told.push(one));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].instance, told[0].threads, told[0].tid, told[0].busy_ns), (5, 2, None, None));
        assert_eq!((told[0].waits, told[0].events, told[0].starved_ns), (1, Some(2), 200 * MS));
    }

    #[test]
    fn a_wait_that_goes_on_is_waiting_and_a_stall_that_goes_on_is_busy() {
        let mut all = Instances::default();
        let mut record = thread(1, 1, false, false);
        record.task.wait_ended = 50 * MS;
        all.look(1, &[record], None, 100 * MS);
        all.look(1, &[record], None, 1_100 * MS);
        record.task.waits = 2;
        (record.task.busy_ns, record.task.wait_since) = (1_150 * MS, 1_200 * MS);
        all.look(1, &[record], None, 2_100 * MS);
        let mut told = Vec::new();
        all.tell(1, &[record], (MS, 0, 2_100 * MS), |one| told.push(one));
        assert_eq!((told[0].busy_ns, told[0].wait_ns, told[0].waits), (Some(1_100 * MS), 900 * MS, 1));
    }
}
