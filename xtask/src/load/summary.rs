//! A run in a few figures. Latencies count from the moment a request was due, not from when the client got round to
//! sending it: a stalled service cannot hide behind a stalled client (no coordinated omission).
//!
//! Percentiles are of HDR histograms, exact to three digits: their memory (a megabyte) does not grow with the run.

use super::record::Record;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// Different errors that are told apart.
const ERRORS: usize = 16;
/// The longest time that a histogram tells from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Requests that ended.
    pub requests: usize,
    /// Of these, answered in full.
    pub good: usize,
    /// Good answers a second.
    pub goodput: f64,
    /// Pictures a second in good answers.
    pub frames_per_second: f64,
    /// How often each status came.
    pub statuses: BTreeMap<u16, usize>,
    /// Clients that went away on purpose.
    pub aborted: usize,
    /// Clients that stopped sending on purpose and stayed.
    pub stalled: usize,
    /// Of these, still waiting for the service to end them when their own time was up.
    pub stalled_unended: usize,
    /// What went wrong, and how often; at most 16 different ones.
    pub errors: BTreeMap<String, usize>,
    /// Bytes received.
    pub bytes: u64,
    /// From when they were due until they were sent, milliseconds.
    pub lag_ms: Percentiles,
    /// To the first byte, of good requests, milliseconds.
    pub first_byte_ms: Percentiles,
    /// To the last byte, of good requests, milliseconds.
    pub total_ms: Percentiles,
    /// Attempts that were answered 429.
    pub refused: u64,
    /// To the head of a 429, milliseconds.
    pub refused_ms: Percentiles,
    /// Until the service ended a stalled upload, milliseconds.
    pub stalled_ms: Percentiles,
}

/// Percentiles; all zero without values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// 99 in 100 are below.
    pub p99: f64,
    /// 999 in 1,000 are below.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

/// Times in a histogram, which is made with the first of them.
#[derive(Debug, Default)]
struct Times(Option<Histogram<u64>>);

