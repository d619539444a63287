//! Time in waits and between them, per thread, in task storage: epoll, poll, select and io_uring.
//!
//! Cost: at the entry the filter and the thread's storage; at the exit the storage alone, which a thread that
//! never waited as a target does not have.

use crate::{
    kernel::{TaskFile, Watched, count, field, is_there, load, offset, stack, storage::TASKS, watched},
    wire::{Counter, NO_INSTANCE, UnreadRecord},
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_user, generated::bpf_seq_write},
    macros::{perf_event, tracepoint},
    programs::{PerfEventContext, TracePointContext},
};
use core::{ffi::c_void, ptr::read_volatile};

/// Field of a `sys_enter_*` or `sys_exit_*` record: the call's number lies at 8, arguments (or `ret`) from 16 on.
///
/// # Safety
/// The record is as long as that: the kernel refuses to attach the program where it is not.
#[inline(always)]
unsafe fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { read_volatile(ctx.as_ptr().cast::<u8>().add(offset).cast()) }
}

/// poll, select, pselect6, ppoll.
#[inline(always)]
fn polls(call: u32) -> bool {
    matches!(call, 7 | 23 | 270 | 271)
}

/// A wait begins: on which instance, for at most how many events, for how many descriptors.
#[inline(always)]
fn begin(thread: Watched, call: u32, instance: u64, batch: u32, width: u32) {
    // SAFETY: the thread's task is trusted.
    unsafe {
        let Some(task) = TASKS.get(thread.task, true) else { return count(Counter::WaitsLost) };
        // A loop on epoll or io_uring that polls in between waits for one answer and neglects its loop.
        if polls(call) && task.waits != 0 && !polls(task.call) {
            return;
        }
        let now = bpf_ktime_get_ns();
        if task.epoll != instance || task.call != call {
            task.epoll = instance;
            task.call = call;
            task.switches += 1;
        }
        task.batch = batch;
        if task.width < width {
            task.width = width;
        }
        if task.wait_ended != 0 {
            task.busy_ns += now - task.wait_ended;
        }
        task.wait_since = now;
    }
}

/// At the entry of epoll_wait, epoll_pwait and epoll_pwait2.
#[tracepoint]
pub fn epoll_entered(ctx: TracePointContext) -> u32 {
    if let Some(thread) = watched() {
        // SAFETY: number, descriptor and most events of these calls.
        unsafe { begin(thread, field(&ctx, 8), field::<u32>(&ctx, 16) as u64, field(&ctx, 32), 0) }
    }
    0
}

/// At the entry of poll and ppoll.
#[tracepoint]
pub fn poll_entered(ctx: TracePointContext) -> u32 {
    if let Some(thread) = watched() {
        // SAFETY: number and count of descriptors of these calls.
        unsafe { begin(thread, field(&ctx, 8), NO_INSTANCE, 0, field(&ctx, 24)) }
    }
    0
}

/// At the entry of select and pselect6: the descriptors to be read are counted, at most as many as the C library's
/// sets hold.
#[tracepoint]
pub fn select_entered(ctx: TracePointContext) -> u32 {
    let Some(thread) = watched() else { return 0 };
    // SAFETY: number, highest descriptor and first set; the helper checks the user address.
    unsafe {
        let highest: u64 = field(&ctx, 16);
        let set: u64 = field(&ctx, 24);
        let mut width = 0;
        if highest != 0 && set != 0 {
            let words: [u64; 16] = bpf_probe_read_user(set as *const [u64; 16]).unwrap_or([0; 16]);
            for (index, word) in words.iter().enumerate() {
                if (index as u64) * 64 < highest {
                    width += ones(*word);
                }
            }
        }
        begin(thread, field(&ctx, 8), NO_INSTANCE, 0, width);
    }
    0
}

/// Bits that are set; the instruction set has none for it, and the library's own calls another function.
#[inline(always)]
fn ones(word: u64) -> u32 {
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let bytes = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// `IORING_ENTER_GETEVENTS`: wait for completions, not only hand work in.
const GET_EVENTS: u32 = 1;
/// `IORING_ENTER_REGISTERED_RING`: the first argument is no descriptor.
const REGISTERED: u32 = 1 << 4;

/// At the entry of io_uring_enter.
#[tracepoint]
pub fn ring_entered(ctx: TracePointContext) -> u32 {
    let Some(thread) = watched() else { return 0 };
    // SAFETY: number, descriptor, completions wanted and flags of this call.
    unsafe {
        let (wanted, flags): (u32, u32) = (field(&ctx, 32), field(&ctx, 40));
        if wanted != 0 && flags & GET_EVENTS != 0 {
            let ring = if flags & REGISTERED != 0 { NO_INSTANCE } else { field::<u32>(&ctx, 16) as u64 };
            begin(thread, field(&ctx, 8), ring, 0, 0);
        }
    }
    0
}

/// At the exit of all of them.
#[tracepoint]
pub fn wait_left(ctx: TracePointContext) -> u32 {
    let Some(Watched { task: current, .. }) = watched() else { return 0 };
    // SAFETY: the current task is trusted.
    unsafe {
        let Some(task) = TASKS.get(current, false) else { return 0 };
        if task.wait_since == 0 {
            return 0;
        }
        let returned: i64 = field(&ctx, 16);
        let now = bpf_ktime_get_ns();
        task.wait_ns += now - task.wait_since;
        task.waits += 1;
        task.wait_since = 0;
        task.wait_ended = now;
        if returned > 0 {
            task.events += returned as u64;
            if returned as u64 == task.batch as u64 {
                task.full += 1;
            }
        }
        task.runtime = load(current.cast(), offset!(task_runtime));
        let delay = offset!(task_run_delay);
        task.delay = if is_there(delay) { load(current.cast(), delay) } else { 0 };
    }
    count(Counter::Waits);
    0
}

/// On a clock of one thread's CPU time, while the host asks where it computes.
#[perf_event]
pub fn loop_sampled(_ctx: PerfEventContext) -> u32 {
    let ids = bpf_get_current_pid_tgid();
    stack::copy_thread((ids >> 32) as u32, ids as u32);
    0
}

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The sockets of one process in which somebody waits for it (the host passes its pid when it opens the iterator).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn unread_list(ctx: *const TaskFile) -> i32 {
    // SAFETY: the context and what it points to are trusted; null marks the end.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        let file = read_volatile(&raw const (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        let inode: *const c_void = load(file, offset!(file_f_inode));
        if load::<u16>(inode, offset!(inode_i_mode)) & S_IFMT != S_IFSOCK {
            return 0;
        }
        let socket: u64 = load(file, offset!(file_private_data));
        let sk: u64 = field!(socket, socket_sk);
        let packets: u32 = field!(sk, sk_unread);
        let backlog: u32 = field!(sk, sk_backlog);
        let record = UnreadRecord { file: file as u64, waiting: packets as u64 + backlog as u64 };
        if record.waiting != 0 {
            let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
            bpf_seq_write(seq.cast(), (&raw const record).cast(), size_of::<UnreadRecord>() as u32);
        }
    }
    0
}
