//! What the programs have counted since they were loaded, all at once.
//!
//! Cost: one system call for all counters, and a word of each CPU for each of them: once a second, not at every look. Kernels before 5.13 have none for tables with a row per CPU; there it is one for
//! each.

use super::bpf;
use crate::wire::Counter;
use aya::{
    maps::{IterableMap as _, MapData, PerCpuArray},
    util::nr_cpus,
};
use std::os::fd::AsFd as _;

/// Delivered and lost, by counter.
#[derive(Debug, Default)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    /// What is counted now; what cannot be read is zero.
    pub(crate) fn read(rows: &PerCpuArray<MapData, u64>) -> Self {
        let number = Counter::LAST as u32 + 1;
        Self(at_once(rows, number).unwrap_or_else(|| (0..number).map(|row| one(rows, row)).collect()))
    }

    /// One of them.
    pub(crate) fn of(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// Several.
    pub(crate) fn sum(&self, counters: &[Counter]) -> u64 {
        counters.iter().map(|counter| self.of(*counter)).sum()
    }
}

/// One row; zero if it cannot be read.
pub(super) fn one(rows: &PerCpuArray<MapData, u64>, row: u32) -> u64 {
    rows.get(&row, 0).map_or(0, |values| values.iter().sum())
}

fn at_once(rows: &PerCpuArray<MapData, u64>, number: u32) -> Option<Vec<u64>> {
    let cpus = nr_cpus().ok()?;
    let mut values = vec![0; number as usize * cpus];
    bpf::rows(rows.map().fd().as_fd(), number, &mut values).ok()?;
    Some(values.chunks_exact(cpus).map(|row| row.iter().sum()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes;

    #[test]
    fn no_probe_counts_beyond_the_last_one() {
        for probe in probes::all() {
            let (delivered, lost) = probe.counters();
            let others = probe.counts().iter().map(|(_, counter)| counter);
            for counter in delivered.iter().chain(lost).chain(others) {
                assert!(*counter as u32 <= Counter::LAST as u32, "{counter:?} of {}", probe.name());
            }
        }
    }

    #[test]
    fn what_was_not_read_is_zero() {
        assert_eq!((Counts::default().of(Counter::LAST), Counts(vec![3, 4]).sum(&[Counter::FilesLost; 2])), (0, 8));
    }
}
