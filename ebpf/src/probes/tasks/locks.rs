//! Tells threads that wait for a lock from threads that rest, look by look. Pure, so it is tested without a kernel.
//!
//! A thread that is blocked in `futex` says only on which word, with which operation and value. What makes it a lock:
//! - `FUTEX_LOCK_PI`: the kernel's own lock.
//! - The word holds the id of one of the process's own threads and the kernel's "has waiters" bit: robust mutexes
//!   and all of musl's. The holder is known.
//! - It waits without a time limit for the word to be no longer 2, and the word is 2: "locked, and waited for" with
//!   the C library, Rust's `std` and Go's runtime. A condition's word counts up instead, and an idle pool waits on
//!   one; so where the operation is one that conditions use too (`FUTEX_WAIT_BITSET`: Rust), it counts only once it
//!   was handed over: one got on while others still wait for the same 2, which no condition does.
//!
//! Not told apart, and so not claimed: locks that park each thread on a word of its own (`parking_lot`, Java), and
//! semaphores (Python's `Lock`). A Rust mutex that is never handed over is not claimed either.

use crate::wire::TaskRecord;
use snowshed_engine::model::{LockKind, Nanos};
use std::collections::{HashMap, HashSet};

/// Locks that are followed in a process.
const MOST: usize = 256;
/// A lock that nobody was seen waiting for is forgotten after this time.
const FORGET: Nanos = 10_000_000_000;
/// The longest stretch that one look may stand for.
const STRETCH: Nanos = 500_000_000;
/// Waiting this long at once is contention by itself.
const LONG: Nanos = 150_000_000;
/// So is a tenth of the time, on average, with somebody waiting and others getting on.
const SHARE: u64 = 10;

const FUTEX: i64 = 202;
/// `FUTEX_PRIVATE_FLAG`, `FUTEX_CLOCK_REALTIME`.
const FLAGS: u64 = 128 | 256;
const WAIT: u64 = 0;
const LOCK_PI: u64 = 6;
const WAIT_BITSET: u64 = 9;
const LOCK_PI2: u64 = 13;
/// `FUTEX_WAITERS` and `FUTEX_TID_MASK`.
const WAITERS: u32 = 0x8000_0000;
const TID: u32 = 0x3fff_ffff;

/// A wait for what looks like a lock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wanted {
    word: u64,
    kind: LockKind,
    /// The operation is used for conditions too.
    doubtful: bool,
    /// As the word says, in the process's own numbers.
    holder: Option<u32>,
}

/// What a thread waits for, if it is a lock; `is_own` says whether the process has a thread of that number.
pub(super) fn wanted(record: &TaskRecord, is_own: impl Fn(u32) -> bool) -> Option<Wanted> {
    if record.syscall != FUTEX || record.state == 0 || record.on_cpu != 0 || record.word_known == 0 {
        return None;
    }
    let [word, operation, value, timeout] = record.arguments;
    let (operation, value) = (operation & !FLAGS, value as u32);
    let holder = Some(record.word & TID).filter(|tid| *tid != 0 && is_own(*tid));
    let is = |kind, doubtful, holder| Some(Wanted { word, kind, doubtful, holder });
    match operation {
        LOCK_PI | LOCK_PI2 => is(LockKind::Pi, false, holder),
        WAIT | WAIT_BITSET if record.word != value => None,
        WAIT | WAIT_BITSET if value & WAITERS != 0 && holder.is_some() => is(LockKind::Owned, false, holder),
        WAIT | WAIT_BITSET if value == 2 && timeout == 0 => is(LockKind::Word, operation == WAIT_BITSET, None),
        _ => None,
    }
}

/// One wait that is going on.
#[derive(Clone, Copy, Debug)]
struct Wait {
    sleeps: u64,
    since: Nanos,
}

/// A lock, or what may be one.
#[derive(Debug)]
struct Lock {
    kind: LockKind,
    doubtful: bool,
    holder: Option<u32>,
    /// By thread, initial namespace.
    waiting: HashMap<u32, Wait>,
    seen: Nanos,
    hand_overs: u64,
    waits: u64,
    wait_ns: Nanos,
    longest: Nanos,
    told_hand_overs: u64,
    told_waits: u64,
    told_wait_ns: Nanos,
}