impl Times {
    fn add(&mut self, milliseconds: f64) {
        if self.0.is_none() {
            // Constant bounds: they are valid, or the first test fails.
            self.0 = Histogram::new_with_bounds(1, LONGEST, 3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record((milliseconds * 1e3).max(0.0) as u64);
        }
    }

    fn percentiles(&self) -> Percentiles {
        let Some(histogram) = &self.0 else { return Percentiles::default() };
        let at = |share: f64| histogram.value_at_quantile(share) as f64 / 1e3;
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

/// The figures of a run while it goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    summary: Summary,
    frames: u64,
    lag: Times,
    first_byte: Times,
    total: Times,
    refused: Times,
    stalled: Times,
}

impl Tally {
    /// A request ended.
    pub(super) fn add(&mut self, record: &Record) {
        let summary = &mut self.summary;
        summary.requests += 1;
        summary.bytes += record.bytes;
        if let Some(status) = record.status {
            *summary.statuses.entry(status).or_default() += 1;
        }
        if record.attempts > 0 {
            self.lag.add(record.lag_ms);
        }
        if record.aborted {
            summary.aborted += 1;
        } else if record.stalled {
            summary.stalled += 1;
            if record.error.as_ref().is_some_and(|error| error.starts_with("timeout")) {
                summary.stalled_unended += 1;
            } else {
                self.stalled.add(record.total_ms);
            }
        } else if let Some(error) = &record.error {
            let known = summary.errors.len() < ERRORS || summary.errors.contains_key(error);
            *summary.errors.entry(if known { error.clone() } else { "others".into() }).or_default() += 1;
        } else if record.is_good() {
            summary.good += 1;
            self.frames += record.frames;
            self.total.add(record.total_ms);
            if let Some(first_byte) = record.first_byte_ms {
                self.first_byte.add(first_byte);
            }
        }
    }

    /// An attempt was refused.
    pub(super) fn refused(&mut self, after_ms: f64) {
        self.summary.refused += 1;
        self.refused.add(after_ms);
    }

    /// All so far, over this many seconds.
    pub(super) fn summary(&self, seconds: f64) -> Summary {
        let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        Summary {
            goodput: rate(self.summary.good as f64),
            frames_per_second: rate(self.frames as f64),
            lag_ms: self.lag.percentiles(),
            first_byte_ms: self.first_byte.percentiles(),
            total_ms: self.total.percentiles(),
            refused_ms: self.refused.percentiles(),
            stalled_ms: self.stalled.percentiles(),
            ..self.summary.clone()
        }
    }
}

impl Summary {
    /// Of these requests, over this many seconds. Attempts that were tried again are not among them.
    #[must_use]
    pub fn of(records: &[Record], seconds: f64) -> Self {
        let mut tally = Tally::default();
        for record in records {
            tally.add(record);
            if let (Some(429), Some(after)) = (record.status, record.head_ms) {
                tally.refused(after);
            }
        }
        tally.summary(seconds)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests    {} ({} good, {} aborted on purpose)", self.requests, self.good, self.aborted)?;
        writeln!(
            f,
            "goodput     {:.2} a second, {:.0} frames/s, {} bytes received",
            self.goodput, self.frames_per_second, self.bytes
        )?;
        let statuses: Vec<String> = self.statuses.iter().map(|(status, n)| format!("{status}: {n}")).collect();
        writeln!(f, "statuses    {}", statuses.join("  "))?;
        for (name, values) in [("first byte", self.first_byte_ms), ("last byte", self.total_ms)] {
            writeln!(f, "{name:11} {values}")?;
        }
        if self.refused > 0 {
            writeln!(f, "refusals    {} ({:.0} ms p99.9)", self.refused_ms, self.refused_ms.p999)?;
        }
        if self.stalled > 0 {
            let (ended, left) = (self.stalled - self.stalled_unended, self.stalled_unended);
            writeln!(f, "stalled     {ended} ended by the service: {}; {left} not", self.stalled_ms)?;
        }
        self.errors.iter().try_for_each(|(error, n)| writeln!(f, "error       {n} x {error}"))
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p90, p99, max, .. } = self;
        write!(f, "p50 {p50:.0} ms  p90 {p90:.0} ms  p99 {p99:.0} ms  max {max:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let mut times = Times::default();
        assert_eq!(times.percentiles(), Percentiles::default());
        (1..=1000).rev().for_each(|value| times.add(f64::from(value)));
        let Percentiles { p50, p90, p99, p999, max } = times.percentiles();
        for (got, wanted) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1000.0)] {
            assert!((got / wanted - 1.0).abs() < 0.001, "{got} for {wanted}");
        }
    }

    #[test]
    fn failures_are_not_goodput() {
        let good =
            Record { status: Some(200), first_byte_ms: Some(5.0), total_ms: 9.0, frames: 60, ..Record::default() };
        let shed = Record { status: Some(429), head_ms: Some(3.0), ..Record::default() };
        let cut = Record { status: Some(200), error: Some("answer: reset".into()), ..Record::default() };
        let summary = Summary::of(&[good, shed, cut], 2.0);
        assert_eq!((summary.requests, summary.good, summary.goodput), (3, 1, 0.5));
        assert_eq!((summary.frames_per_second, summary.refused), (30.0, 1));
        assert_eq!(summary.statuses, BTreeMap::from([(200, 2), (429, 1)]));
        assert_eq!(summary.errors["answer: reset"], 1);
    }

    #[test]
    fn what_clients_do_on_purpose_is_no_error() {
        let reset = Some("answer: reset".to_owned());
        let stalled = Record { stalled: true, total_ms: 3e4, error: reset, ..Record::default() };
        let left = Record { error: Some("timeout after 30 s".into()), ..stalled.clone() };
        let gone = Record { aborted: true, status: Some(200), ..Record::default() };
        let summary = Summary::of(&[stalled, left, gone], 1.0);
        assert_eq!((summary.stalled, summary.stalled_unended, summary.aborted, summary.good), (2, 1, 1, 0));
        assert!(summary.errors.is_empty(), "{summary}");
        assert!((summary.stalled_ms.p50 - 3e4).abs() < 30.0, "{summary}");
    }

    #[test]
    fn errors_are_bounded() {
        let failed = |n| Record { error: Some(format!("error {n}")), ..Record::default() };
        let summary = Summary::of(&(0..100).map(failed).collect::<Vec<_>>(), 1.0);
        assert_eq!(summary.errors.len(), ERRORS + 1);
        assert_eq!(summary.errors["others"], 100 - ERRORS);
    }
}
