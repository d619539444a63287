//! Watched processes fork, execute and end: the table of targets follows.
//!
//! A child is watched from its first instruction. It inherits the trace in which it was forked, until it
//! ends. Where a new thread was made and for whom is noted (`origin`): what it makes counts for that request for as long
//! as that runs, because pool threads outlive the request that made them.

use super::{context, count, emit, load, offset, origin, targets, tgid};
use crate::wire::{Counter, EVENT_EXEC, EVENT_EXIT, EVENT_FORK, Event, LEVELS, Slot, Target};
use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext};
use core::ffi::c_void;

/// The ids of a process in each pid namespace that it is in, outermost first.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
pub unsafe fn numbers(task: *const c_void) -> (u32, [u32; LEVELS]) {
    // SAFETY: loads through typed pointers; the array's end is checked by the level.
    unsafe {
        let pid: *const c_void = load(task, offset!(task_thread_pid));
        let level: u32 = load(pid, offset!(pid_level));
        let mut numbers = [0; LEVELS];
        for (depth, number) in numbers.iter_mut().enumerate() {
            if depth as u32 <= level {
                // sizeof(struct upid) is 16: the number, then the namespace.
                *number = super::peek(pid as u64 + offset!(pid_numbers) as u64 + 16 * depth as u64);
            }
        }
        (level, numbers)
    }
}

#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_forked(ctx: BtfTracePointContext) -> i32 {
    let parent = tgid();
    // SAFETY: the arguments of this tracepoint are trusted tasks.
    unsafe {
        let Some(slot) = targets::find(parent) else { return 0 };
        let child: *const c_void = ctx.arg(1);
        let host: u32 = load(child, offset!(task_tgid));
        if host == parent {
            origin::thread_made(child as *mut _, parent, slot);
            return 0;
        }
        let (context, _) = context::of_current(&(*slot).target);
        // The same image: its threads publish where the parent's do. Its stacks are copied at once, before the host
        // knows it.
        let target = Target { inherited: context.trace, ..(*slot).target };
        if !targets::insert(host, Slot { target, ..*slot }) {
            count(Counter::LifecycleLost);
            return 0;
        }
        let (_, numbers) = numbers(child);
        let at = bpf_ktime_get_ns();
        let event = Event { kind: EVENT_FORK, host_tgid: parent, at, child: host, numbers, ..Event::default() };
        emit(event, Counter::LifecycleLost);
    }
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_executed(_ctx: BtfTracePointContext) -> i32 {
    let host = tgid();
    // SAFETY: an entry of the table.
    unsafe {
        let Some(slot) = targets::find(host) else { return 0 };
        // Another image: where it publishes is not known until the host has looked.
        (*slot).target.place = Default::default();
        let event = Event { kind: EVENT_EXEC, host_tgid: host, at: bpf_ktime_get_ns(), ..Event::default() };
        emit(event, Counter::LifecycleLost);
    }
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exited(ctx: BtfTracePointContext) -> i32 {
    let host = tgid();
    // SAFETY: the argument is the exiting, trusted task.
    unsafe {
        if targets::find(host).is_none() {
            return 0;
        }
        let task: *const c_void = ctx.arg(0);
        let signal: *const c_void = load(task, offset!(task_signal));
        if load::<i32>(signal, offset!(signal_live)) != 0 {
            return 0;
        }
        targets::remove(host);
        let event = Event { kind: EVENT_EXIT, host_tgid: host, at: bpf_ktime_get_ns(), ..Event::default() };
        emit(event, Counter::LifecycleLost);
    }
    0
}
