//! What the load generator itself uses, and whether it kept up: a generator that falls behind measures itself.
//!
//! Real clients have machines of their own. On the service's machine the generator's thread asks for precedence, which
//! takes privileges; the CPU that it takes so is told.

use super::{plan::Plan, summary::Summary};
use serde::Serialize;
use std::{fmt, time::Instant};

/// Of one core; above it a lone thread has no reserve for a burst.
const FULL: f64 = 0.9;
/// A little ahead of everything ordinary.
const NICE: libc::c_int = -10;
/// Half of this late is what a timer's tick and a busy machine's scheduler make of themselves.
const LATE_MS: f64 = 100.0;

/// A look at the generator.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Generator {
    /// CPU that its thread used, in cores.
    pub cores: f64,
    /// The same in seconds.
    pub cpu_seconds: f64,
    /// How late 99 in 100 requests were sent, milliseconds.
    pub lag_p99_ms: f64,
    /// Its thread has precedence over the service's.
    pub precedence: bool,
    /// It was the bottleneck: latencies are worse than the service's, and the load is less than was asked for.
    pub overloaded: bool,
}

impl Generator {
    pub(super) fn judged(self, plan: &Plan, summary: &Summary) -> Self {
        let lag_p99_ms = summary.lag_ms.p99;
        // Where a concurrency is given, requests wait for room because the service is slow.
        let late = plan.concurrency.is_none() && lag_p99_ms > LATE_MS;
        Self { lag_p99_ms, overloaded: late || self.cores > FULL, ..self }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} % of a core, send lag p99 {:.1} ms", self.cores * 100.0, self.lag_p99_ms)?;
        if !self.precedence {
            f.write_str(", without precedence (not root)")?;
        }
        if self.overloaded { f.write_str(" (OVERLOADED: these are its own figures)") } else { Ok(()) }
    }
}

/// Measures the thread that it is on.
pub(super) struct Meter {
    begun: Instant,
    cpu: f64,
    precedence: bool,
}

impl Meter {
    /// Takes precedence, if that is allowed, and begins to measure.
    pub(super) fn start() -> Self {
        let precedence = take_precedence();
        Self { begun: Instant::now(), cpu: thread_cpu_seconds(), precedence }
    }

    pub(super) fn read(&self) -> Generator {
        let cpu_seconds = thread_cpu_seconds() - self.cpu;
        let cores = cpu_seconds / self.begun.elapsed().as_secs_f64().max(1e-9);
        Generator { cores, cpu_seconds, precedence: self.precedence, ..Generator::default() }
    }
}

/// Puts the calling thread before ordinary ones; whether that is allowed.
pub(crate) fn take_precedence() -> bool {
    // SAFETY: setpriority takes integers; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) == 0 }
}

/// CPU time of the calling thread since it began.
fn thread_cpu_seconds() -> f64 {
    crate::process::clock_seconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_waiting_is_not() {
        let meter = Meter::start();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let idle = meter.read();
        let mut sum = 0u64;
        while thread_cpu_seconds() - meter.cpu < 0.05 {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        assert!(idle.cpu_seconds < 0.04 && meter.read().cpu_seconds >= 0.05, "{idle:?} {sum}");
    }

    #[test]
    fn lateness_counts_only_where_nothing_else_explains_it() {
        let address = ([127, 0, 0, 1], 1).into();
        let summary =
            Summary { lag_ms: super::super::Percentiles { p99: 900.0, ..Default::default() }, ..Summary::default() };
        let open = Plan::new(address);
        assert!(Generator::default().judged(&open, &summary).overloaded);
        let bounded = Plan { concurrency: Some(5), ..open };
        assert!(!Generator::default().judged(&bounded, &summary).overloaded);
        assert!(Generator { cores: 0.95, ..Generator::default() }.judged(&bounded, &summary).overloaded);
    }
}
