//! How forecasts turned out: how long before the end the first was told, how often the interval held it, and how wide it was.
//!
//! Invariant: pure; told at most every [`APART`] seconds, so that no stretch of time counts more than another.

use super::table::median;
use serde::Serialize;

/// Between two forecasts that count, seconds.
const APART: f64 = 5.0;

/// A forecast, seconds: when it was told, after the onset, and the least and the most that it gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) at: f64,
    pub(super) eta: (f64, f64),
}

/// How the forecasts of a run turned out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// From the onset to the end, seconds.
    pub(super) lasted: f64,
    /// From the first forecast to the end, seconds.
    pub(super) lead: f64,
    /// Forecasts, and how many of them held the end.
    pub(super) told: usize,
    pub(super) held: usize,
    /// Width of the interval as a share of the true time; median.
    pub(super) width: f64,
}

/// Takes a forecast if it is long enough after the last one.
pub(super) fn note(all: &mut Vec<Told>, told: Told) {
    if all.last().is_none_or(|last| told.at - last.at >= APART) {
        all.push(told);
    }
}

/// What was told, held against the end; `None` if nothing was.
pub(super) fn outcome(all: &[Told], end: f64) -> Option<Outcome> {
    let before: Vec<&Told> = all.iter().filter(|told| told.at < end).collect();
    let first = before.first()?;
    let held = before.iter().filter(|told| (told.eta.0..=told.eta.1).contains(&(end - told.at))).count();
    let width = median(before.iter().map(|told| (told.eta.1 - told.eta.0) / (end - told.at)).collect())?;
    Some(Outcome { lasted: end, lead: end - first.at, told: before.len(), held, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecasts_are_held_against_the_end() {
        let mut all = Vec::new();
        for (at, eta) in [(40.0, (50.0, 70.0)), (42.0, (0.0, 1.0)), (60.0, (45.0, 80.0)), (90.0, (10.5, 20.0))] {
            note(&mut all, Told { at, eta });
        }
        let told = outcome(&all, 100.0).unwrap();
        assert_eq!(
            (told.lead, told.told, told.held),
            (60.0, 3, 1),
            "60 s hold 50 to 70; 40 s are less than 45: {told:?}"
        );
        assert!((told.width - 0.875).abs() < 1e-9, "{told:?}");
        assert_eq!(outcome(&all, 30.0), None);
        assert_eq!(outcome(&[], 30.0), None);
    }
}
