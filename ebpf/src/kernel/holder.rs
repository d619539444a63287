//! Whose a TCP socket is, and how soon it is read.
//!
//! A connection inherits from its listener, so one that lives between two looks has its process too. How long bytes lay
//! there when a process took them is the time since the connection's last packet with data: less than the first of them
//! waited where more came after them. It is counted in ticks of the kernel's clock, the only one that TCP stamps such
//! packets with; the host knows how long one is.
//! Cost: one storage look-up per receive of a target; on its TCP connections a checked read and the clock besides.

use super::{offset, peek, storage::InheritedStorage};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use core::ffi::c_void;

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
    _end: u32,
}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static HOLDERS: InheritedStorage<Holder> = InheritedStorage::new();

/// The process that has the socket, initial namespace; 0: not one that is watched.
///
/// # Safety
/// `sk` must be a pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn owner(sk: *mut c_void) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { HOLDERS.get(sk, false).map_or(0, |holder| holder.host_tgid) }
}

/// A process took bytes from a socket.
///
/// # Safety
/// `sk` must be a pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn took(sk: *mut c_void) {
    // SAFETY: the caller's promise. Only TCP sockets have a holder.
    unsafe {
        let Some(holder) = HOLDERS.get(sk, false) else { return };
        let last: u32 = peek(sk as u64 + offset!(icsk_lrcvtime) as u64);
        let delay = (bpf_jiffies64() as u32).wrapping_sub(last);
        // One that cannot be is of a connection whose data came before anything was stamped.
        let delay = if delay >= 1 << 31 { 0 } else { delay };
        holder.reads = holder.reads.wrapping_add(1);
        holder.delay = holder.delay.wrapping_add(delay as u64);
        if holder.slowest < delay {
            holder.slowest = delay;
        }
    }
}
