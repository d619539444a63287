//! What the probes cost, from the kernel's BPF statistics: switched on for a moment every ten seconds,
//! because they cost themselves.

use super::kernel::{Kernel, RunStats};
use snowshed_engine::model::Nanos;
use std::os::fd::OwnedFd;

const EVERY: Nanos = 10_000_000_000;
const FOR: Nanos = 250_000_000;

/// One probe's programs and what was last measured.
struct Row {
    programs: &'static [&'static str],
    before: RunStats,
    ns_per_run: Option<f64>,
}

/// The sampler. Dropping it switches the statistics off.
pub(crate) struct Cost {
    rows: Vec<Row>,
    on: Option<OwnedFd>,
    next: Nanos,
}

impl Cost {
    pub(crate) fn new(programs: impl Iterator<Item = &'static [&'static str]>, now: Nanos) -> Self {
        let row = |programs| Row { programs, before: RunStats::default(), ns_per_run: None };
        Self { rows: programs.map(row).collect(), on: None, next: now + 1_000_000_000 }
    }

    /// When [`Self::turn`] is due.
    pub(crate) fn due(&self) -> Nanos {
        self.next
    }

    /// Switches on, or measures and switches off.
    pub(crate) fn turn(&mut self, kernel: &Kernel, now: Nanos) {
        if now < self.next {
            return;
        }
        let measuring = self.on.take();
        for row in &mut self.rows {
            let stats = kernel.run_stats(row.programs);
            let runs = stats.runs.saturating_sub(row.before.runs);
            if measuring.is_some() && runs > 0 {
                let time = stats.time.saturating_sub(row.before.time);
                row.ns_per_run = Some(time.as_nanos() as f64 / runs as f64);
            }
            row.before = stats;
        }
        if measuring.is_some() {
            self.next = now + EVERY - FOR;
        } else {
            // Not permitted or too old a kernel: the cost then stays unknown, and says so.
            self.on = aya::sys::enable_stats(aya::sys::Stats::RunTime).ok();
            self.next = now + FOR;
        }
    }

    /// Kernel time per run, nanoseconds, of the probe in this position.
    pub(crate) fn ns_per_run(&self, index: usize) -> Option<f64> {
        self.rows.get(index).and_then(|row| row.ns_per_run)
    }
}
