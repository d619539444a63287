//! Where threads come from: noted when a watched process makes one, in the creator's own context.
//!
//! Cost: task storage and, while tokens last, a copy of the creator's stack, for each new thread of a target.
//! The hook itself (`sched_process_fork`) is there anyway, for following children.

use super::{context, load, offset, stack, storage::TaskStorage};
use crate::wire::{Counter, Slot, TaskOrigin};
use aya_ebpf::{bindings::task_struct, helpers::bpf_ktime_get_ns};
use core::ffi::c_void;

/// How each thread came about.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static TASK_ORIGINS: TaskStorage<TaskOrigin> = TaskStorage::new();

/// The current thread has made another one of its process.
///
/// # Safety
/// `child` must be trusted by the verifier, and `creator` an entry of the table of targets.
#[inline(always)]
pub unsafe fn thread_made(child: *mut task_struct, host_tgid: u32, creator: *mut Slot) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(origin) = TASK_ORIGINS.get(child, true) else { return super::count(Counter::ThreadsLost) };
        let (found, join) = context::of_current(&(*creator).target);
        let made = bpf_ktime_get_ns();
        *origin = TaskOrigin { made, context: found, join, _end: 0 };
        super::count(Counter::Threads);
        // A thread's number is far below any kernel address: the two kinds of keys cannot meet.
        let tid: u32 = load(child as *const c_void, offset!(task_pid));
        stack::copy(host_tgid, creator, tid as u64, made);
    }
}
