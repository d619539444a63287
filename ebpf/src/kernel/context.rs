//! The trace context that a thread publishes by the OpenTelemetry standard, read in its own context.
//!
//! Nothing that is read is trusted: a wrong pointer reads as "none", the record's `valid` must be 1.
//! Cost: two user reads; nothing for a process that publishes none.

use super::{current, load, offset};
use crate::wire::{Context, JOIN_INHERITED, JOIN_NONE, JOIN_THREAD, Target};
use aya_ebpf::{
    bindings::task_struct,
    helpers::{bpf_probe_read_user, generated::bpf_copy_from_user_task},
};
use core::ffi::c_void;

/// The record's beginning: ids, `valid`, flags, size of the attributes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Record {
    context: Context,
    valid: u8,
    flags: u8,
    attributes: u16,
    _end: u32,
}

/// The part of the record that is read.
const RECORD: usize = 28;

/// The current thread's context, else what its process inherited; and how it was found.
#[inline(always)]
pub fn of_current(target: &Target) -> (Context, u32) {
    if target.tls != 0
        && let Some(context) = published(target.tls)
    {
        return (context, JOIN_THREAD);
    }
    if target.inherited != [0; 2] {
        return (Context { trace: target.inherited, span: 0 }, JOIN_INHERITED);
    }
    (Context::default(), JOIN_NONE)
}

#[inline(always)]
fn published(tls: i64) -> Option<Context> {
    // SAFETY: the current task is trusted; the helper checks user addresses.
    unsafe {
        let base: u64 = load(current().cast(), offset!(task_fsbase));
        let pointer = bpf_probe_read_user(base.wrapping_add(tls as u64) as *const u64).ok()?;
        if pointer == 0 {
            return None;
        }
        let ids = bpf_probe_read_user(pointer as *const [u8; RECORD]).ok()?;
        let record: Record = widen(&ids);
        (record.valid == 1 && record.context.trace != [0; 2]).then_some(record.context)
    }
}

#[inline(always)]
fn widen(bytes: &[u8; RECORD]) -> Record {
    let mut record = Record::default();
    // SAFETY: a record is plain data and larger than the bytes.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut record).cast::<u8>(), RECORD) }
    record
}

/// Another thread's context; may sleep, so only from sleepable iterators.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
pub unsafe fn of_task(task: *mut task_struct, tls: i64) -> Option<Context> {
    let mut pointer = 0u64;
    let mut record = Record::default();
    // SAFETY: destinations are as large as told; the helper checks user addresses.
    unsafe {
        let base: u64 = load(task.cast(), offset!(task_fsbase));
        let at = base.wrapping_add(tls as u64) as *const c_void;
        if bpf_copy_from_user_task((&raw mut pointer).cast(), 8, at, task, 0) != 0 || pointer == 0 {
            return None;
        }
        let from = pointer as *const c_void;
        if bpf_copy_from_user_task((&raw mut record).cast(), RECORD as u32, from, task, 0) != 0 {
            return None;
        }
    }
    (record.valid == 1 && record.context.trace != [0; 2]).then_some(record.context)
}
