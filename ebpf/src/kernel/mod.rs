//! What the kernel programs share: offsets, the filter, counters, context, stacks, storage.
//!
//! Cost: an unwatched process pays one call of a helper and one look-up in an array per hooked event, nothing else.

pub mod context;
pub mod holder;
pub mod lifecycle;
pub mod origin;
pub mod python;
mod read;
pub mod stack;
pub mod stamps;
pub mod storage;
pub mod targets;

use crate::wire::{COUNTERS, Counter, Event, Offsets, SAMPLINGS, Slot, Target, TaskState};
use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_task_btf, bpf_get_prandom_u32},
    },
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use core::{ffi::c_void, ptr::read_volatile};

#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = {
    // Filled by the host when the object is loaded; these values are never used.
    // SAFETY: all fields are integers.
    unsafe { core::mem::zeroed() }
};

/// The kernel's number of the type that each of them is a member of; 0: it lets no program say so, or has no such member.
#[unsafe(no_mangle)]
pub static KINDS: Offsets = {
    // Filled by the host, likewise.
    // SAFETY: all fields are integers.
    unsafe { core::mem::zeroed() }
};

/// A tenth of a second in ticks of the kernel's clock.
#[unsafe(no_mangle)]
// Filled by the host, likewise.
pub static PAUSE: u32 = 0;

/// A kernel offset, as a constant that the verifier knows.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::constant(&$crate::kernel::OFFSETS.$field)
    };
}
pub(crate) use offset;
pub(crate) use read::field;
pub use read::{clear, file_of, load, member, peek};

/// `struct bpf_iter__task_file`.
#[repr(C)]
pub struct TaskFile {
    pub meta: *const c_void,
    pub task: *const c_void,
    pub fd: u32,
    pub file: *const c_void,
}

#[inline(always)]
pub fn constant(value: &'static u64) -> usize {
    // SAFETY: a reference is readable; volatile, or the compiler would fold the zero that is written here.
    unsafe { read_volatile(value) as usize }
}

/// The kernel has the member of this offset; one that it lacks has an offset that lies in no structure.
#[inline(always)]
pub fn is_there(offset: usize) -> bool {
    offset < 1 << 16
}

/// Delivered and lost, per [`Counter`].
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// One in this many events is looked at whole, a power of two; 0 and 1: all. The host raises it over the budget.
#[map]
static SAMPLING: Array<u32> = Array::with_max_entries(SAMPLINGS, 0);

/// Rare events.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(128 << 10, 0);

#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's own slot, and programs do not migrate.
        unsafe { *value += 1 }
    }
}

/// Whether this event is one of those that are looked at whole.
#[inline(always)]
pub fn sampled(slot: u32) -> bool {
    match SAMPLING.get(slot) {
        // SAFETY: no arguments, always valid. A mask, because a division brings its check for zero along.
        Some(divisor) if *divisor > 1 => (unsafe { bpf_get_prandom_u32() }) & (divisor - 1) == 0,
        _ => true,
    }
}

/// The divisor that the host has set.
#[inline(always)]
pub fn divisor(slot: u32) -> u32 {
    SAMPLING.get(slot).copied().unwrap_or(0)
}

#[inline(always)]
pub fn tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The current thread, of a process that is watched.
#[derive(Clone, Copy)]
pub struct Watched {
    pub task: *mut task_struct,
    pub tgid: u32,
    slot: *mut Slot,
}

impl Watched {
    #[inline(always)]
    pub fn target(&self) -> &'static Target {
        // SAFETY: an entry of the table of targets, which says what may happen to it.
        unsafe { &(*self.slot).target }
    }

    /// What is kept of the thread, if anything that is kept may be of use for what it makes.
    #[inline(always)]
    pub fn state(&self) -> Option<&'static mut TaskState> {
        // SAFETY: an entry of the table of targets, and the current task, which is trusted.
        unsafe {
            if (*self.slot).serves == 0 && !origin::publishes(&(*self.slot).target) {
                return None;
            }
            storage::TASKS.get(self.task, false)
        }
    }

    /// Its process serves connections.
    #[inline(always)]
    pub fn serves(&self) {
        // SAFETY: as above.
        unsafe { (*self.slot).serves = 1 }
    }

    /// Copies the thread's stack for what came in, one thing or two at once, if a token is left.
    #[inline(always)]
    pub fn copy_stack(&self, things: [u64; 2], made: u64) {
        stack::copy(self.tgid, self.slot, things, made);
    }
}

/// The current thread, if its process is watched. Its task is asked for first and its process read from that: whoever
/// goes on needs the task, and calls are what costs here.
#[inline(always)]
pub fn watched() -> Option<Watched> {
    let task = current();
    // SAFETY: the current task is trusted.
    let tgid: u32 = unsafe { load(task.cast(), offset!(task_tgid)) };
    Some(Watched { task, tgid, slot: targets::find(tgid)? })
}

#[inline(always)]
pub fn current() -> *mut task_struct {
    // SAFETY: no arguments, always valid.
    unsafe { bpf_get_current_task_btf() }
}

/// Puts an event on the ring, or counts its loss.
#[inline(always)]
pub fn emit(event: Event, lost: Counter) {
    match EVENTS.reserve::<Event>(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(0);
        }
        None => count(lost),
    }
}
