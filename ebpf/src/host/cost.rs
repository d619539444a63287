//! What the probes cost: dispatch and filter, calibrated when they are attached; the programs themselves, from the
//! kernel's BPF statistics, which are switched on for a moment every ten seconds because they cost themselves.
//!
//! The statistics do not see how the kernel comes to a program; the calibration does. They are shown apart, and
//! only the sum is what somebody pays. Nor do they leave out the time in which a program was interrupted, or another thread
//! had its processor: on a machine that is short of them that may be most of it. So a run is priced by the least of several
//! measurements, and nothing is said after a single one.

use super::{
    calibrate::{Action, Bench},
    footprint::{self, Footprint},
    kernel::{Kernel, RunStats},
};
use crate::wire::Target;
use snowshed_engine::model::Nanos;
use std::{collections::VecDeque, os::fd::OwnedFd};

const EVERY: Nanos = 10_000_000_000;
const FOR: Nanos = 250_000_000;
/// Between two counts of what maps and programs hold.
const COUNT: Nanos = 60_000_000_000;
/// From a first measurement to the second.
const AGAIN: Nanos = 500_000_000;
/// Measurements of which the least counts.
const LATELY: usize = 3;
/// Over at least so long this process's own share is taken.
const OWN: Nanos = 5_000_000_000;

/// One probe's programs and what was last measured.
#[derive(Debug, Default)]
struct Row {
    programs: &'static [&'static str],
    before: RunStats,
    /// Kernel time per run, nanoseconds, of the last measurements.
    lately: VecDeque<f64>,
    price: Price,
}

impl Row {
    /// Takes what was measured over so many nanoseconds; tells whether another measurement is needed.
    fn take(&mut self, runs: f64, time: f64, window: f64) -> bool {
        self.price.runs = Some(runs * 1e9 / window);
        if runs > 0.0 {
            self.lately.truncate(LATELY - 1);
            self.lately.push_front(time / runs);
        }
        let least = self.lately.iter().copied().reduce(f64::min);
        let is_known = runs == 0.0 || self.lately.len() > 1;
        if is_known {
            self.price.per_run = least.or(self.price.per_run);
            let each = least.unwrap_or(0.0) + self.price.dispatch.unwrap_or(0.0);
            self.price.core = Some(runs * each / window);
        }
        !is_known
    }
}

/// What a probe costs, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Price {
    /// Kernel time per run of a program, nanoseconds, by the statistics.
    pub(crate) per_run: Option<f64>,
    /// What a run costs besides, nanoseconds: the way to the program.
    pub(crate) dispatch: Option<f64>,
    /// What one hooked call costs a process that nobody watches, nanoseconds.
    pub(crate) others: Option<f64>,
    /// What one hooked call costs a watched process, nanoseconds, without stacks.
    pub(crate) watched: Option<f64>,
    /// Runs a second, of watched and unwatched processes.
    pub(crate) runs: Option<f64>,
    /// Share of one core that all runs take, the way to them included.
    pub(crate) core: Option<f64>,
}

/// The sampler. Dropping it switches the statistics off.
pub(crate) struct Cost {
    rows: Vec<Row>,
    bench: Option<Bench>,
    on: Option<OwnedFd>,
    switched: Nanos,
    next: Nanos,
    used: (Nanos, Nanos),
    /// What every system call of the machine costs more while the hooks are attached, nanoseconds.
    pub(crate) unhooked: Option<f64>,
    /// Share of one core that this process takes.
    pub(crate) own: Option<f64>,
    pub(crate) footprint: Footprint,
    /// When maps and programs are counted again.
    count: Nanos,
}

