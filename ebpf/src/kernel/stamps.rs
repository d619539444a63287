//! Who wrote which sequence numbers of a connection.
//!
//! A send is stamped when it returns, outside of the socket's lock: its bytes end at `write_seq`, unless
//! other threads were sending too. Then lengths and sequence numbers do not add up, and every writer whose
//! bytes may lie there becomes a candidate: bytes are never given to a wrong writer as the only one.
//! Cost: none but the socket's own storage for a connection with one writer at a time; 1.6 KiB for one that serves many,
//! and 4.6 KiB more only for one with more than 64 writes in flight.

use super::storage::SocketStorage;
use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xchg},
};

/// Bytes that one trace wrote in a row.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stamp {
    pub start: u32,
    pub end: u32,
    pub trace: [u64; 2],
}

/// Stamps of a connection that several traces write to, the newest at `next - 1`.
#[repr(C)]
pub struct Ring<const N: usize> {
    pub next: u64,
    /// In [`STAMPS`]: 1 if [`OLDER`] holds what fell out. In that: where the next one goes.
    pub turn: u64,
    pub at: [Stamp; N],
}

/// Kept of every connection in its [`Holder`](super::holder::Holder).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    lock: u64,
    /// Who sent last; 0: nobody yet.
    pub host_tgid: u32,
    /// 0: nothing is stamped; 1: only `first`; 2: see [`STAMPS`].
    pub stamped: u32,
    /// The newest stamp's end.
    pub end: u32,
    pub first: Stamp,
    /// Where the last clearing was: stamps that are 2 GiB old would look young.
    base: u32,
    /// Before this nothing is remembered.
    pub forgotten: u32,
    /// Several threads sent at once: from here on,
    pub run_start: u32,
    /// up to here,
    run_end: u32,
    /// and so many of the bytes are of sends that have not returned.
    pub unclaimed: u32,
    /// A retransmit waits for the stamp of a send that has not returned; so many more stamps are told to it,
    waiting: u32,
    /// whose bytes reach to here.
    waiting_end: u32,
}

/// Stamps told to a retransmit that waits: its own is among the next few, or was never made.
const TOLD: u32 = 32;
pub const RECENT: usize = 64;
pub const OLD: usize = 192;

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static STAMPS: SocketStorage<Ring<RECENT>> = SocketStorage::new();

/// What falls out of [`STAMPS`] before it is acknowledged.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static OLDER: SocketStorage<Ring<OLD>> = SocketStorage::new();

/// A connection is cleared after so many bytes.
const CLEAR: u32 = 3 << 29;

/// Whether one sequence number is before another.
#[inline(always)]
pub fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

