//! What is known of a target, for those who ask.

use super::Target;
use crate::{
    changes::{Life, Who},
    model::{Nanos, Resource},
    window::SECOND,
};

impl Target {
    /// Who it is, as far as that was told.
    pub(super) fn who(&self) -> Who<'_> {
        Who { name: &self.name, pid: self.pid, started: self.introduced.then_some(self.started) }
    }

    /// What is remembered of it for the instances that come after it.
    pub(crate) fn life(&self) -> Option<Life> {
        let setup = self.changes.known().filter(|_| self.introduced)?.clone();
        Some(Life { pid: self.pid, started: self.started, ended: None, setup })
    }

    /// A level as it was last told, and when.
    #[expect(clippy::cast_precision_loss, reason = "levels past 2^53 are no levels of anything counted here")]
    pub(crate) fn told(&self, resource: Resource) -> Option<(Nanos, f64)> {
        self.levels.get(&resource).map(|(at, value)| (*at, *value as f64))
    }

    /// Requests that ended so far, as of the last one.
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    pub(crate) fn requests_told(&self, now: Nanos) -> Option<(Nanos, f64)> {
        (self.requests_total > 0).then_some((now, self.requests_total as f64))
    }

    /// p50 and p99 to the first byte, seconds, over the last complete window of 15 s, else the present one.
    pub(crate) fn latency(&self, now: Nanos) -> Option<(f64, f64)> {
        let present = self.latency.number(now);
        let sketch = self.latency.get(present.wrapping_sub(1)).or_else(|| self.latency.get(present))?;
        Some((sketch.quantile(0.5)?, sketch.quantile(0.99)?))
    }

    /// Requests usually in progress: the 90th percentile of the minute before `onset`, else of the last minute.
    pub(crate) fn usual_in_flight(&self, onset: Nanos, now: Nanos) -> Option<u32> {
        let minute = |until: Nanos| {
            let mut peaks: Vec<u32> =
                self.in_flight.range(until.saturating_sub(60 * SECOND), until).map(|(_, n)| *n).collect();
            peaks.sort_unstable();
            // Fewer than five seconds are no baseline.
            (peaks.len() >= 5).then(|| peaks[(peaks.len() - 1) * 9 / 10])
        };
        let usual = minute(onset.saturating_sub(SECOND)).or_else(|| minute(now));
        usual.or_else(|| self.report.map(|report| report.in_flight)).map(|count| count.max(1))
    }
}
