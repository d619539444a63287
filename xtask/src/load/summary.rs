//! A run in a few figures. Latencies count from the moment a request was due, not from when the client got round to
//! sending it: a stalled service cannot hide behind a stalled client (no coordinated omission).

use super::record::Record;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Requests that ended.
    pub requests: usize,
    /// Of these, answered in full.
    pub good: usize,
    /// Good answers a second.
    pub goodput: f64,
    /// How often each status came.
    pub statuses: BTreeMap<u16, usize>,
    /// Clients that went away on purpose.
    pub aborted: usize,
    /// What went wrong, and how often; at most 16 different ones.
    pub errors: BTreeMap<String, usize>,
    /// Bytes received.
    pub bytes: u64,
    /// To the first byte, of good requests, milliseconds.
    pub first_byte_ms: Percentiles,
    /// To the last byte, of good requests, milliseconds.
    pub total_ms: Percentiles,
}

/// Exact percentiles; all zero without values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// 99 in 100 are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    /// Of these values, in any order.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let Some(&max) = values.last() else { return Self::default() };
        // Nearest rank: the smallest value with at least that share at or below it.
        let at = |share: f64| values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max }
    }
}

impl Summary {
    /// Of these requests, over this many seconds.
    #[must_use]
    pub fn of(records: &[Record], seconds: f64) -> Self {
        let good: Vec<&Record> = records.iter().filter(|record| record.is_good()).collect();
        let mut statuses = BTreeMap::new();
        let mut errors = BTreeMap::new();
        for record in records {
            if let Some(status) = record.status {
                *statuses.entry(status).or_default() += 1;
            }
            if let Some(error) = &record.error {
                let key = if errors.len() < 16 || errors.contains_key(error) { error.as_str() } else { "others" };
                *errors.entry(key.to_owned()).or_default() += 1;
            }
        }
        Self {
            requests: records.len(),
            good: good.len(),
            goodput: if seconds > 0.0 { good.len() as f64 / seconds } else { 0.0 },
            statuses,
            aborted: records.iter().filter(|record| record.aborted).count(),
            errors,
            bytes: records.iter().map(|record| record.bytes).sum(),
            first_byte_ms: Percentiles::of(good.iter().filter_map(|record| record.first_byte_ms).collect()),
            total_ms: Percentiles::of(good.iter().map(|record| record.total_ms).collect()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests    {} ({} good, {} aborted on purpose)", self.requests, self.good, self.aborted)?;
        writeln!(f, "goodput     {:.2} a second, {} bytes received", self.goodput, self.bytes)?;
        let statuses: Vec<String> = self.statuses.iter().map(|(status, n)| format!("{status}: {n}")).collect();
        writeln!(f, "statuses    {}", statuses.join("  "))?;
        for (name, values) in [("first byte", self.first_byte_ms), ("last byte", self.total_ms)] {
            let Percentiles { p50, p90, p99, max } = values;
            writeln!(f, "{name:11} p50 {p50:.0} ms  p90 {p90:.0} ms  p99 {p99:.0} ms  max {max:.0} ms")?;
        }
        self.errors.iter().try_for_each(|(error, n)| writeln!(f, "error       {n} x {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(values), Percentiles { p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 });
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
        assert_eq!(Percentiles::of(vec![4.0]).p99, 4.0);
    }

    #[test]
    fn failures_are_not_goodput() {
        let good = Record { status: Some(200), first_byte_ms: Some(5.0), total_ms: 9.0, ..Record::default() };
        let shed = Record { status: Some(429), ..Record::default() };
        let cut = Record { status: Some(200), error: Some("answer: reset".into()), ..Record::default() };
        let summary = Summary::of(&[good, shed, cut], 2.0);
        assert_eq!((summary.requests, summary.good, summary.goodput), (3, 1, 0.5));
        assert_eq!(summary.statuses, BTreeMap::from([(200, 2), (429, 1)]));
        assert_eq!(summary.errors["answer: reset"], 1);
    }
}
