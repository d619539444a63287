//! Between the kernel's clock and the wall's.
//!
//! Invariant: inside the agent every time is `CLOCK_MONOTONIC` nanoseconds; wall-clock time exists only
//! where something arrives from outside (spans) or is told to people. The offset between the two is
//! measured again each minute, so a stepped wall clock skews at most a minute of spans.
//! Cost: one atomic load for each conversion.

use jiff::Timestamp;
use snowshed_ebpf::Session;
use snowshed_engine::model::Nanos;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often the offset is measured.
pub(crate) const REMEASURE: Duration = Duration::from_secs(60);

/// The offset, shared by everything that converts.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    /// A clock whose offset was measured just now.
    pub(crate) fn measured() -> Self {
        let clock = Self::with_offset(0);
        clock.remeasure();
        clock
    }

    /// A clock with a given offset (wall minus monotonic, nanoseconds).
    pub(crate) fn with_offset(offset: i64) -> Self {
        Self(Arc::new(AtomicI64::new(offset)))
    }

    /// Measures the offset: of three attempts the one in which the two clocks were read closest together.
    pub(crate) fn remeasure(&self) {
        let best = (0..3)
            .filter_map(|_| {
                let before = Session::now();
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
                let after = Session::now();
                let middle = before + after.saturating_sub(before) / 2;
                let offset = i64::try_from(wall.as_nanos()).ok()?.checked_sub_unsigned(middle)?;
                Some((after.saturating_sub(before), offset))
            })
            .min_by_key(|(gap, _)| *gap);
        if let Some((_, offset)) = best {
            self.0.store(offset, Ordering::Relaxed);
        }
    }

    /// The kernel's time now.
    pub(crate) fn now(&self) -> Nanos {
        Session::now()
    }

    /// Unix nanoseconds as kernel time; times before the machine started become 0.
    pub(crate) fn monotonic(&self, unix_nanos: u64) -> Nanos {
        let mono = i128::from(unix_nanos) - i128::from(self.0.load(Ordering::Relaxed));
        u64::try_from(mono.max(0)).unwrap_or(u64::MAX)
    }

    /// Kernel time as a timestamp; what no calendar holds becomes the epoch.
    pub(crate) fn wall(&self, at: Nanos) -> Timestamp {
        let unix = i128::from(at) + i128::from(self.0.load(Ordering::Relaxed));
        Timestamp::from_nanosecond(unix).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Kernel time as RFC 3339 with milliseconds, the form of the public contract.
    pub(crate) fn rfc3339(&self, at: Nanos) -> String {
        self.wall(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_inverse_and_survive_the_absurd() {
        let clock = Clock::with_offset(1_700_000_000_000_000_000);
        assert_eq!(clock.monotonic(1_700_000_000_000_000_042), 42);
        assert_eq!(clock.rfc3339(1_500_000_000), "2023-11-14T22:13:21.500Z");
        assert_eq!(clock.monotonic(5), 0, "a span from before the start of the machine");
        assert_eq!(clock.wall(u64::MAX).to_string(), clock.wall(u64::MAX).to_string());
    }

    #[test]
    fn a_measured_clock_agrees_with_the_wall() {
        let clock = Clock::measured();
        let gap = clock.wall(clock.now()).duration_since(Timestamp::now());
        assert!(gap.as_secs().abs() < 2, "off by {gap}");
    }
}