/// What is told of a contended lock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contended {
    pub(super) word: u64,
    pub(super) kind: LockKind,
    pub(super) holder: Option<u32>,
    pub(super) waiters: u32,
    pub(super) waits: u64,
    pub(super) wait_ns: Nanos,
    pub(super) longest_ns: Nanos,
    pub(super) hand_overs: u64,
    /// The thread that waits longest, initial namespace.
    pub(super) longest_waiter: Option<u32>,
}

/// The locks of one process.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: HashMap<u64, Lock>,
    at: Option<Nanos>,
    told: Nanos,
}

impl Locks {
    /// Takes a look; whether somebody waits for what may be a lock.
    pub(super) fn look(&mut self, now: Nanos, records: &[TaskRecord]) -> bool {
        let stretch = self.at.map_or(0, |at| now.saturating_sub(at)).min(STRETCH);
        self.at = Some(now);
        let own: HashSet<u32> = records.iter().map(innermost).collect();
        let mut present: HashMap<u64, Vec<(u32, u64)>> = HashMap::new();
        for record in records {
            let Some(wanted) = wanted(record, |tid| own.contains(&tid)) else { continue };
            if self.locks.len() >= MOST && !self.locks.contains_key(&wanted.word) {
                continue;
            }
            let lock = self.locks.entry(wanted.word).or_insert_with(|| Lock::new(&wanted));
            (lock.kind, lock.doubtful, lock.holder) = (wanted.kind, wanted.doubtful, wanted.holder);
            present.entry(wanted.word).or_default().push((record.host[0], record.sleeps));
        }
        for (word, lock) in &mut self.locks {
            lock.take(now, stretch, present.get(word).map(Vec::as_slice).unwrap_or_default());
        }
        self.locks.retain(|_, lock| now.saturating_sub(lock.seen) < FORGET);
        !present.is_empty()
    }

    /// Whether a word is followed.
    pub(super) fn knows(&self, word: u64) -> bool {
        self.locks.contains_key(&word)
    }

    /// What has become contended, or still is, since it was last asked.
    pub(super) fn tell(&mut self, now: Nanos) -> Vec<Contended> {
        let over = now.saturating_sub(self.told);
        self.told = now;
        self.locks.iter_mut().filter_map(|(word, lock)| lock.tell(*word, over)).collect()
    }
}

/// The number of a thread in its own pid namespace, which is what it writes into words.
pub(super) fn innermost(record: &TaskRecord) -> u32 {
    record.numbers.get(record.level as usize).copied().unwrap_or_default()
}

impl Lock {
    fn new(wanted: &Wanted) -> Self {
        Self {
            kind: wanted.kind,
            doubtful: wanted.doubtful,
            holder: wanted.holder,
            waiting: HashMap::new(),
            seen: 0,
            hand_overs: 0,
            waits: 0,
            wait_ns: 0,
            longest: 0,
            told_hand_overs: 0,
            told_waits: 0,
            told_wait_ns: 0,
        }
    }

    fn take(&mut self, now: Nanos, stretch: Nanos, present: &[(u32, u64)]) {
        let is_still = |tid: &u32, wait: &Wait| present.contains(&(*tid, wait.sleeps));
        let before = self.waiting.len();
        self.waiting.retain(|tid, wait| is_still(tid, wait));
        let stayed = self.waiting.len();
        // Somebody got on, and somebody who waited before still waits.
        self.hand_overs += u64::from(stayed > 0 && stayed < before);
        for (tid, sleeps) in present {
            if !self.waiting.contains_key(tid) {
                self.waits += 1;
                self.waiting.insert(*tid, Wait { sleeps: *sleeps, since: now });
            }
            // A thread seen waiting stands for the time between two looks: right on average.
            self.wait_ns += stretch;
        }
        let longest = self.waiting.values().map(|wait| now.saturating_sub(wait.since)).max();
        self.longest = self.longest.max(longest.unwrap_or(0));
        if !present.is_empty() {
            self.seen = now;
        }
    }

