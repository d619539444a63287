//! The locks of a process, look by look: how long they are waited for, and which of them are contended. Pure, so it is tested
//! without a kernel.
//!
//! What may be a lock at all, and what must be seen of it besides, is told in `waiters`.

use super::waiters::{Waiter, Wanted};
use snowshed_engine::model::{LockKind, Nanos};
use std::collections::HashMap;

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

/// One wait that is going on.
#[derive(Clone, Copy, Debug)]
struct Wait {
    turn: u64,
    since: Nanos,
}

/// A lock, or what may be one.
#[derive(Debug)]
struct Lock {
    kind: LockKind,
    doubtful: bool,
    holder: Option<u32>,
    /// More than one waited at once, or it is none that must be told from resting.
    is_crowded: bool,
    /// Each that is seen to wait stands for so many.
    weight: u32,
    /// By who waits.
    waiting: HashMap<u64, Wait>,
    seen: Nanos,
    hand_overs: u64,
    /// Somebody got on, and nobody has been seen waiting since.
    left: bool,
    /// Times that somebody waited again after that.
    returns: u64,
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
    /// Who waits longest: a thread (initial namespace), or a goroutine.
    pub(super) longest_waiter: Option<u64>,
}

/// The locks of one process.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: HashMap<u64, Lock>,
    at: Option<Nanos>,
    told: Nanos,
}

