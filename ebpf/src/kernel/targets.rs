//! Which processes are watched. Every hooked event of every process asks, so a look-up makes no call: the kernel inlines
//! look-ups in arrays, and the few keys of a bucket are compared in place. The host has the table mapped
//! (`host/table.rs`) and writes to it as the programs do.
//!
//! An entry is filled before its key is set. Should it be given to another process while a hook of a dying one reads it,
//! that one's trace context is looked for in a wrong place, which is checked like any other.

use crate::wire::{BUCKETS, Bucket, Slot, TAKEN, Target, bucket_of};
use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};

/// Watched processes, children included.
#[map]
static TARGETS: Array<Bucket> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);

/// The entry of a process, if it is watched.
#[inline(always)]
pub fn find(host_tgid: u32) -> Option<*mut Slot> {
    let bucket = TARGETS.get_ptr_mut(bucket_of(host_tgid))?;
    // SAFETY: the table is never unmapped; what is read may change meanwhile, see above.
    unsafe {
        for (key, slot) in (*bucket).keys.iter().zip((*bucket).slots.iter_mut()) {
            if (key as *const u64).read_volatile() == host_tgid as u64 {
                return Some(slot);
            }
        }
    }
    None
}

/// What is known of a process, if it is watched.
#[inline(always)]
pub fn get(host_tgid: u32) -> Option<&'static Target> {
    // SAFETY: see above.
    find(host_tgid).map(|slot| unsafe { &(*slot).target })
}

/// Watches a process. False: its bucket is full.
#[inline(always)]
pub fn insert(host_tgid: u32, entry: Slot) -> bool {
    if let Some(slot) = find(host_tgid) {
        // SAFETY: an entry of the table.
        unsafe { *slot = entry };
        return true;
    }
    let Some(bucket) = TARGETS.get_ptr_mut(bucket_of(host_tgid)) else { return false };
    // SAFETY: words and entries of the table; whoever has changed a key to `TAKEN` has the entry for itself.
    unsafe {
        for (key, slot) in (*bucket).keys.iter_mut().zip((*bucket).slots.iter_mut()) {
            let key: *mut u64 = key;
            let (_, is_ours) =
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(key, 0, TAKEN);
            if is_ours {
                *slot = entry;
                key.write_volatile(host_tgid as u64);
                return true;
            }
        }
    }
    false
}

/// Watches a process no longer.
#[inline(always)]
pub fn remove(host_tgid: u32) {
    let Some(bucket) = TARGETS.get_ptr_mut(bucket_of(host_tgid)) else { return };
    // SAFETY: words of the table.
    unsafe {
        for key in (*bucket).keys.iter_mut() {
            let key: *mut u64 = key;
            if key.read_volatile() == host_tgid as u64 {
                key.write_volatile(0);
            }
        }
    }
}
