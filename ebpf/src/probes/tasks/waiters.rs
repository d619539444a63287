//! Tells threads that wait for a lock from threads that rest, by one look. Pure, so it is tested without a kernel.
//!
//! A thread that is blocked in `futex` says only on which word, with which operation and value. What makes it a lock:
//! - `FUTEX_LOCK_PI`: the kernel's own lock.
//! - The word holds the id of one of the process's own threads and the kernel's "has waiters" bit: robust mutexes
//!   and all of musl's. The holder is known.
//! - It waits without a time limit for the word to be no longer 2, and the word is 2: "locked, and waited for" with
//!   the C library, Rust's `std` and Go's runtime. A condition's word counts up instead, and an idle pool waits on
//!   one; so where the operation is one that conditions use too (`FUTEX_WAIT_BITSET`: Rust), it counts only once
//!   it was handed over: one got on and others still wait for a 2, or, twice, somebody waits for a 2 again. No
//!   condition does that. The C library keeps the holder's id eight bytes behind the word, and it waits with `FUTEX_WAIT`:
//!   what lies there names the holder if it is the id of another of the process's threads.
//! - A semaphore (Python's `Lock` is one) looks the same to whoever rests on it. It counts where two threads at once wait
//!   for the same one although each owes an answer to a request that it has read: nobody rests then. From there on one is
//!   enough.
//! - Goroutines that wait for a mutex, which no thread shows: their runtime's own list says so (`goroutines`).
//!
//! Not told apart, and so not claimed: locks that park each thread on a word of its own (`parking_lot`, Java), and
//! semaphores of threads that serve no connection. A Rust mutex that is never handed over is not claimed either.

use crate::wire::TaskRecord;
use snowshed_engine::model::LockKind;
use std::collections::HashSet;

pub(super) const FUTEX: i64 = 202;
/// `FUTEX_PRIVATE_FLAG`, `FUTEX_CLOCK_REALTIME`.
const FLAGS: u64 = 128 | 256;
pub(super) const WAIT: u64 = 0;
pub(super) const LOCK_PI: u64 = 6;
pub(super) const WAIT_BITSET: u64 = 9;
const LOCK_PI2: u64 = 13;
/// `FUTEX_WAITERS` and `FUTEX_TID_MASK`.
pub(super) const WAITERS: u32 = 0x8000_0000;
const TID: u32 = 0x3fff_ffff;

/// A wait for what looks like a lock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Which lock: its address, or what stands for it.
    pub(super) word: u64,
    pub(super) kind: LockKind,
    /// The operation is used for conditions too.
    pub(super) doubtful: bool,
    /// As the lock itself says, in the process's own numbers.
    pub(super) holder: Option<u32>,
}

/// What a thread waits for, if it may be a lock; `is_own` says whether the process has a thread of that number.
fn wanted(record: &TaskRecord, is_own: impl Fn(u32) -> bool) -> Option<Wanted> {
    if record.syscall != FUTEX || record.state == 0 || record.on_cpu != 0 || record.word_known == 0 {
        return None;
    }
    let [word, operation, value, timeout] = record.arguments;
    let (operation, value) = (operation & !FLAGS, value as u32);
    let holder = Some(record.word & TID).filter(|tid| *tid != 0 && is_own(*tid));
    let is_other = |tid: &u32| *tid != 0 && *tid != innermost(record) && is_own(*tid);
    let owner = Some(record.owner).filter(|tid| operation == WAIT && is_other(tid));
    let is = |kind, doubtful, holder| Some(Wanted { word, kind, doubtful, holder });
    match operation {
        WAIT | WAIT_BITSET if value == 0 && record.word == 0 && record.owes != 0 => {
            is(LockKind::Semaphore, false, None)
        }
        LOCK_PI | LOCK_PI2 => is(LockKind::Pi, false, holder),
        WAIT | WAIT_BITSET if record.word != value => None,
        WAIT | WAIT_BITSET if value & WAITERS != 0 && holder.is_some() => is(LockKind::Owned, false, holder),
        WAIT | WAIT_BITSET if value == 2 && timeout == 0 => is(LockKind::Word, operation == WAIT_BITSET, owner),
        _ => None,
    }
}

/// Somebody who waits for a lock, as a look shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) wanted: Wanted,
    /// The thread's number in the initial namespace, or the goroutine's.
    pub(super) id: u64,
    /// Equal in two looks: the very same wait.
    pub(super) turn: u64,
    /// It stands for so many.
    pub(super) weight: u32,
}

impl Wanted {
    /// A mutex of a runtime that lists who waits for it; those at one place are taken together.
    pub(super) fn of_runtime(place: u64) -> Self {
        // No address has this bit.
        Self { word: place | 1 << 63, kind: LockKind::Goroutine, doubtful: false, holder: None }
    }
}

/// Those of a process's threads that wait for what may be a lock.
pub(super) fn waiters(records: &[TaskRecord]) -> Vec<Waiter> {
    let own: HashSet<u32> = records.iter().map(innermost).collect();
    let waiter = |record: &TaskRecord| {
        let wanted = wanted(record, |tid| own.contains(&tid))?;
        Some(Waiter { wanted, id: u64::from(record.host[0]), turn: record.sleeps, weight: 1 })
    };
    records.iter().filter_map(waiter).collect()
}

/// The number of a thread in its own pid namespace, which is what it writes into words.
pub(super) fn innermost(record: &TaskRecord) -> u32 {
    record.numbers.get(record.level as usize).copied().unwrap_or_default()
}