impl Locks {
    /// Takes a look; whether somebody waits for what is a lock.
    pub(super) fn look(&mut self, now: Nanos, waiters: &[Waiter]) -> bool {
        let stretch = self.at.map_or(0, |at| now.saturating_sub(at)).min(STRETCH);
        self.at = Some(now);
        let mut present: HashMap<u64, HashMap<u64, u64>> = HashMap::new();
        for Waiter { wanted, id, turn, weight } in waiters {
            if self.locks.len() >= MOST && !self.locks.contains_key(&wanted.word) {
                continue;
            }
            let lock = self.locks.entry(wanted.word).or_insert_with(|| Lock::new(wanted));
            (lock.kind, lock.doubtful, lock.holder) = (wanted.kind, wanted.doubtful, wanted.holder);
            lock.weight = *weight;
            present.entry(wanted.word).or_default().insert(*id, *turn);
        }
        let nobody = HashMap::new();
        for (word, lock) in &mut self.locks {
            let present = present.get(word).unwrap_or(&nobody);
            lock.is_crowded |= lock.kind != LockKind::Semaphore || present.len() > 1;
            lock.take(now, stretch, if lock.is_crowded { present } else { &nobody });
        }
        self.locks.retain(|_, lock| now.saturating_sub(lock.seen) < FORGET);
        self.locks.values().any(|lock| !lock.waiting.is_empty())
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

impl Lock {
    fn new(wanted: &Wanted) -> Self {
        Self {
            kind: wanted.kind,
            doubtful: wanted.doubtful,
            holder: wanted.holder,
            is_crowded: false,
            weight: 1,
            waiting: HashMap::new(),
            seen: 0,
            hand_overs: 0,
            left: false,
            returns: 0,
            waits: 0,
            wait_ns: 0,
            longest: 0,
            told_hand_overs: 0,
            told_waits: 0,
            told_wait_ns: 0,
        }
    }

    /// `present`: who waits, and in which turn. Cost: linear, as ten thousand goroutines may wait for one.
    fn take(&mut self, now: Nanos, stretch: Nanos, present: &HashMap<u64, u64>) {
        let before = self.waiting.len();
        self.waiting.retain(|id, wait| present.get(id) == Some(&wait.turn));
        let stayed = self.waiting.len();
        // Somebody got on, and somebody who waited before still waits.
        self.hand_overs += u64::from(stayed > 0 && stayed < before);
        self.left |= stayed < before;
        if self.left && !present.is_empty() {
            (self.left, self.returns) = (false, self.returns + 1);
        }
        for (id, turn) in present {
            if !self.waiting.contains_key(id) {
                self.waits += u64::from(self.weight);
                self.waiting.insert(*id, Wait { turn: *turn, since: now });
            }
            // A thread seen waiting stands for the time between two looks: right on average.
            self.wait_ns = self.wait_ns.saturating_add(stretch.saturating_mul(u64::from(self.weight)));
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
        // One return alone may be a process that was stopped or frozen for a while: all its waits begin anew.
        let sure = self.hand_overs > 0 || self.returns >= 2 || (!self.doubtful && self.longest >= LONG);
        if !much || !sure {
            return None;
        }
        let told = Contended {
            word,
            kind: self.kind,
            holder: self.holder,
            waiters: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).saturating_mul(self.weight),
            waits: self.waits - self.told_waits,
            wait_ns,
            longest_ns: self.longest,
            hand_overs: self.hand_overs - self.told_hand_overs,
            longest_waiter: self.waiting.iter().min_by_key(|(_, wait)| wait.since).map(|(id, _)| *id),
        };
        (self.told_waits, self.told_wait_ns, self.told_hand_overs) = (self.waits, self.wait_ns, self.hand_overs);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::waiters::{FUTEX, LOCK_PI, WAIT, WAIT_BITSET, WAITERS, waiters},
        *,
    };
    use crate::wire::TaskRecord;

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
            locks.look(step * 50 * MS, &waiters(&records(step)));
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
    fn a_rust_mutex_on_which_one_waits_at_a_time_is_told_by_coming_back_and_a_stop_is_none() {
        let alone = |sleeps| vec![blocked(1, sleeps, (64, 2), (WAIT_BITSET, 2, 0))];
        let found = told(|step| if step % 6 < 4 { alone(step / 6) } else { Vec::new() });
        assert!(matches!(found.as_slice(), [lock] if lock.hand_overs == 0 && lock.waits == 4), "{found:?}");
        assert_eq!(told(|step| alone(u64::from(step > 9))), [], "stopped and continued once");
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
    fn a_semaphore_is_a_lock_once_two_who_owe_an_answer_wait_for_it() {
        let owing = |tid: u32, word| {
            let record = blocked(tid, 5, (word, 0), (WAIT_BITSET, 0, 0));
            TaskRecord { owes: 1, ..record }
        };
        assert_eq!(told(|_| vec![owing(1, 64), owing(2, 96)]), [], "each on its own: they wait for somebody's answer");
        assert_eq!(told(|_| vec![blocked(1, 5, (64, 0), (WAIT, 0, 0)), owing(2, 64)]), [], "one of them rests");
        // One waits, then for a while a second one, then one again.
        let found = told(|step| (1..=1 + u32::from(step == 4)).map(|tid| owing(tid, 64)).collect());
        let [lock] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((lock.kind, lock.longest_ns), (LockKind::Semaphore, 750 * MS), "counted from there on");
    }

    #[test]
    fn goroutines_at_one_place_are_one_lock_and_no_threads() {
        let mut locks = Locks::default();
        locks.tell(0);
        for step in 0..20 {
            let goroutine = |id| Waiter { wanted: Wanted::of_runtime(64), id, turn: step / 10, weight: 1 };
            let mut all = [7, 8].map(goroutine).to_vec();
            all.extend(waiters(&[blocked(7, 5, (64, 2), (WAIT, 2, 0))]));
            assert!(locks.look(step * 50 * MS, &all));
        }
        let told = locks.tell(1_000 * MS);
        let goroutines = told.iter().find(|lock| lock.kind == LockKind::Goroutine).unwrap();
        assert_eq!((told.len(), goroutines.waits, goroutines.waiters, goroutines.longest_ns), (2, 4, 2, 450 * MS));
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
    fn the_c_librarys_mutex_names_another_of_the_threads_beside_its_word_and_nothing_else_does() {
        let holder = TaskRecord { host: [9, 1], numbers: [9, 0, 0, 0], ..Default::default() };
        let named = |owner, operation| {
            let waiter = TaskRecord { owner, ..blocked(1, 5, (64, 2), (operation, 2, 0)) };
            waiters(&[holder, waiter])[0].wanted.holder
        };
        assert_eq!(named(9, WAIT), Some(9));
        assert_eq!(named(9, WAIT_BITSET), None, "Rust keeps other things there");
        assert_eq!((named(0, WAIT), named(1, WAIT), named(77, WAIT)), (None, None, None), "nobody, itself, no thread");
    }

    #[test]
    fn as_many_as_wait_for_one_lock_are_told() {
        let mut locks = Locks::default();
        locks.tell(0);
        for step in 0..20 {
            let waiter = |id| Waiter { wanted: Wanted::of_runtime(64), id, turn: 1, weight: 3 };
            locks.look(step * 50 * MS, &(0..16_384).map(waiter).collect::<Vec<_>>());
        }
        let told = locks.tell(1_000 * MS);
        assert_eq!((told[0].waiters, told[0].wait_ns), (3 * 16_384, 3 * 16_384 * 950 * MS), "each stands for three");
    }

    #[test]
    fn hostile_words_are_bounded() {
        let mut locks = Locks::default();
        for step in 0..100 {
            let records: Vec<_> = (1..1_000)
                .map(|tid| blocked(tid, step, (u64::from(tid) * 4 + step * 4_000, 2), (WAIT, 2, 0)))
                .collect();
            locks.look(step * 50 * MS, &waiters(&records));
            assert!(locks.locks.len() <= MOST);
        }
    }
}
