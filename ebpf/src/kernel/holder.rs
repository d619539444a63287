//! Whose a TCP socket is, how soon it is read, and how soon either side answers the other.
//!
//! A connection inherits from its listener, so one that lives between two looks has its process too. How long bytes lay
//! there when a process took them is the time since the connection's last packet with data: less than the first of them
//! waited where more came after them. It is counted in ticks of the kernel's clock, the only one that TCP stamps such
//! packets with; the host knows how long one is.
//! An answer takes from the last that was asked (received or sent) until the first byte back, and what lay there unread
//! is no part of the peer's. Where several requests are under way on one connection that is the time between any of them.
//! Who sends again and again and is not answered asks no questions (it streams, or speaks a protocol with frames of its
//! own): that is counted either way, so that an answer that does not come is told from one that nobody waits for.
//! What was written to it and by whom lies there too (`stamps`).
//! Cost: one storage look-up per receive and per send of a target, and on its TCP connections the clock.

use super::{PAUSE, field, stamps::Connection, storage::InheritedStorage};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use core::{ffi::c_void, ptr::read_volatile};

/// What is kept of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Holder {
    /// The process, initial namespace; 0: none that is watched.
    pub host_tgid: u32,
    /// Receives that brought bytes.
    pub reads: u32,
    /// How long the bytes had lain there, ticks, all of these added up.
    pub delay: u64,
    /// The longest since the last look.
    pub slowest: u32,
    /// Whose turn it is: [`OWN`], [`PEER`], or 0: not known.
    turn: u32,
    /// Since when, in ticks.
    since: u32,
    /// Answers given: sends that followed a receive.
    pub given: u32,
    /// How long they took, ticks, all of these added up.
    pub given_time: u64,
    /// Answers had: receives that followed a send.
    pub had: u32,
    /// Sends that followed another after a pause, without an answer between.
    pub unasked: u32,
    /// Receives that did.
    pub pushed: u32,
    _end: u32,
    /// How long they took until they came, likewise.
    pub had_time: u64,
    /// And until the last byte of each, as far as bytes came in several receives.
    pub had_whole: u64,
    /// Who wrote what to it. All zeros in a listener, so in what inherits from it too.
    pub connection: Connection,
}

impl Holder {
    /// The process, initial namespace; 0: none that is watched. Whoever wrote last knows better than the listener.
    #[inline(always)]
    pub fn owner(&self) -> u32 {
        if self.connection.host_tgid != 0 { self.connection.host_tgid } else { self.host_tgid }
    }

    /// A process gave bytes to the socket.
    #[inline(always)]
    pub fn gave(&mut self) {
        // SAFETY: no arguments, always valid.
        let now = unsafe { bpf_jiffies64() } as u32;
        let passed = between(self.since, now);
        if self.turn == OWN {
            self.given = self.given.wrapping_add(1);
            self.given_time = self.given_time.wrapping_add(passed as u64);
        } else if self.turn == PEER && is_pause(passed) {
            self.unasked = self.unasked.wrapping_add(1);
        }
        (self.turn, self.since) = (PEER, now);
    }

    /// For how many ticks the process has owed an answer, and for how many the peer has, at least one; 0: it does not.
    #[inline(always)]
    pub fn owing(&self) -> (u32, u32) {
        // SAFETY: no arguments, always valid.
        let time = between(self.since, unsafe { bpf_jiffies64() } as u32).max(1);
        (if self.turn == OWN { time } else { 0 }, if self.turn == PEER { time } else { 0 })
    }
}

/// A question may be sent in parts, which may each wait for an acknowledgement (40 ms); more comes later than that.
#[inline(always)]
fn is_pause(ticks: u32) -> bool {
    // SAFETY: a constant that the host has filled in.
    ticks >= unsafe { read_volatile(&raw const PAUSE) }
}

/// The process has received, and its answer is due.
const OWN: u32 = 1;
/// The process has sent.
const PEER: u32 = 2;

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static HOLDERS: InheritedStorage<Holder> = InheritedStorage::new();

/// A process took bytes from a socket.
///
/// # Safety
/// `sk` must be a pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn took(sk: *mut c_void) {
    // SAFETY: the caller's promise. Only TCP sockets have a holder.
    unsafe {
        let Some(holder) = HOLDERS.get(sk, false) else { return };
        let last: u32 = field!(sk, icsk_lrcvtime);
        let now = bpf_jiffies64() as u32;
        // One that cannot be is of a connection whose data came before anything was stamped.
        let delay = between(last, now);
        let came = now.wrapping_sub(delay);
        let more = between(holder.since, came);
        if holder.turn == PEER {
            holder.had = holder.had.wrapping_add(1);
            holder.had_time = holder.had_time.wrapping_add(more as u64);
        } else if holder.turn == OWN && is_pause(more) {
            holder.pushed = holder.pushed.wrapping_add(1);
        }
        if holder.turn != 0 {
            holder.had_whole = holder.had_whole.wrapping_add(more as u64);
        }
        (holder.turn, holder.since) = (OWN, came);
        holder.reads = holder.reads.wrapping_add(1);
        holder.delay = holder.delay.wrapping_add(delay as u64);
        if holder.slowest < delay {
            holder.slowest = delay;
        }
    }
}

/// Ticks from one time to a later one; 0 if it is not later.
#[inline(always)]
fn between(one: u32, other: u32) -> u32 {
    let ticks = other.wrapping_sub(one);
    if ticks >= 1 << 31 { 0 } else { ticks }
}
