//! Copies of user stacks, for unwinding on the host: frame pointers are mostly missing in user space.
//!
//! Cost: the stack's bytes, at most four pages, the dearest thing here, so a token bucket per process (filled by the
//! host) bounds them. A copy ends where the stack does; page by page, because the first that is not mapped is an end too.

use super::{count, current, load, offset, python};
use crate::wire::{Counter, PAGE, RED_ZONE, Registers, STACK_PAGES, Slot, StackRecord};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_probe_read_user, bpf_task_pt_regs},
    macros::map,
    maps::RingBuf,
};
use core::{cmp::min, ffi::c_void, ptr::read_volatile};

/// Copied stacks.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(RING, 0);

const RING: u32 = 2 << 20;
/// The host comes ten times a second. To wake it costs more than a copy, so that is done only by the copy with which the
/// ring gets this full.
const MUCH: u64 = RING as u64 / 4;
/// A copy in the ring, with the ring's own word before it.
const ENTRY: u64 = size_of::<StackRecord>() as u64 + 8;

/// The user registers of the current thread at its entry into the kernel.
#[inline(always)]
pub fn registers() -> *const c_void {
    // SAFETY: the current task is trusted.
    unsafe { bpf_task_pt_regs(current()) as *const c_void }
}

/// Copies the current thread's stack for what came in, one thing or two at once, if a token is left.
#[inline(always)]
pub fn copy(host_tgid: u32, slot: *mut Slot, things: [u64; 2], made: u64) {
    // SAFETY: an entry of the table of targets; a lost update costs a token.
    unsafe {
        let tokens = &raw mut (*slot).tokens;
        if *tokens == 0 {
            return;
        }
        *tokens -= 1;
    }
    push(host_tgid, things, made, Counter::Stacks, Counter::StacksLost);
}

/// Copies the current thread's stack because the host samples this very thread.
#[inline(always)]
pub fn copy_thread(host_tgid: u32, host_tid: u32) {
    push(host_tgid, [0; 2], host_tid as u64, Counter::HotStacks, Counter::HotStacksLost);
}

#[inline(always)]
fn push(host_tgid: u32, things: [u64; 2], made: u64, taken: Counter, lost: Counter) {
    let Some(mut entry) = STACKS.reserve::<StackRecord>(0) else { return count(lost) };
    // SAFETY: the entry is as large as the record.
    unsafe { fill(entry.as_mut_ptr(), host_tgid, things, made) };
    let above = STACKS.query(BPF_RB_AVAIL_DATA as u64).wrapping_sub(MUCH);
    let wakes = above < ENTRY;
    entry.submit(if wakes { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP } as u64);
    count(taken);
}

const IN_PAGE: u64 = PAGE as u64 - 1;

/// Where the current thread's stack ends, or `most` if that comes first. The first thread's lies below the arguments, and
/// the C libraries put a thread's own block, to which `fsbase` points, above its stack; no stack goes on over either.
/// One that lies elsewhere (Go, coroutines) is copied up to `most`.
#[inline(always)]
unsafe fn end(sp: u64, most: u64) -> u64 {
    // SAFETY: the current task is trusted, and so is what it leads to.
    unsafe {
        let task: *const c_void = current().cast();
        let first: u64 = load(load(task, offset!(task_mm)), offset!(mm_start_stack));
        let own: u64 = load(task, offset!(task_fsbase));
        let within = |end: u64| if end > sp { end } else { most };
        min(most, min(within(first), within(own)))
    }
}

/// Fills a record with the current thread's registers and stack.
///
/// # Safety
/// `record` must lie in a ring entry that is large enough for it.
#[inline(always)]
pub unsafe fn fill(record: *mut StackRecord, host_tgid: u32, [thing, pair]: [u64; 2], made: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        (&raw mut (*record).host_tgid).write(host_tgid);
        (&raw mut (*record).file).write(thing);
        (&raw mut (*record).pair).write(pair);
        (&raw mut (*record).made).write(made);
    }
    stack_copied(record);
    python::python_followed(record, host_tgid);
}

/// Registers and pages. A global function, which the verifier follows once: what is part of a program it follows
/// anew from every way on which that comes here, and gives up after a million steps. Such a one takes numbers and memory, and
/// returns a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stack_copied(record: *mut StackRecord) -> u32 {
    if record.is_null() {
        return 0;
    }
    // SAFETY: memory of that size, the verifier sees to it; what `bytes` excludes and what lies below stays unwritten.
    unsafe {
        let regs = registers();
        let registers = Registers {
            ip: load(regs, offset!(regs_ip)),
            sp: load(regs, offset!(regs_sp)),
            bp: load(regs, offset!(regs_bp)),
        };
        let mut page = registers.sp & !IN_PAGE;
        let end = end(registers.sp, page + (STACK_PAGES * PAGE) as u64);
        let mut from = registers.sp.saturating_sub(RED_ZONE).max(page);
        let mut bytes = 0;
        for index in 0..STACK_PAGES {
            let length = min(page + PAGE as u64, end) - from;
            if length == 0 || length > PAGE as u64 {
                break;
            }
            // Volatile, or the compiler proves the mask needless and drops it, and older verifiers cannot follow.
            let last = length - 1;
            let size = (read_volatile(&raw const last) as u32 & IN_PAGE as u32) + 1;
            let to = (&raw mut (*record).stack[index]).cast::<u8>();
            let to = if index == 0 { to.add((from & IN_PAGE) as usize) } else { to };
            if bpf_probe_read_user(to.cast(), size, from as *const c_void) != 0 {
                break;
            }
            bytes = (from + length - (registers.sp & !IN_PAGE)) as u32;
            page += PAGE as u64;
            from = page;
            if from >= end {
                break;
            }
        }
        (&raw mut (*record).bytes).write(bytes);
        (&raw mut (*record).registers).write(registers);
    }
    0
}
