//! The threads of a process, read when asked: what each does, what it works for, what the process holds
//! in memory. No hook, so nothing is paid between looks.

use crate::{
    kernel::{context, field, file_of, is_there, lifecycle, load, offset, peek, python, storage::TASKS, targets},
    wire::{NO_INSTANCE, PAGE, Registers, STACK_PAGES, StackRecord, TaskState, ThreadRecord},
};
use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{bpf_copy_from_user_task, bpf_seq_write, bpf_task_pt_regs},
    macros::map,
    maps::{Array, PerCpuArray},
};
use core::{ffi::c_void, ptr::read_volatile};

/// `struct bpf_iter__task`.
#[repr(C)]
pub struct Task {
    meta: *const c_void,
    task: *mut task_struct,
}

/// Room for a record, which is too large for the 512 bytes of a program's stack.
#[map]
static THREAD: PerCpuArray<ThreadRecord> = PerCpuArray::with_max_entries(1, 0);

/// Room for a stack; only the host's one thread looks.
#[map]
static LOOK: Array<StackRecord> = Array::with_max_entries(1, 0);

/// Resident pages of one kind: the central part of the counter, which lags by at most 64 pages a CPU. Read with a
/// check, because older verifiers follow no typed pointer into an array.
#[inline(always)]
pub fn resident(mm: u64, counter: usize) -> u64 {
    peek::<i64>(mm + counter as u64).max(0) as u64
}

/// `io_uring_enter`; the other calls that name an instance are epoll's.
const IO_URING_ENTER: u32 = 426;

/// Whether the instance that a thread waited on last has events that nobody has fetched, and which it is.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
unsafe fn waiting(task: *const c_void, state: &TaskState) -> (u64, u64) {
    if state.epoll == NO_INSTANCE {
        return (0, 0);
    }
    // SAFETY: the caller's promise.
    let file = unsafe { file_of(task, state.epoll as u32) };
    let instance: u64 = field!(file, file_private_data);
    if instance == 0 {
        return (0, 0);
    }
    if state.call == IO_URING_ENTER {
        if !(is_there(offset!(ring_rings)) && is_there(offset!(rings_cq_head))) {
            return (0, instance);
        }
        let rings: u64 = field!(instance, ring_rings);
        let (fetched, added): (u32, u32) = (field!(rings, rings_cq_head), field!(rings, rings_cq_tail));
        return ((fetched != added) as u64, instance);
    }
    let list = instance + offset!(ep_rdllist) as u64;
    let first: u64 = field!(list, list_next);
    ((first != 0 && first != list) as u64, instance)
}

/// Every thread of one process (the host passes its pid when it opens the iterator).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn thread_list(ctx: *const Task) -> i32 {
    // SAFETY: the context and the task are trusted; null marks the end.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        if task.is_null() {
            return 0;
        }
        let Some(record) = THREAD.get_ptr_mut(0) else { return 0 };
        let record = &mut *record;
        let base: *const c_void = task.cast();
        record.host = [load(base, offset!(task_pid)), load(base, offset!(task_tgid))];
        (record.level, record.numbers) = lifecycle::numbers(base);
        (_, record.leader) = lifecycle::numbers(load(base, offset!(task_group_leader)));
        record.state = load(base, offset!(task_state));
        // An int before 7.2, a byte since: the lowest byte is right in both.
        record.on_cpu = load::<u8>(base, offset!(task_on_cpu)) as u32;
        record.comm = load(base, offset!(task_comm));
        record.started = load(base, offset!(task_start_time));
        record.runtime = load(base, offset!(task_runtime));
        let delay = offset!(task_run_delay);
        record.delay = if is_there(delay) { load(base, delay) } else { 0 };
        record.sleeps = load(base, offset!(task_nvcsw));
        record.major_faults = load(base, offset!(task_maj_flt));
        let signal: *const c_void = load(base, offset!(task_signal));
        record.threads = load(signal, offset!(signal_nr_threads));
        let mm: u64 = load(base, offset!(task_mm));
        record.rss = [0; 4];
        if mm != 0 {
            record.rss = [
                resident(mm, offset!(mm_rss_file)),
                resident(mm, offset!(mm_rss_anon)),
                resident(mm, offset!(mm_rss_swap)),
                resident(mm, offset!(mm_rss_shmem)),
            ];
        }
        let regs = bpf_task_pt_regs(task) as *const c_void;
        record.syscall = load(regs, offset!(regs_orig_ax));
        record.arguments = [load(regs, offset!(regs_di)), load(regs, offset!(regs_si))];
        record.task = Default::default();
        record.context = Default::default();
        (record.ready, record.instance) = (0, 0);
        if let Some(state) = TASKS.get(task, false) {
            record.task = *state;
            // Only threads of event loops are asked what they work for: each answer is two user reads.
            if state.waits != 0 {
                (record.ready, record.instance) = waiting(base, state);
            }
            if state.waits != 0
                && let Some(target) = targets::get(record.host[1])
                && !target.place.is_none()
            {
                record.context = context::of_task(task, &target.place).unwrap_or_default();
            }
        }
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), (record as *const ThreadRecord).cast(), size_of::<ThreadRecord>() as u32);
    }
    0
}

/// The stack of one thread that is blocked (the host passes its tid).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn thread_stack(ctx: *const Task) -> i32 {
    // SAFETY: as above; the destination pages lie inside the map's only value.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        if task.is_null() {
            return 0;
        }
        let Some(record) = LOOK.get_ptr_mut(0) else { return 0 };
        let regs = bpf_task_pt_regs(task) as *const c_void;
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
            if bpf_copy_from_user_task(page, PAGE as u32, from, task, 0) != 0 {
                break;
            }
            pages += 1;
        }
        (*record).host_tgid = load(task.cast(), offset!(task_tgid));
        (*record).bytes = pages * PAGE as u32;
        (*record).registers = registers;
        (*record).depth = 0;
        if let Some(target) = targets::get((*record).host_tgid) {
            let base: u64 = load(task.cast(), offset!(task_fsbase));
            let read = |to: *mut c_void, size: u32, from: u64| {
                bpf_copy_from_user_task(to, size, from as *const c_void, task, 0);
            };
            python::walk(record, &target.python, base, read);
        }
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), record.cast::<c_void>(), size_of::<StackRecord>() as u32);
    }
    0
}
