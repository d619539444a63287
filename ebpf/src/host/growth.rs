//! The tables of pages that came in, and the ring of their stacks.
//!
//! Cost: one look-up per process and period, and one write where pages came in.

use super::kernel::Kernel;
use crate::wire::{GrowthRecord, PageAllowance, PageCount};
use aya::{maps::PerCpuValues, util::nr_cpus};

impl Kernel {
    /// Begins to count the pages of a process; `false` if the table is full.
    pub(crate) fn count_pages(&mut self, host_tgid: u32) -> bool {
        let Ok(cpus) = nr_cpus() else { return false };
        let Ok(empty) = PerCpuValues::try_from(vec![PageCount::default(); cpus]) else { return false };
        self.page_counts.insert(host_tgid, empty, 0).is_ok()
    }

    /// Pages that came in since [`Self::count_pages`], by kind.
    pub(crate) fn pages(&self, host_tgid: u32) -> Option<[u64; 2]> {
        let counts = self.page_counts.get(&host_tgid, 0).ok()?;
        Some(counts.iter().fold([0; 2], |sum, one| [sum[0] + one.pages[0], sum[1] + one.pages[1]]))
    }

    /// Begins a period in which this many stacks may be taken.
    pub(crate) fn allow_growths(&mut self, host_tgid: u32, tokens: u32, period: u32) {
        let resident = self.page_allowances.get(&host_tgid, 0).map_or([0; 2], |old| old.resident);
        // A full table leaves the process counted and its places unknown.
        drop(self.page_allowances.insert(host_tgid, PageAllowance { resident, tokens, period }, 0));
    }

    /// Stops counting.
    pub(crate) fn forget_pages(&mut self, host_tgid: u32) {
        drop(self.page_counts.remove(&host_tgid));
        drop(self.page_allowances.remove(&host_tgid));
    }

    /// Takes at most `most` sampled pages off the ring.
    pub(crate) fn growths(&mut self, most: usize, mut each: impl FnMut(&GrowthRecord)) {
        for _ in 0..most {
            let Some(item) = self.growths.next() else { return };
            if item.len() >= size_of::<GrowthRecord>() && item.as_ptr().cast::<GrowthRecord>().is_aligned() {
                // SAFETY: ring entries are 8-byte aligned (checked) and this large; the record is plain data.
                each(unsafe { &*item.as_ptr().cast::<GrowthRecord>() });
            }
        }
    }
}