    fn tell(&mut self, word: u64, over: Nanos) -> Option<Contended> {
        let wait_ns = self.wait_ns - self.told_wait_ns;
        let much = wait_ns.saturating_mul(SHARE) >= over && wait_ns > 0;
        let sure = self.hand_overs > 0 || (!self.doubtful && self.longest >= LONG);
        if !much || !sure {
            return None;
        }
        let told = Contended {
            word,
            kind: self.kind,
            holder: self.holder,
            waiters: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            waits: self.waits - self.told_waits,
            wait_ns,
            longest_ns: self.longest,
            hand_overs: self.hand_overs - self.told_hand_overs,
            longest_waiter: self.waiting.iter().min_by_key(|(_, wait)| wait.since).map(|(tid, _)| *tid),
        };
        (self.told_waits, self.told_wait_ns, self.told_hand_overs) = (self.waits, self.wait_ns, self.hand_overs);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn blocked(tid: u32, sleeps: u64, word: (u64, u32), call: (u64, u32, u64)) -> TaskRecord {
        let mut record =
            TaskRecord { syscall: FUTEX, state: 1, word: word.1, word_known: 1, sleeps, ..Default::default() };
        record.host = [tid, 1];
        record.numbers[0] = tid;
        record.arguments = [word.0, call.0 | 128, u64::from(call.1), call.2];
        record
    }

    /// Twenty looks at 50 ms, told once at the end.
    fn told(mut records: impl FnMut(u64) -> Vec<TaskRecord>) -> Vec<Contended> {
        let mut locks = Locks::default();
        locks.tell(0);
        for step in 0..20 {
            locks.look(step * 50 * MS, &records(step));
        }
        locks.tell(1_000 * MS)
    }

    #[test]
    fn a_mutex_held_for_long_is_contended() {
        let found = told(|_| (1..4).map(|tid| blocked(tid, 5, (64, 2), (WAIT, 2, 0))).collect());
        let [lock] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((lock.waiters, lock.waits, lock.hand_overs, lock.longest_ns), (3, 3, 0, 950 * MS));
        assert_eq!(lock.wait_ns, 3 * 950 * MS);
    }

    #[test]
    fn a_rust_mutex_is_told_from_a_condition_by_being_handed_over() {
        let bitset = |tid, sleeps, word| blocked(tid, sleeps, (64, word), (WAIT_BITSET, 2, 0));
        assert_eq!(told(|_| vec![bitset(1, 5, 2), bitset(2, 5, 2)]), [], "an idle pool after two signals looks so");
        // A signal counts the condition up: who still waits then waits for an older value.
        assert_eq!(told(|step| vec![bitset(1, step, 2 + step as u32), bitset(2, 5, 2 + step as u32)]), []);
        // One after the other gets it and comes back; the others keep waiting.
        let found = told(|step| {
            (0..4_u64)
                .filter(|tid| step / 4 % 4 != *tid)
                .map(|tid| bitset(tid as u32 + 1, (step / 4 + 3 - tid) / 4, 2))
                .collect()
        });
        let [lock] = found.as_slice() else { panic!("{found:?}") };
        assert!(lock.hand_overs >= 3, "{lock:?}");
    }

    #[test]
    fn resting_is_no_lock() {
        let rest = |value, operation, timeout| {
            move |_| (1..9).map(|tid| blocked(tid, 5, (64, value), (operation, value, timeout))).collect()
        };
        assert_eq!(told(rest(7, WAIT_BITSET, 0)), [], "a condition");
        assert_eq!(told(rest(u32::MAX, WAIT_BITSET, 0)), [], "a parked thread");
        assert_eq!(told(rest(2, WAIT, 0x7000)), [], "a wait with a time limit");
        assert_eq!(told(rest(0, WAIT, 0)), [], "a semaphore, or Go");
        assert_eq!(told(rest(0x8000_0000 | 4_000, WAIT, 0)), [], "not a thread of this process");
    }

    #[test]
    fn the_holder_is_named_where_the_word_holds_it() {
        let holder = TaskRecord { host: [9, 1], numbers: [9, 0, 0, 0], ..Default::default() };
        for (operation, value, kind) in [(WAIT, WAITERS | 9, LockKind::Owned), (LOCK_PI, 0, LockKind::Pi)] {
            let found = told(|_| vec![holder, blocked(1, 5, (64, WAITERS | 9), (operation, value, 0))]);
            assert!(matches!(found.as_slice(), [lock] if lock.holder == Some(9) && lock.kind == kind), "{found:?}");
        }
    }

    #[test]
    fn hostile_words_are_bounded() {
        let mut locks = Locks::default();
        for step in 0..100 {
            let records: Vec<_> = (1..1_000)
                .map(|tid| blocked(tid, step, (u64::from(tid) * 4 + step * 4_000, 2), (WAIT, 2, 0)))
                .collect();
            locks.look(step * 50 * MS, &records);
            assert!(locks.locks.len() <= MOST);
        }
    }
}
