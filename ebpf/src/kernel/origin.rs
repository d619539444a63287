//! Where threads come from: noted when a watched process makes one, in the creator's own context.
//!
//! A thread's work is its creator's until it publishes a context itself. For how long that holds, the host decides: here
//! nobody knows when a request has ended.
//! Cost: task storage and, while tokens last, a copy of the creator's stack, for each new thread of a target.
//! The hook itself (`sched_process_fork`) is there anyway, for following children. One look-up for each file of a process
//! that publishes contexts, nothing for those of others.

use super::{context, load, offset, stack, storage::TaskStorage};
use crate::wire::{Context, Counter, JOIN_CREATOR, JOIN_NONE, JOIN_OBSERVER, JOIN_THREAD, Slot, Target, TaskOrigin};
use aya_ebpf::{bindings::task_struct, helpers::bpf_ktime_get_ns};
use core::ffi::c_void;

/// How each thread came about.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static TASK_ORIGINS: TaskStorage<TaskOrigin> = TaskStorage::new();

/// The current thread's context; where it has never had one, that of its creator.
///
/// # Safety
/// `task` must be the current one.
#[inline(always)]
pub unsafe fn of_current(task: *mut task_struct, target: &Target) -> (Context, u32) {
    let (found, join) = context::of_current(target);
    if target.place.is_none() && target.observer == 0 {
        return (found, join);
    }
    // SAFETY: the current task is trusted.
    let Some(origin) = (unsafe { TASK_ORIGINS.get(task, false) }) else { return (found, join) };
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

/// When the thread was made, if it was watched then; else 0.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
pub unsafe fn made(task: *mut task_struct) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { TASK_ORIGINS.get(task, false).map_or(0, |origin| origin.made) }
}

/// The current thread has made another one of its process.
///
/// # Safety
/// `child` must be trusted by the verifier, and `creator` an entry of the table of targets.
#[inline(always)]
pub unsafe fn thread_made(child: *mut task_struct, host_tgid: u32, creator: *mut Slot) {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(origin) = TASK_ORIGINS.get(child, true) else { return super::count(Counter::ThreadsLost) };
        let (found, join) = of_current(super::current(), &(*creator).target);
        let made = bpf_ktime_get_ns();
        *origin = TaskOrigin { made, context: found, join, published: 0 };
        super::count(Counter::Threads);
        // A thread's number is far below any kernel address: the two kinds of keys cannot meet.
        let tid: u32 = load(child as *const c_void, offset!(task_pid));
        stack::copy(host_tgid, creator, tid as u64, made);
    }
}