impl Cost {
    pub(crate) fn new(programs: impl Iterator<Item = &'static [&'static str]>, now: Nanos) -> Self {
        let row = |programs| Row { programs, ..Row::default() };
        Self {
            rows: programs.map(row).collect(),
            bench: None,
            on: None,
            switched: now,
            next: now + 1_000_000_000,
            used: (now, footprint::processor_time()),
            unhooked: None,
            own: None,
            footprint: Footprint::now(),
            count: now,
        }
    }

    /// Before anything is attached: how long the calls take without.
    pub(crate) fn begin(&mut self) {
        self.bench = Bench::new().ok();
    }

    /// After the probe in this position was attached: what it added. `own` is this process in the kernel's numbers.
    pub(crate) fn calibrate(&mut self, index: usize, kernel: &mut Kernel, own: u32) {
        let Some(row) = self.rows.get_mut(index) else { return };
        let hooks = kernel.hooks(row.programs);
        if hooks.is_empty() {
            // Nothing is hooked, so nobody else pays.
            (row.price.others, row.price.watched) = (Some(0.0), Some(0.0));
            return;
        }
        let Some(bench) = &mut self.bench else { return };
        let mut actions: Vec<Action> = hooks.iter().filter_map(|(_, tracepoint)| Action::of(tracepoint)).collect();
        actions.sort_unstable();
        actions.dedup();
        for action in actions {
            let others = bench.grown(action);
            // The way to a program, without what the statistics see of it.
            let passed = hooks.iter().filter(|(_, tracepoint)| Action::of(tracepoint) == Some(action)).count();
            let unwatched = measured(kernel, row.programs, || bench.grown(action));
            let dispatch = unwatched.map(|run| (others / passed as f64 - run).max(0.0));
            let watched = others + as_target(kernel, own, bench, action);
            if row.price.others.is_none_or(|known| others > known) {
                row.price.others = Some(others);
                row.price.dispatch = dispatch;
            }
            row.price.watched = Some(row.price.watched.map_or(watched, |known| known.max(watched)));
        }
    }

    /// After the last probe: what calls pay that no probe hooks. Gives back what the measuring needed; what the start took
    /// of a processor is no running cost.
    pub(crate) fn settle(&mut self, now: Nanos) {
        self.unhooked = self.bench.take().map(|mut bench| bench.grown(Action::Unhooked));
        self.used = (now, footprint::processor_time());
    }

    /// When [`Self::turn`] is due.
    pub(crate) fn due(&self) -> Nanos {
        self.next
    }

    /// Switches on, or measures and switches off.
    pub(crate) fn turn(&mut self, kernel: Option<&Kernel>, now: Nanos) {
        if now < self.next {
            return;
        }
        let (since, before) = self.used;
        // Of a short stretch a single look would be the most.
        if now >= since + OWN {
            self.used = (now, footprint::processor_time());
            self.own = Some((self.used.1 - before) as f64 / (now - since) as f64);
        }
        let Some(kernel) = kernel else {
            self.weigh(now);
            self.next = now + EVERY;
            return;
        };
        let measuring = self.on.take();
        let window = (now - self.switched) as f64;
        let mut again = false;
        for row in &mut self.rows {
            let stats = kernel.run_stats(row.programs);
            let runs = stats.runs.saturating_sub(row.before.runs) as f64;
            let time = stats.time.saturating_sub(row.before.time).as_nanos() as f64;
            if measuring.is_some() && window > 0.0 {
                again |= row.take(runs, time, window);
            }
            row.before = stats;
        }
        if measuring.is_some() {
            self.weigh(now);
            self.next = now + if again { AGAIN } else { EVERY - FOR };
        } else {
            // Not permitted or too old a kernel: the cost per run then stays unknown, and says so.
            self.on = aya::sys::enable_stats(aya::sys::Stats::RunTime).ok();
            self.switched = now;
            self.next = now + if self.on.is_some() { FOR } else { EVERY };
            if self.on.is_none() {
                self.weigh(now);
            }
        }
    }

    fn weigh(&mut self, now: Nanos) {
        if now >= self.count {
            self.count = now + COUNT;
            self.footprint = Footprint::now();
        } else {
            self.footprint.renew();
        }
    }

    /// What was measured of the probe in this position says nothing about now: it is measured soon.
    pub(crate) fn stale(&mut self, index: usize, now: Nanos) {
        if self.on.is_none() {
            self.next = self.next.min(now);
        }
        if let Some(row) = self.rows.get_mut(index) {
            (row.price.core, row.price.runs) = (None, None);
            row.lately.clear();
        }
    }

    /// What is known of the probe in this position.
    pub(crate) fn price(&self, index: usize) -> Price {
        self.rows.get(index).map(|row| row.price).unwrap_or_default()
    }
}

/// Kernel time per run of these programs while something is done; `None` where the statistics are refused.
fn measured(kernel: &Kernel, programs: &[&str], work: impl FnOnce() -> f64) -> Option<f64> {
    let _on = aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()?;
    let before = kernel.run_stats(programs);
    work();
    let after = kernel.run_stats(programs);
    let runs = after.runs.saturating_sub(before.runs);
    (runs > 0).then(|| after.time.saturating_sub(before.time).as_nanos() as f64 / runs as f64)
}

/// What an action costs more while this process is a target for a moment.
fn as_target(kernel: &mut Kernel, own: u32, bench: &mut Bench, action: Action) -> f64 {
    if own == 0 {
        return 0.0;
    }
    let switch = |on| {
        if on {
            // Refused only if the table is full, which it is not at the start.
            drop(kernel.set_target(own, Target::default()));
        } else {
            kernel.drop_target(own);
        }
    };
    bench.apart(action, switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_start_takes_of_a_processor_is_no_running_cost() {
        let mut cost = Cost::new(std::iter::empty(), 0);
        let (begun, mut sum) = (footprint::processor_time(), 0_u64);
        while footprint::processor_time() < begun + 200_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        cost.settle(1_000_000_000);
        cost.turn(None, 1_000_000_000 + OWN);
        let own = cost.own.expect("it was measured");
        assert!(own * (OWN as f64) < 100e6, "{own} of a core");
    }

    const WINDOW: f64 = 250e6;

    #[test]
    fn a_measurement_that_something_came_between_says_nothing_by_itself() {
        let mut row = Row { price: Price { dispatch: Some(50.0), ..Price::default() }, ..Row::default() };
        // Ten thousand runs of a hundred nanoseconds, and once another thread for twenty milliseconds.
        assert!(row.take(10_000.0, 21e6, WINDOW), "one is not enough");
        assert_eq!((row.price.core, row.price.per_run), (None, None));
        assert!(!row.take(10_000.0, 1e6, WINDOW));
        assert_eq!((row.price.core, row.price.per_run), (Some(0.006), Some(100.0)));
        row.take(10_000.0, 41e6, WINDOW);
        assert_eq!(row.price.core, Some(0.006), "nor later");
        // What really got dearer counts once the cheap ones are gone.
        (0..3).for_each(|_| assert!(!row.take(10_000.0, 9e6, WINDOW)));
        assert_eq!(row.price.per_run, Some(900.0));
    }

    #[test]
    fn who_does_not_run_costs_nothing_and_needs_no_second_look() {
        let mut row = Row::default();
        assert!(!row.take(0.0, 0.0, WINDOW));
        assert_eq!((row.price.core, row.price.runs, row.price.per_run), (Some(0.0), Some(0.0), None));
    }
}
