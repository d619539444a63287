//! One look at each thread of a process: what it is blocked in, for how much CPU it waited, how it came about.
//! No hook, so nothing is paid between looks.

use crate::{
    kernel::{lifecycle, load, offset, storage::TASKS},
    probes::fd,
    wire::TaskRecord,
};
use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{bpf_copy_from_user_task, bpf_seq_write, bpf_task_pt_regs},
    macros::map,
    maps::PerCpuArray,
};
use core::{ffi::c_void, ptr::read_volatile};

/// `futex`.
const FUTEX: i64 = 202;
/// "Locked, and waited for", as the C library writes it; and where its mutex (`struct __pthread_mutex_s`) keeps the holder.
const LOCKED: u32 = 2;
const OWNER: u64 = 8;

/// `struct bpf_iter__task`.
#[repr(C)]
pub struct Task {
    meta: *const c_void,
    task: *mut task_struct,
}

/// Room for a record, which is too large beside the rest on a program's stack.
#[map]
static TASK: PerCpuArray<TaskRecord> = PerCpuArray::with_max_entries(1, 0);

/// Every thread of one process (the host passes its pid when it opens the iterator).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn task_look(ctx: *const Task) -> i32 {
    // SAFETY: the context and the task are trusted; null marks the end.
    unsafe {
        let task = read_volatile(&raw const (*ctx).task);
        if task.is_null() {
            return 0;
        }
        let Some(record) = TASK.get_ptr_mut(0) else { return 0 };
        let record = &mut *record;
        let base: *const c_void = task.cast();
        record.host = [load(base, offset!(task_pid)), load(base, offset!(task_tgid))];
        (record.level, record.numbers) = lifecycle::numbers(base);
        record.state = load(base, offset!(task_state));
        // A byte of what was four until Linux 7: the lowest, on the machines that we are built for.
        record.on_cpu = load::<u8>(base, offset!(task_on_cpu)) as u32;
        record.comm = load(base, offset!(task_comm));
        record.started = load(base, offset!(task_start_time));
        record.runtime = load(base, offset!(task_runtime));
        let delay = offset!(task_run_delay);
        record.delay = if delay == 0 { 0 } else { load(base, delay) };
        record.sleeps = load(base, offset!(task_nvcsw));
        let regs = bpf_task_pt_regs(task) as *const c_void;
        record.syscall = load(regs, offset!(regs_orig_ax));
        record.arguments = [
            load(regs, offset!(regs_di)),
            load(regs, offset!(regs_si)),
            load(regs, offset!(regs_dx)),
            load(regs, offset!(regs_r10)),
        ];
        record.place = [load(regs, offset!(regs_ip)), load(regs, offset!(regs_sp))];
        record.origin = Default::default();
        (record.word, record.word_known, record.owner, record.owes) = (0, 0, 0, 0);
        let waits = record.syscall == FUTEX && record.state != 0;
        if let Some(state) = TASKS.get(task, false) {
            record.origin = state.origin;
            if waits {
                record.owes = fd::owes(state) as u32;
            }
        }
        if waits {
            let word = (&raw mut record.word).cast::<c_void>();
            let known = bpf_copy_from_user_task(word, 4, record.arguments[0] as *const c_void, task, 0) == 0;
            record.word_known = known as u32;
            if record.word == LOCKED {
                let owner = (&raw mut record.owner).cast::<c_void>();
                let beside = record.arguments[0].wrapping_add(OWNER) as *const c_void;
                // What cannot be read stays nobody.
                bpf_copy_from_user_task(owner, 4, beside, task, 0);
            }
        }
        let seq: *mut c_void = load(read_volatile(&raw const (*ctx).meta), 0);
        bpf_seq_write(seq.cast(), (record as *const TaskRecord).cast(), size_of::<TaskRecord>() as u32);
    }
    0
}
