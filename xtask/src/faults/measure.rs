//! What is measured of a service, and whether it has grown.
//!
//! What leaks does not go away again: so the level at the end is held against the highest that was seen in health,
//! with a margin for noise, and the speed is a Theil–Sen slope (the median of the slopes between all pairs of samples;
//! Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", 1968), which no outlier bends.

use super::sample::Sample;
use serde::Serialize;

const MIB: f64 = 1_048_576.0;

/// A resource or a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Resident memory, MiB.
    Memory,
    /// Open file descriptors.
    Fds,
    /// Threads.
    Threads,
    /// Tasks of the event loop.
    Tasks,
    /// Milliseconds to the first byte of a result.
    FirstByte,
    /// Milliseconds to the answer of `/livez`.
    Livez,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Memory, Self::Fds, Self::Threads, Self::Tasks, Self::FirstByte, Self::Livez];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fds => "fds",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
            Self::FirstByte => "first byte",
            Self::Livez => "/livez",
        }
    }

    /// For people in a hurry.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::Memory => "mem",
            Self::Fds => "fds",
            Self::Threads => "thr",
            Self::Tasks => "tsk",
            Self::FirstByte => "1st",
            Self::Livez => "liv",
        }
    }

    /// The unit that follows a figure, with its space.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Memory => " MiB",
            Self::Fds | Self::Threads | Self::Tasks => "",
            Self::FirstByte | Self::Livez => " ms",
        }
    }

    /// What must grow when a fault is of this kind; nothing for a kind that is not known here.
    #[must_use]
    pub fn of_cause(kind: &str) -> &'static [Self] {
        match kind {
            "memory_growth" => &[Self::Memory],
            "fd_leak" => &[Self::Fds],
            "task_leak" => &[Self::Tasks],
            "event_loop_stall" => &[Self::Livez],
            "lock_contention" => &[Self::Threads, Self::FirstByte],
            _ => &[],
        }
    }

    /// Its value in a sample.
    #[must_use]
    pub fn value(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Memory => sample.resident_bytes.map(|bytes| bytes as f64 / MIB),
            Self::Fds => sample.open_fds().map(|fds| fds as f64),
            Self::Threads => sample.threads.map(|threads| threads as f64),
            Self::Tasks => sample.tasks,
            Self::FirstByte => sample.first_byte_ms,
            Self::Livez => sample.livez_ms,
        }
    }

    /// A time that somebody waits, not a thing that is held.
    pub(super) fn is_delay(self) -> bool {
        matches!(self, Self::FirstByte | Self::Livez)
    }

    /// Below this much more than in health it may be noise.
    fn margin(self) -> f64 {
        match self {
            Self::Memory => 48.0,
            Self::Fds | Self::Threads | Self::Tasks => 12.0,
            Self::FirstByte | Self::Livez => 400.0,
        }
    }

    /// The least that a picture of it should span, so that noise looks small.
    pub(super) fn least_span(self) -> f64 {
        match self {
            Self::Memory => 128.0,
            Self::Fds | Self::Threads | Self::Tasks => 64.0,
            Self::FirstByte | Self::Livez => 1000.0,
        }
    }

    /// How fast it grew, where it grew and a speed means something.
    pub(super) fn speed(self, change: Change) -> Option<String> {
        (change.grows && !self.is_delay()).then(|| format!("{:+.1}{}/s", change.per_second, self.unit()))
    }

    /// What became of it between health and death.
    #[must_use]
    pub fn change(self, samples: &[Sample]) -> Change {
        let points: Vec<(f64, f64)> =
            samples.iter().filter_map(|sample| Some((sample.at, self.value(sample)?))).collect();
        let split = points.partition_point(|(at, _)| *at < 0.0);
        let (health, ill) = points.split_at(split);
        let last = &ill[ill.len() - ill.len().div_ceil(3)..];
        let values = |points: &[(f64, f64)]| points.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        let before = median(values(health)).unwrap_or(0.0);
        let highest = values(health).into_iter().fold(0.0, f64::max);
        let after = median(values(last)).unwrap_or(before);
        let grows = !health.is_empty() && after > highest + self.margin();
        // What is held can be read off at the end; a delay is a matter of several requests.
        let end = if self.is_delay() { after } else { ill.last().map_or(before, |(_, value)| *value) };
        Change { before, end, per_second: slope(ill), grows }
    }
}

/// From health to death.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The median in health.
    pub before: f64,
    /// The last that was seen; of a delay the median of the last third.
    pub end: f64,
    /// Growth a second while the fault was on.
    pub per_second: f64,
    /// It left what health had shown.
    pub grows: bool,
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[middle - 1] + upper) / 2.0)
}

/// Theil–Sen; 0 where there are no two samples.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs = points.iter().enumerate().flat_map(|(at, one)| points[at + 1..].iter().map(move |other| (one, other)));
    let slopes = pairs.filter(|(one, other)| other.0 > one.0).map(|(one, other)| (other.1 - one.1) / (other.0 - one.0));
    median(slopes.collect()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(tasks: impl Fn(f64) -> f64) -> Vec<Sample> {
        let times = (-20..80).map(|quarter| f64::from(quarter) / 4.0);
        times.map(|at| Sample { at, tasks: Some(tasks(at)), ..Sample::default() }).collect()
    }

    #[test]
    fn a_leak_grows_and_noise_does_not() {
        let leak = Measure::Tasks.change(&samples(|at| 9.0 + 6.0 * at.max(0.0)));
        assert!(leak.grows && (leak.per_second - 6.0).abs() < 0.01 && leak.before == 9.0, "{leak:?}");
        let noise = Measure::Tasks.change(&samples(|at| 20.0 + 10.0 * (at * 7.0).sin()));
        assert!(!noise.grows && noise.per_second.abs() < 0.3, "{noise:?}");
        let peak = Measure::Tasks.change(&samples(|at| if (5.0..6.0).contains(&at) { 500.0 } else { 9.0 }));
        assert!(!peak.grows && peak.per_second == 0.0, "{peak:?}");
    }

    #[test]
    fn what_was_never_seen_does_not_grow() {
        let change = Measure::Threads.change(&samples(|_| 1.0));
        assert_eq!(change, Change { before: 0.0, end: 0.0, per_second: 0.0, grows: false });
        assert!(!Measure::Tasks.change(&[]).grows);
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
