//! Copies of user stacks, for unwinding on the host: frame pointers are mostly missing in user space.
//!
//! Cost: four pages a copy, the dearest thing here, so a token bucket per process (filled by the host) bounds them.
//! Whole pages are read: each read has a constant size, and the first unmapped page is the stack's end.

use super::{count, current, load, offset};
use crate::wire::{Counter, PAGE, Registers, STACK_PAGES, StackRecord};
use aya_ebpf::{
    helpers::generated::{bpf_probe_read_user, bpf_task_pt_regs},
    macros::map,
    maps::{HashMap, RingBuf},
};
use core::ffi::c_void;

/// Stacks that may still be copied, per process; the host fills it up.
#[map]
static STACK_TOKENS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// Copied stacks.
#[map]
static STACKS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

/// The user registers of the current thread at its entry into the kernel.
#[inline(always)]
pub fn registers() -> *const c_void {
    // SAFETY: the current task is trusted.
    unsafe { bpf_task_pt_regs(current()) as *const c_void }
}

/// A child may have its stacks copied at once, before the host knows it.
#[inline(always)]
pub fn share(parent: u32, child: u32) {
    // SAFETY: plain map access; a full table only means that the child has none until the host gives it some.
    unsafe {
        if let Some(tokens) = STACK_TOKENS.get(parent)
            && STACK_TOKENS.insert(child, *tokens, 0).is_err()
        {
            count(Counter::StacksLost);
        }
    }
}

/// Copies the current thread's stack for a file that came in, if a token is left.
#[inline(always)]
pub fn copy(host_tgid: u32, file: u64, made: u64) {
    let Some(tokens) = STACK_TOKENS.get_ptr_mut(host_tgid) else { return };
    // SAFETY: the entry is a u32; a lost update costs a token.
    unsafe {
        if *tokens == 0 {
            return;
        }
        *tokens -= 1;
    }
    push(host_tgid, file, made, Counter::Stacks, Counter::StacksLost);
}

/// Copies the current thread's stack because the host samples this very thread.
#[inline(always)]
pub fn copy_thread(host_tgid: u32, host_tid: u32) {
    push(host_tgid, 0, host_tid as u64, Counter::HotStacks, Counter::HotStacksLost);
}

#[inline(always)]
fn push(host_tgid: u32, file: u64, made: u64, taken: Counter, lost: Counter) {
    let Some(mut entry) = STACKS.reserve::<StackRecord>(0) else { return count(lost) };
    // SAFETY: the entry is as large as the record.
    unsafe { fill(entry.as_mut_ptr(), host_tgid, file, made) };
    entry.submit(0);
    count(taken);
}

/// Fills a record with the current thread's registers and stack.
///
/// # Safety
/// `record` must lie in a ring entry that is large enough for it.
#[inline(always)]
pub unsafe fn fill(record: *mut StackRecord, host_tgid: u32, file: u64, made: u64) {
    // SAFETY: the caller's promise; every field is written, except pages that could not be read, which
    // `pages` excludes.
    unsafe {
        let regs = registers();
        let registers = Registers {
            ip: load(regs, offset!(regs_ip)),
            sp: load(regs, offset!(regs_sp)),
            bp: load(regs, offset!(regs_bp)),
        };
        let base = registers.sp & !(PAGE as u64 - 1);
        let mut pages = 0;
        for index in 0..STACK_PAGES {
            let page = (&raw mut (*record).stack[index]).cast::<c_void>();
            let from = (base + (PAGE * index) as u64) as *const c_void;
            if bpf_probe_read_user(page, PAGE as u32, from) != 0 {
                break;
            }
            pages += 1;
        }
        (&raw mut (*record).host_tgid).write(host_tgid);
        (&raw mut (*record).pages).write(pages);
        (&raw mut (*record).file).write(file);
        (&raw mut (*record).made).write(made);
        (&raw mut (*record).registers).write(registers);
    }
}
