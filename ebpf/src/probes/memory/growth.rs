//! Pages that a watched process gets, counted where the kernel counts them itself, and sampled with the
//! stack that asked; and whom the out-of-memory killer chose.
//!
//! `rss_stat` and not the fault tracepoint: it tells the kind, also fires for pages that a system call
//! touches first, and costs less. Sampling points double their distance within a period of the host, so
//! that a burst of n pages takes log2(n) stacks, each standing for the pages since the point before it.
//! No fingerprint: two callers may share address and depth, and at so few stacks a copy is cheaper than
//! a wrong name.

use super::memory::resident;
use crate::{
    kernel::{context, count, current, emit, load, offset, stack, targets, tgid},
    wire::{Counter, EVENT_OOM, Event, GrowthRecord, PAGES_ANON, PAGES_SHMEM, PageAllowance, PageCount},
};
use aya_ebpf::{
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::{HashMap, PerCpuHashMap, RingBuf},
    programs::BtfTracePointContext,
};
use core::ffi::c_void;

/// Watched processes, entered by the host: an unwatched one pays for this look-up.
#[map]
static PAGE_COUNTS: PerCpuHashMap<u32, PageCount> = PerCpuHashMap::with_max_entries(256, 0);

/// What the host allows them.
#[map]
static PAGE_ALLOWANCES: HashMap<u32, PageAllowance> = HashMap::with_max_entries(256, 0);

/// Sampled stacks. A ring of its own: a burst of pages must not cost the stacks of files.
#[map]
static GROWTHS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Not worth waking the agent for: it looks by itself five times a second.
const BPF_RB_NO_WAKEUP: u64 = 1;
const MM_ANONPAGES: i32 = 1;
const MM_SHMEMPAGES: i32 = 3;
/// Pages of a huge page; smaller jumps are the counter's own batches.
const HUGE: u64 = 512;
/// Points are never further apart than this.
const FURTHEST: u32 = 1 << 20;

/// In these calls pages go, not come: execve, exit, munmap, brk, mremap, madvise, exit_group, execveat,
/// process_madvise (x86-64).
#[inline(always)]
fn gives_back(call: i64) -> bool {
    matches!(call, 11 | 12 | 25 | 28 | 59 | 60 | 231 | 322 | 440)
}

#[btf_tracepoint(function = "rss_stat")]
pub fn pages_counted(ctx: BtfTracePointContext) -> i32 {
    let member: i32 = ctx.arg(1);
    if member != MM_ANONPAGES && member != MM_SHMEMPAGES {
        return 0;
    }
    let host = tgid();
    let Some(own) = PAGE_COUNTS.get_ptr_mut(host) else { return 0 };
    let Some(shared) = PAGE_ALLOWANCES.get_ptr_mut(host) else { return 0 };
    // SAFETY: the entries are this large. The counts are this CPU's own; a lost update of what is shared
    // costs a stack, or a huge page that counts as one.
    unsafe {
        let mm: *const c_void = ctx.arg(0);
        // Pages of another process, as in fork.
        if load::<u64>(current().cast(), offset!(task_mm)) != mm as u64 {
            return 0;
        }
        if gives_back(load(stack::registers(), offset!(regs_orig_ax))) {
            return 0;
        }
        let (kind, now) = if member == MM_ANONPAGES {
            (PAGES_ANON, resident(mm as u64, offset!(mm_rss_anon)))
        } else {
            (PAGES_SHMEM, resident(mm as u64, offset!(mm_rss_shmem)))
        };
        let before = (*shared).resident[kind];
        (*shared).resident[kind] = now;
        let pages = if before != 0 && now >= before + HUGE { now - before } else { 1 };
        (*own).pages[kind] += pages;
        if (*own).period != (*shared).period {
            // What came after the last point of the old period stays without a place: it may be another's.
            (*own).period = (*shared).period;
            (*own).since = [0; 2];
            ((*own).every, (*own).left) = (1, 1);
        }
        (*own).since[kind] += pages;
        if (*own).left > 1 {
            (*own).left -= 1;
            return 0;
        }
        let every = (*own).every;
        (*own).every = if every < FURTHEST { every * 2 } else { every };
        // Not in step with a loop of the program. The distance is a power of two; a division would bring a panic.
        (*own).left = every + (bpf_get_prandom_u32() & every.wrapping_sub(1));
        let stands_for = (*own).since[kind];
        (*own).since[kind] = 0;
        if (*shared).tokens == 0 {
            return 0;
        }
        (*shared).tokens -= 1;
        let Some(target) = targets::get(host) else { return 0 };
        let Some(mut entry) = GROWTHS.reserve::<GrowthRecord>(0) else {
            count(Counter::GrowthsLost);
            return 0;
        };
        let (context, join) = context::of_current(target);
        let record = entry.as_mut_ptr();
        (&raw mut (*record).pages).write(stands_for);
        (&raw mut (*record).kind).write(kind as u32);
        (&raw mut (*record).join).write(join);
        (&raw mut (*record).context).write(context);
        stack::fill(&raw mut (*record).stack, host, [0; 2], 0);
        entry.submit(BPF_RB_NO_WAKEUP);
    }
    count(Counter::Growths);
    0
}

#[inline(always)]
fn chosen(process: u32, thread: u32) {
    // SAFETY: always allowed.
    let at = unsafe { bpf_ktime_get_ns() };
    count(Counter::OomKills);
    let event = Event { kind: EVENT_OOM, host_tgid: process, at, child: thread, ..Event::default() };
    emit(event, Counter::OomKillsLost);
}

/// Since Linux 6.8 or so the tracepoint passes the task.
#[btf_tracepoint(function = "mark_victim")]
pub fn oom_chose_task(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the task is a trusted argument.
    unsafe {
        let task: *const c_void = ctx.arg(0);
        chosen(load(task, offset!(task_tgid)), load(task, offset!(task_pid)));
    }
    0
}

/// Before that, the id of a thread: mostly the first one, whose id is the process's.
#[btf_tracepoint(function = "mark_victim")]
pub fn oom_chose_pid(ctx: BtfTracePointContext) -> i32 {
    let pid: i32 = ctx.arg(0);
    chosen(0, pid as u32);
    0
}
