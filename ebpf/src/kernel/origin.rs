//! Where threads come from: noted when a watched process makes one, in the creator's own context.
//!
//! A thread's work is its creator's until it publishes a context itself. For how long that holds, the host decides: here
//! nobody knows when a request has ended.
//! Cost: task storage and, while tokens last, a copy of the creator's stack, for each new thread of a target.
//! The hook itself (`sched_process_fork`) is there anyway, for following children.

use super::{context, load, offset, stack, storage::TASKS};
use crate::wire::{
    Context, Counter, JOIN_CREATOR, JOIN_NONE, JOIN_OBSERVER, JOIN_THREAD, Slot, Target, TaskOrigin, TaskState,
};
use aya_ebpf::{bindings::task_struct, helpers::bpf_ktime_get_ns};
use core::ffi::c_void;

/// Whether what its threads publish, or another observer knows of them, is known for any thread of a process.
#[inline(always)]
pub fn publishes(target: &Target) -> bool {
    !target.place.is_none() || target.observer != 0
}

/// The current thread's context; where it has never had one, that of its creator. `state` is what is kept of it.
#[inline(always)]
pub fn of_current(state: Option<&mut TaskState>, target: &Target) -> (Context, u32) {
    let (found, join) = context::of_current(target);
    let Some(state) = state.filter(|state| state.origin.made != 0 && publishes(target)) else { return (found, join) };
    let origin = &mut state.origin;
    if join == JOIN_THREAD || join == JOIN_OBSERVER {
        origin.published = 1;
        return (found, join);
    }
    let lent = origin.join == JOIN_THREAD || origin.join == JOIN_OBSERVER || origin.join == JOIN_CREATOR;
    if join != JOIN_NONE || origin.published != 0 || !lent {
        return (found, join);
    }
    if context::has_published(target) {
        origin.published = 1;
        return (found, join);
    }
    (origin.context, JOIN_CREATOR)
}

/// The current thread has made another one of its process.
///
/// # Safety
/// `child` must be trusted by the verifier, and `creator` an entry of the table of targets.
#[inline(always)]
pub unsafe fn thread_made(child: *mut task_struct, host_tgid: u32, creator: *mut Slot) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(state) = TASKS.get(child, true) else { return super::count(Counter::ThreadsLost) };
        let (found, join) = of_current(TASKS.get(super::current(), false), &(*creator).target);
        let made = bpf_ktime_get_ns();
        state.origin = TaskOrigin { made, context: found, join, published: 0 };
        super::count(Counter::Threads);
        // A thread's number is far below any kernel address: the two kinds of keys cannot meet.
        let tid: u32 = load(child as *const c_void, offset!(task_pid));
        stack::copy(host_tgid, creator, [tid as u64, 0], made);
    }
}
