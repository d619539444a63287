//! The table of watched processes, mapped: the host writes to it as the programs do, without a system call.
//!
//! Invariants: a key is set after its entry, and an entry is claimed by its key before it is written, as the programs do
//! (`kernel/targets.rs`), so that both sides may add processes at the same time. Cost: 144 KiB of the kernel's memory.

use crate::wire::{BUCKETS, Bucket, Slot, TAKEN, Target, WAYS, bucket_of};
use aya::maps::MapData;
use memmap2::MmapRaw;
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The table, as long as its map is open.
pub(crate) struct Table {
    memory: MmapRaw,
    _map: MapData,
}

impl Table {
    /// # Errors
    /// The kernel does not map it.
    pub(crate) fn map(map: MapData) -> io::Result<Self> {
        let length = BUCKETS as usize * size_of::<Bucket>();
        let descriptor = map.fd().as_fd().as_raw_fd();
        let memory = memmap2::MmapOptions::new().len(length).map_raw(descriptor)?;
        Ok(Self { memory, _map: map })
    }

    fn bucket(&self, host_tgid: u32) -> *mut Bucket {
        // In bounds: there are that many buckets, and the mapping is as long.
        self.memory.as_mut_ptr().cast::<Bucket>().wrapping_add(bucket_of(host_tgid) as usize)
    }

    fn keys(&self, host_tgid: u32) -> &[AtomicU64; WAYS] {
        // SAFETY: the mapping outlives the reference, its words are aligned, and the programs change them whole.
        unsafe { &*(&raw mut (*self.bucket(host_tgid)).keys).cast() }
    }

    fn find(&self, host_tgid: u32) -> Option<*mut Slot> {
        let keys = self.keys(host_tgid);
        let way = keys.iter().position(|key| key.load(Ordering::Acquire) == u64::from(host_tgid))?;
        Some(self.slot(host_tgid, way))
    }

    fn slot(&self, host_tgid: u32, way: usize) -> *mut Slot {
        // SAFETY: of a bucket of the mapping; `way` is below their number.
        unsafe { (&raw mut (*self.bucket(host_tgid)).slots).cast::<Slot>().add(way) }
    }

    /// Watches a process, or replaces what is known of it.
    ///
    /// # Errors
    /// There is no room where it belongs.
    pub(crate) fn set(&self, host_tgid: u32, target: Target) -> Result<(), String> {
        if let Some(slot) = self.find(host_tgid) {
            // SAFETY: an entry of the mapping; a program that reads it meanwhile checks what it makes of it.
            unsafe { (&raw mut (*slot).target).write_volatile(target) };
            return Ok(());
        }
        for (way, key) in self.keys(host_tgid).iter().enumerate() {
            if key.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // SAFETY: the key says that the entry is ours.
                unsafe { self.slot(host_tgid, way).write_volatile(Slot { target, tokens: 0, serves: 0 }) };
                key.store(host_tgid.into(), Ordering::Release);
                return Ok(());
            }
        }
        Err(format!("no room for it in the table of {} targets", BUCKETS as usize * WAYS))
    }

    /// What the programs know of a process.
    pub(crate) fn get(&self, host_tgid: u32) -> Option<Target> {
        // SAFETY: an entry of the mapping.
        self.find(host_tgid).map(|slot| unsafe { (&raw const (*slot).target).read_volatile() })
    }

    /// Watches a process no longer; it may have gone by itself.
    pub(crate) fn remove(&self, host_tgid: u32) {
        for key in self.keys(host_tgid) {
            // Nothing there is as good.
            let _gone = key.compare_exchange(host_tgid.into(), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Allows this many more stacks of a process, if it is watched.
    pub(crate) fn set_tokens(&self, host_tgid: u32, tokens: u32) {
        if let Some(slot) = self.find(host_tgid) {
            // SAFETY: an aligned word of the mapping, which programs change whole.
            let word: &AtomicU32 = unsafe { &*(&raw mut (*slot).tokens).cast() };
            word.store(tokens, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Place;

    #[test]
    fn every_process_has_a_bucket_and_neighbours_hardly_meet() {
        assert!((0..1 << 16).all(|pid| bucket_of(pid) < BUCKETS));
        for first in [1_u32, 250, 4_000, 65_530, 4_194_000] {
            let mut buckets: Vec<_> = (first..first + BUCKETS).map(bucket_of).collect();
            buckets.sort_unstable();
            let most = buckets.chunk_by(|a, b| a == b).map(<[u32]>::len).max();
            assert!(most <= Some(2), "{first}: {most:?} of {BUCKETS} in a row meet");
        }
    }

    #[test]
    fn targets_come_are_replaced_and_go() {
        // SAFETY: no arguments, cannot fail.
        assert_eq!(unsafe { libc::geteuid() }, 0, "this test makes a kernel map: run it as root");
        let kernel = crate::host::kernel::Kernel::load().unwrap();
        let table = kernel.table();
        assert_eq!(table.get(7), None);
        let of = |offset| Target { place: Place { offset, ..Place::default() }, ..Target::default() };
        // One bucket, filled to its end.
        let same: Vec<u32> = (1_u32..).filter(|pid| bucket_of(*pid) == bucket_of(7)).take(WAYS + 1).collect();
        for pid in &same[..WAYS] {
            table.set(*pid, of(1)).unwrap();
        }
        assert!(table.set(same[WAYS], of(1)).unwrap_err().contains("no room"));
        table.set(same[2], of(2)).unwrap();
        let known = |pid| table.get(pid).map(|target| target.place.offset);
        assert_eq!((known(same[1]), known(same[2]), known(same[WAYS])), (Some(1), Some(2), None));
        table.remove(same[0]);
        table.remove(same[0]);
        table.set(same[WAYS], of(3)).unwrap();
        assert_eq!((known(same[0]), known(same[WAYS])), (None, Some(3)));
    }
}
