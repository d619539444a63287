//! Waits of event loops: time in them and between them, per thread, in task storage.

use crate::{
    kernel::{count, current, storage::TASKS, target},
    wire::Counter,
};
use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns, macros::tracepoint, programs::TracePointContext};
use core::ptr::read_volatile;

/// At the entry of epoll_wait, epoll_pwait and epoll_pwait2.
#[tracepoint]
pub fn epoll_entered(ctx: TracePointContext) -> u32 {
    if target().is_none() {
        return 0;
    }
    // SAFETY: the first argument lies at this offset; the current task is trusted.
    unsafe {
        let Some(task) = TASKS.get(current(), true) else {
            count(Counter::WaitsLost);
            return 0;
        };
        let now = bpf_ktime_get_ns();
        task.epoll = read_volatile(ctx.as_ptr().cast::<u8>().add(16).cast());
        if task.wait_ended != 0 {
            task.busy_ns += now - task.wait_ended;
        }
        task.wait_since = now;
    }
    0
}

/// At their exit.
#[tracepoint]
pub fn epoll_left(_ctx: TracePointContext) -> u32 {
    if target().is_none() {
        return 0;
    }
    // SAFETY: the current task is trusted.
    unsafe {
        let Some(task) = TASKS.get(current(), false) else { return 0 };
        if task.wait_since == 0 {
            return 0;
        }
        let now = bpf_ktime_get_ns();
        task.wait_ns += now - task.wait_since;
        task.waits += 1;
        task.wait_since = 0;
        task.wait_ended = now;
    }
    count(Counter::Waits);
    0
}
