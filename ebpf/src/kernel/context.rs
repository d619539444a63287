//! The trace context that a thread publishes by the OpenTelemetry standard, read in its own context.
//!
//! Nothing that is read is trusted: a wrong pointer reads as "none", the record's `valid` must be 1. Nothing loops, so
//! garbage costs no more than what is right.
//! Cost: where the pointer is static, one user read if the record lies behind it and two if not; four more where it lies
//! in a module's block; nothing for a process
//! that publishes none. The map of another observer: one look-up, and nothing where there is no such map.

use super::{current, load, offset};
use crate::wire::{Context, JOIN_INHERITED, JOIN_NONE, JOIN_OBSERVER, JOIN_THREAD, Place, Target};
use aya_ebpf::{
    bindings::{
        bpf_map_type::{BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_LRU_HASH},
        task_struct,
    },
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_user,
        generated::{bpf_copy_from_user_task, bpf_map_lookup_elem},
    },
};
use core::{
    ffi::c_void,
    ptr::{from_ref, null},
};

/// The record's beginning: ids, `valid`, flags, size of the attributes.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Record {
    context: Context,
    valid: u8,
    flags: u8,
    attributes: u16,
    _end: u32,
}

/// The pointer, and what lies behind it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Pair {
    pointer: u64,
    record: Record,
}

/// The part of the record that is read.
const RECORD: usize = 28;

/// What the other observer's map is like: thread to ids.
#[allow(dead_code, reason = "only its type is used: it describes a map")]
#[repr(C)]
pub struct Threads {
    r#type: *const [i32; BPF_MAP_TYPE_LRU_HASH as usize],
    key: *const u64,
    value: *const Context,
    max_entries: *const [i32; 1],
}

/// Room for one such map: the host puts it in when it is there, so that no program needs it to be loaded.
#[repr(C)]
pub struct Observers {
    r#type: *const [i32; BPF_MAP_TYPE_ARRAY_OF_MAPS as usize],
    key: *const u32,
    max_entries: *const [i32; 1],
    values: [*const Threads; 0],
}

// SAFETY: the members are null and only describe the map; the loader replaces them.
unsafe impl Sync for Observers {}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
pub static OBSERVERS: Observers = Observers { r#type: null(), key: null(), max_entries: null(), values: [] };

/// The current thread's context, else what its process inherited; and how it was found.
#[inline(always)]
pub fn of_current(target: &Target) -> (Context, u32) {
    if !target.place.is_none()
        && let Some(context) = published(&target.place)
    {
        return (context, JOIN_THREAD);
    }
    if target.observer != 0
        && let Some(context) = observed()
    {
        return (context, JOIN_OBSERVER);
    }
    if target.inherited != [0; 2] {
        return (Context { trace: target.inherited, span: 0 }, JOIN_INHERITED);
    }
    (Context::default(), JOIN_NONE)
}

/// Whether the current thread has published anything yet, or said that it works for nobody. A thread that has taken its
/// pointer back entirely looks like one that never had it.
#[inline(always)]
pub fn has_published(target: &Target) -> bool {
    if target.place.is_none() {
        return false;
    }
    // SAFETY: the current task is trusted; the helper checks user addresses.
    unsafe {
        let base: u64 = load(current().cast(), offset!(task_fsbase));
        let read = |at: u64| bpf_probe_read_user(at as *const u64).ok();
        slot(&target.place, base, read).and_then(read).is_some_and(|pointer| pointer != 0)
    }
}

/// Where a thread keeps its pointer, if it has got that far.
#[inline(always)]
fn slot(place: &Place, base: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    if place.entry == 0 {
        return Some(base.wrapping_add(place.offset as u64));
    }
    let table = read(base.wrapping_add(place.table as i64 as u64))?;
    // Beyond its end there is somebody else's memory.
    if read(table.wrapping_add(place.count as i64 as u64))? < place.module as u64 {
        return None;
    }
    // An entry of before the module was loaded is another module's.
    if place.generation != 0 && read(table)? < place.generation {
        return None;
    }
    match read(table.wrapping_add(place.entry))? {
        // Never touched by this thread, so not made.
        0 | u64::MAX => None,
        block => Some(block.wrapping_add(place.offset as u64)),
    }
}

#[inline(always)]
fn published(place: &Place) -> Option<Context> {
    // SAFETY: the current task is trusted; the helper checks user addresses.
    unsafe {
        let base: u64 = load(current().cast(), offset!(task_fsbase));
        let read = |at: u64| bpf_probe_read_user(at as *const u64).ok();
        let at = slot(place, base, read)?;
        // Reads are what costs here. Where the record lies right behind its pointer, as a guard's does, one brings both.
        let pointer = match bpf_probe_read_user(at as *const Pair) {
            Ok(pair) if pair.pointer == at.wrapping_add(size_of::<u64>() as u64) => return valid(&pair.record),
            Ok(pair) => pair.pointer,
            // Behind the pointer nothing need be mapped.
            Err(_) => read(at)?,
        };
        if pointer == 0 {
            return None;
        }
        let ids = bpf_probe_read_user(pointer as *const [u8; RECORD]).ok()?;
        valid(&widen(&ids))
    }
}

#[inline(always)]
fn valid(record: &Record) -> Option<Context> {
    (record.valid == 1 && record.context.trace != [0; 2]).then_some(record.context)
}

#[inline(always)]
fn widen(bytes: &[u8; RECORD]) -> Record {
    let mut record = Record::default();
    // SAFETY: a record is plain data and larger than the bytes.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut record).cast::<u8>(), RECORD) }
    record
}

/// What the other observer says of the current thread.
#[inline(always)]
fn observed() -> Option<Context> {
    let (first, thread) = (0_u32, bpf_get_current_pid_tgid());
    let maps = from_ref(&OBSERVERS).cast_mut().cast::<c_void>();
    // SAFETY: the verifier knows both maps and the sizes of their keys and values.
    unsafe {
        let map = bpf_map_lookup_elem(maps, (&raw const first).cast());
        if map.is_null() {
            return None;
        }
        let context = bpf_map_lookup_elem(map, (&raw const thread).cast()).cast::<Context>().as_ref()?;
        (context.trace != [0; 2]).then_some(*context)
    }
}

/// Another thread's context; may sleep, so only from sleepable iterators. That thread may be running: what it changes
/// between two reads is nobody's.
///
/// # Safety
/// `task` must be trusted by the verifier.
#[inline(always)]
pub unsafe fn of_task(task: *mut task_struct, place: &Place) -> Option<Context> {
    // SAFETY: destinations are as large as told; the helper checks user addresses.
    unsafe {
        let base: u64 = load(task.cast(), offset!(task_fsbase));
        let read = |at: u64| {
            let mut word = 0u64;
            (bpf_copy_from_user_task((&raw mut word).cast(), 8, at as *const c_void, task, 0) == 0).then_some(word)
        };
        let record = |at: u64| {
            let mut record = Record::default();
            let into = (&raw mut record).cast();
            (bpf_copy_from_user_task(into, RECORD as u32, at as *const c_void, task, 0) == 0).then_some(record)
        };
        let at = slot(place, base, read)?;
        let pointer = read(at)?;
        if pointer == 0 {
            return None;
        }
        let found = record(pointer)?;
        if record(pointer)? != found || read(at)? != pointer {
            return None;
        }
        valid(&found)
    }
}