impl Connection {
    /// Takes the lock: hooks on one socket run at the same time. A holder is at most 1 µs away, except where a
    /// softirq interrupted it on this very CPU.
    #[inline(always)]
    pub fn take(&mut self) -> bool {
        for _ in 0..8 {
            if self.exchange(1) == 0 {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    pub fn release(&mut self) {
        self.exchange(0);
    }

    /// The library shows no exchange for this target, which does have the instruction.
    #[inline(always)]
    fn exchange(&mut self, value: u64) -> u64 {
        // SAFETY: an aligned word of the map's value.
        unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&raw mut self.lock, value) }
    }

    /// Asks for the stamp that covers these bytes.
    #[inline(always)]
    pub fn await_stamp(&mut self, end: u32) {
        if self.waiting == 0 || before(self.waiting_end, end) {
            self.waiting_end = end;
        }
        self.waiting = TOLD;
    }

    /// Whether a retransmit waits for a stamp; the last one that it waited for ends that.
    #[inline(always)]
    pub fn is_awaited(&mut self) -> bool {
        if self.waiting == 0 {
            return false;
        }
        let is_last = self.unclaimed == 0 && !before(self.end, self.waiting_end);
        self.waiting = if is_last { 0 } else { self.waiting - 1 };
        true
    }

    /// A send of `length` bytes has returned; `end` is `write_seq`, `acked` `snd_una`. Returns where the
    /// bytes begin; where several threads sent, where they may begin.
    #[inline(always)]
    fn place(&mut self, length: u32, end: u32, acked: u32) -> u32 {
        let mut start = end.wrapping_sub(length);
        if self.stamped == 0 {
            self.base = start;
            return start;
        }
        if self.unclaimed != 0 && !before(acked, self.run_end) {
            self.unclaimed = 0;
        }
        let gap = start.wrapping_sub(self.end) as i32;
        if gap > 0 {
            // Somebody else wrote in between and has not returned.
            if self.unclaimed == 0 {
                self.run_start = self.end;
            }
            self.unclaimed = self.unclaimed.saturating_add(gap as u32);
            self.run_end = end;
            start = self.end;
        } else if gap < 0 {
            // This is the one who wrote in between.
            if self.unclaimed != 0 && before(self.run_start, start) {
                start = self.run_start;
            }
            self.unclaimed = self.unclaimed.saturating_sub(gap.unsigned_abs());
            self.run_end = end;
        }
        start
    }

    /// Stamps a send that has returned, and returns its stamp; `None`: there was no memory for it, and
    /// what is not remembered now reads as forgotten.
    ///
    /// # Safety
    /// `sk` must be a socket that the verifier trusts, and this its connection.
    #[inline(always)]
    pub unsafe fn stamp(
        &mut self,
        sk: *mut c_void,
        length: u32,
        end: u32,
        acked: u32,
        trace: [u64; 2],
    ) -> Option<Stamp> {
        let start = self.place(length, end, acked);
        let stamp = Stamp { start, end, trace };
        if end.wrapping_sub(self.base) > CLEAR {
            self.clear(stamp);
        }
        if !before(end, self.end) || self.stamped == 0 {
            self.end = end;
        }
        if self.stamped == 2 {
            // SAFETY: the caller's promise.
            let kept = unsafe { self.push(sk, stamp, acked) };
            return kept.then_some(stamp);
        }
        if self.stamped == 0 {
            self.first = stamp;
            self.forgotten = start;
            self.stamped = 1;
            return Some(stamp);
        }
        if self.first.trace == trace {
            self.first.extend(stamp);
            return Some(stamp);
        }
        // SAFETY: the caller's promise.
        let Some(ring) = (unsafe { STAMPS.get(sk, true) }) else {
            self.forget(self.first.end);
            self.first = stamp;
            return None;
        };
        ring.at[0] = self.first;
        ring.at[1] = stamp;
        ring.next = 2;
        ring.turn = 0;
        self.stamped = 2;
        Some(stamp)
    }

    /// Everything older than 1.5 GiB is acknowledged long since; once in so many bytes also what is not.
    #[inline(always)]
    fn clear(&mut self, stamp: Stamp) {
        self.base = stamp.start;
        if self.stamped == 1 && self.first.trace == stamp.trace {
            self.first.start = stamp.start.wrapping_sub(CLEAR / 3);
            self.base = self.first.start;
            self.forgotten = self.first.start;
            return;
        }
        self.forgotten = stamp.start;
        self.first = stamp;
        self.stamped = 1;
        self.unclaimed = 0;
    }

    #[inline(always)]
    fn forget(&mut self, end: u32) {
        if before(self.forgotten, end) {
            self.forgotten = end;
        }
    }

    /// Adds to the ring of recent stamps; what falls out is forgotten if it is acknowledged, else kept.
    #[inline(always)]
    unsafe fn push(&mut self, sk: *mut c_void, stamp: Stamp, acked: u32) -> bool {
        // SAFETY: the caller's promise.
        let Some(ring) = (unsafe { STAMPS.get(sk, false) }) else { return false };
        let last = &mut ring.at[ring.next.wrapping_sub(1) as usize & (RECENT - 1)];
        if last.trace == stamp.trace {
            last.extend(stamp);
            return true;
        }
        let slot = &mut ring.at[ring.next as usize & (RECENT - 1)];
        let fallen = *slot;
        let is_full = ring.next >= RECENT as u64;
        *slot = stamp;
        ring.next += 1;
        if !is_full {
            return true;
        }
        if !before(acked, fallen.end) {
            self.forget(fallen.end);
            return true;
        }
        // SAFETY: the caller's promise.
        let Some(older) = (unsafe { OLDER.get(sk, true) }) else {
            self.forget(fallen.end);
            return true;
        };
        if ring.turn == 0 {
            ring.turn = 1;
            (older.next, older.turn) = (0, 0);
        }
        // Volatile, or the compiler proves the bound needless and drops it, and the verifier cannot follow.
        // SAFETY: a field of the value.
        let mut index = unsafe { (&raw const older.turn).read_volatile() } as usize;
        if index >= OLD {
            index = 0;
        }
        let dropped = older.at[index].end;
        older.at[index] = fallen;
        older.turn = index as u64 + 1;
        older.next += 1;
        if older.next > OLD as u64 {
            self.forget(dropped);
        }
        true
    }
}

impl Stamp {
    /// More bytes of the same trace.
    #[inline(always)]
    fn extend(&mut self, more: Stamp) {
        if before(more.start, self.start) {
            self.start = more.start;
        }
        self.end = more.end;
    }
}

/// One bit for each of 64 stamps that overlaps the bytes, without a branch: the sign of `a - b` says whether
/// a is before b. A branch for each of them is more than the verifier follows.
///
/// # Safety
/// 64 stamps must be readable at `at`.
#[inline(always)]
pub unsafe fn overlapping(at: *const Stamp, seq: u32, end: u32, used: u64) -> u64 {
    let mut bits = 0u64;
    for index in 0..64 {
        // SAFETY: the caller's promise.
        unsafe {
            let stamp = at.add(index);
            let (from, to) = ((&raw const (*stamp).start).read_volatile(), (&raw const (*stamp).end).read_volatile());
            bits |= (((seq.wrapping_sub(to) & from.wrapping_sub(end)) >> 31) as u64) << index;
        }
    }
    if used < 64 { bits & ((1 << used) - 1) } else { bits }
}
