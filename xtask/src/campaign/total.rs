//! A campaign in a few lines: how often it was right, how soon, and where it was worst.

use super::{
    score::NO_NAME,
    stage::Run,
    table::{Row, median, number},
};
use serde::Serialize;
use std::fmt;

/// All runs with a fault that is in the catalogue, and those whose cause has no name.
#[derive(Debug, Default, Serialize)]
pub(super) struct Total {
    faults: usize,
    top1: usize,
    top3: usize,
    /// Seconds from the onset to the first name: the median, and that of the slowest in twenty.
    named: Option<f64>,
    named_p95: Option<f64>,
    /// The same from the beginning of the evidence.
    took: Option<f64>,
    took_p95: Option<f64>,
    /// The same until it was first suspected, or else named.
    knew: Option<f64>,
    knew_p95: Option<f64>,
    /// Of the runs in which anything was suspected after the onset, those where the first of it was the truth.
    suspected: (usize, usize),
    /// Other causes that were suspected, in all runs, the healthy ones and those outside the catalogue too.
    wrong_suspicions: usize,
    /// The scenario with the least share of right names, and that share.
    worst: Option<(String, f64)>,
    /// Runs whose cause has no name, and in how many of them none was given.
    outside: (usize, usize),
}

impl Total {
    pub(super) fn of(runs: &[Run], scenarios: &[Row]) -> Self {
        let done = || runs.iter().filter(|run| run.skipped.is_none() && run.truth.is_some());
        let known: Vec<&Run> = done().filter(|run| run.truth != Some(NO_NAME)).collect();
        let outside: Vec<&Run> = done().filter(|run| run.truth == Some(NO_NAME)).collect();
        let right = |row: &Row| row.top1 as f64 / row.faults as f64;
        let judged = scenarios.iter().filter(|row| row.faults > 0 && row.truth != Some(NO_NAME));
        let worst = judged.min_by(|a, b| right(a).total_cmp(&right(b))).map(|row| (row.name.clone(), right(row)));
        let named = || known.iter().filter_map(|run| run.score.named).collect();
        let took = || known.iter().filter_map(|run| run.score.took).collect();
        let knew = || known.iter().filter_map(|run| run.score.knew).collect();
        let suspected: Vec<bool> = known.iter().filter_map(|run| run.suspected).collect();
        Self {
            faults: known.len(),
            top1: known.iter().filter(|run| run.score.top1).count(),
            top3: known.iter().filter(|run| run.score.top3).count(),
            named: median(named()),
            named_p95: slow(named()),
            took: median(took()),
            took_p95: slow(took()),
            knew: median(knew()),
            knew_p95: slow(knew()),
            suspected: (suspected.len(), suspected.iter().filter(|right| **right).count()),
            wrong_suspicions: runs.iter().map(|run| run.wrong_suspicions).sum(),
            worst,
            outside: (outside.len(), outside.iter().filter(|run| run.score.top1).count()),
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |some: usize| format!("{some}/{} ({:.2})", self.faults, some as f64 / self.faults.max(1) as f64);
        let (named, p95) = (number(self.named, 1), number(self.named_p95, 1));
        write!(
            f,
            "faults: top-1 {}, top-3 {}; named after {named} s, {p95} s in the slowest of twenty ({} s and {} s from the beginning of the evidence; {} s and {} s until suspected or named)",
            share(self.top1),
            share(self.top3),
            number(self.took, 1),
            number(self.took_p95, 1),
            number(self.knew, 1),
            number(self.knew_p95, 1)
        )?;
        if let Some((name, right)) = &self.worst {
            write!(f, "; worst: {name} with {right:.2}")?;
        }
        let (any, right) = self.suspected;
        write!(f, "\nsuspected first: {right} of {any} right; {} other suspicions in all runs", self.wrong_suspicions)?;
        writeln!(f, "\noutside the catalogue: {} of {} without a name", self.outside.1, self.outside.0)
    }
}

/// What one in twenty exceeds.
fn slow(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 19).div_ceil(20).saturating_sub(1)).copied()
}
