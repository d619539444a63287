//! Waits of threads as looks see them: how long all of them took together, and the longest with what was seen of it.
//!
//! A wait goes on while its thread has slept as often as at the look before. What it is for is looked up once, when a
//! second look meets it: a first one may have met a wait that is over in a microsecond.
//! Cost: a table of the threads that wait.

use crate::wire::TaskRecord;
use snowshed_engine::model::Nanos;
use std::collections::HashMap;

/// Waits since the last telling; `S` is what is seen of one while it goes on.
pub(super) struct Waits<S> {
    /// By thread: its sleeps and since when.
    waiting: HashMap<u32, (u64, Nanos)>,
    wait_ns: Nanos,
    longest: Option<Longest<S>>,
}

/// The longest wait.
pub(super) struct Longest<S> {
    pub(super) length: Nanos,
    pub(super) record: TaskRecord,
    pub(super) seen: Option<S>,
}

impl<S> Default for Waits<S> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), wait_ns: 0, longest: None }
    }
}

impl<S> Waits<S> {
    /// Takes the threads that wait at a look, which stands for a stretch of time. `at_once`: a thread's first look counts
    /// too; else only those after another at which it waited.
    pub(super) fn look<'a>(
        &mut self,
        (now, stretch): (Nanos, Nanos),
        at_once: bool,
        waiting: impl Iterator<Item = &'a TaskRecord>,
        mut see: impl FnMut(&TaskRecord) -> S,
    ) {
        let mut known = std::mem::take(&mut self.waiting);
        for record in waiting {
            // Whoever waits bit by bit is held up too: only the wait's length begins anew.
            let before = known.remove(&record.host[0]);
            let since = before.filter(|(sleeps, _)| *sleeps == record.sleeps).map_or(now, |(_, since)| since);
            self.waiting.insert(record.host[0], (record.sleeps, since));
            if before.is_none() && !at_once {
                continue;
            }
            self.wait_ns += stretch;
            let length = now.saturating_sub(since);
            if self.longest.as_ref().is_some_and(|longest| longest.length > length) {
                continue;
            }
            let same =
                |longest: &Longest<S>| longest.record.host == record.host && longest.record.sleeps == record.sleeps;
            let seen = self.longest.take().filter(same).and_then(|longest| longest.seen);
            let seen = seen.or_else(|| (length > 0).then(|| see(record)));
            self.longest = Some(Longest { length, record: *record, seen });
        }
    }

    /// What all took together since it was last asked, and the longest; nothing if nobody waited.
    pub(super) fn tell(&mut self) -> Option<(Nanos, Longest<S>)> {
        let wait_ns = std::mem::take(&mut self.wait_ns);
        Some((wait_ns, self.longest.take().filter(|_| wait_ns > 0)?))
    }
}
