//! What a campaign came to, as tables and as JSON.

use super::{stage::Run, total::Total};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// More pressure than this on the processors before the onset, and the run was disturbed by others.
const DISTURBED: f64 = 0.35;
/// Bounds of the buckets of confidence.
const BUCKETS: [(f64, f64); 4] = [(0.0, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 1.01)];

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    runs: Vec<Run>,
    scenarios: Vec<Row>,
    /// Totals by service.
    systems: Vec<Row>,
    /// Of all runs with a fault.
    total: Total,
    calibration: Vec<Bucket>,
    /// Of healthy services: hours watched, and incidents in them.
    healthy_hours: f64,
    false_incidents: usize,
}

/// Several runs, added up.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) truth: Option<&'static str>,
    runs: usize,
    skipped: usize,
    /// Runs with a fault, and how many were named right.
    pub(super) faults: usize,
    pub(super) top1: usize,
    top3: usize,
    /// Runs in which the place must be right, and in which it was.
    places: (usize, usize),
    /// Medians, seconds.
    detected: Option<f64>,
    named: Option<f64>,
    /// Median.
    confidence: Option<f64>,
    false_incidents: usize,
    /// Runs on a machine that was busy before the onset.
    disturbed: usize,
}

/// Incidents whose first cause had a confidence within these bounds.
#[derive(Debug, Serialize)]
struct Bucket {
    from: f64,
    below: f64,
    incidents: usize,
    right: usize,
}

impl Report {
    pub(super) fn new(runs: Vec<Run>) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for run in &runs {
            if !names.contains(&run.scenario) {
                names.push(run.scenario);
            }
        }
        let of =
            |name: &str, wanted: &dyn Fn(&&Run) -> bool| Row::of(name, &runs.iter().filter(wanted).collect::<Vec<_>>());
        let scenarios = names.iter().map(|name| of(name, &|run| run.scenario == *name)).collect();
        let systems: BTreeMap<&str, ()> = runs.iter().map(|run| (run.system, ())).collect();
        let systems = systems.keys().map(|name| of(name, &|run| run.system == *name)).collect();
        let bucket = |(from, below): (f64, f64)| {
            let judged =
                || runs.iter().flat_map(|run| &run.score.judged).filter(move |(sure, _)| (from..below).contains(sure));
            Bucket { from, below, incidents: judged().count(), right: judged().filter(|(_, right)| *right).count() }
        };
        let scenarios: Vec<Row> = scenarios;
        Self {
            total: Total::of(&runs, &scenarios),
            scenarios,
            systems,
            calibration: BUCKETS.map(bucket).into(),
            healthy_hours: runs.iter().map(|run| run.healthy_seconds).sum::<f64>() / 3600.0,
            false_incidents: runs.iter().map(|run| run.score.false_incidents).sum(),
            runs,
        }
    }
}

impl Row {
    fn of(name: &str, runs: &[&Run]) -> Self {
        let done: Vec<&&Run> = runs.iter().filter(|run| run.skipped.is_none()).collect();
        let faults: Vec<&&&Run> = done.iter().filter(|run| run.truth.is_some()).collect();
        let count = |wanted: &dyn Fn(&Run) -> bool| faults.iter().filter(|run| wanted(run)).count();
        Self {
            name: name.to_owned(),
            truth: runs.first().and_then(|run| run.truth),
            runs: runs.len(),
            skipped: runs.len() - done.len(),
            faults: faults.len(),
            top1: count(&|run| run.score.top1),
            top3: count(&|run| run.score.top3),
            places: (count(&|run| run.score.place.is_some()), count(&|run| run.score.place == Some(true))),
            detected: median(faults.iter().filter_map(|run| run.score.detected).collect()),
            named: median(faults.iter().filter_map(|run| run.score.named).collect()),
            confidence: median(faults.iter().filter_map(|run| run.score.confidence).collect()),
            false_incidents: done.iter().map(|run| run.score.false_incidents).sum(),
            disturbed: done.iter().filter(|run| run.pressure.0 > DISTURBED).count(),
        }
    }
}

pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// One run in a line.
pub(super) fn line(run: &Run) -> String {
    if let Some(reason) = &run.skipped {
        return format!("{}: SKIPPED: {reason}", run.scenario);
    }
    let score = &run.score;
    let verdict = match (run.truth, score.top1) {
        (None, _) if score.false_incidents == 0 => "quiet",
        (None, _) => "RAISED",
        (Some(_), true) => "right",
        (Some(_), false) => "WRONG",
    };
    let first = score.told_first.as_ref().map_or_else(String::new, |told| format!("; named first: {told}"));
    let forecast = run.forecast.map_or_else(String::new, |told| {
        format!(
            "; used up after {:.0} s, told {:.0} s before, {} of {} forecasts held it, {:.0} % of the time wide",
            told.lasted,
            told.lead,
            told.held,
            told.told,
            told.width * 100.0
        )
    });
    let left_out =
        if run.left_out.is_empty() { String::new() } else { format!("; left out: {}", run.left_out.join(", ")) };
    format!(
        "{} ({}, {}): {verdict}, detected {}, named {}, confidence {}, {} false, processors short {:.0} % / {:.0} %: {}{first}{forecast}{left_out}",
        run.scenario,
        run.truth.unwrap_or("healthy"),
        if run.spans > 0 { "spans" } else { "no spans" },
        number(score.detected, 1),
        number(score.named, 1),
        number(score.confidence, 2),
        score.false_incidents,
        run.pressure.0 * 100.0,
        run.pressure.1 * 100.0,
        if score.told.is_empty() { "nothing told" } else { &score.told },
    )
}

pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, rows) in [("scenario", &self.scenarios), ("service", &self.systems)] {
            writeln!(
                f,
                "{title:<22} {:<22} {:>4} {:>6} {:>6} {:>6} {:>9} {:>7} {:>5} {:>5}",
                "truth", "runs", "top-1", "top-3", "place", "detected", "named", "sure", "false"
            )?;
            for row in rows {
                let truth = if title == "scenario" { row.truth.unwrap_or("healthy") } else { "" };
                if row.skipped == row.runs {
                    writeln!(f, "{:<22} {truth:<22} {:>4} SKIPPED", row.name, row.runs)?;
                    continue;
                }
                let of = |some: usize, all: usize| if all == 0 { "-".into() } else { format!("{some}/{all}") };
                writeln!(
                    f,
                    "{:<22} {truth:<22} {:>4} {:>6} {:>6} {:>6} {:>9} {:>7} {:>5} {:>5}",
                    row.name,
                    row.runs,
                    of(row.top1, row.faults),
                    of(row.top3, row.faults),
                    of(row.places.1, row.places.0),
                    number(row.detected, 1),
                    number(row.named, 1),
                    number(row.confidence, 2),
                    row.false_incidents
                )?;
            }
            writeln!(f)?;
        }
        writeln!(f, "{}", self.total)?;
        writeln!(f, "confidence      incidents  right")?;
        for one in &self.calibration {
            let below = one.below.min(1.0);
            writeln!(f, "{:.2} to {below:.2} {:>12} {:>6}", one.from, one.incidents, one.right)?;
        }
        let (skipped, disturbed) =
            self.scenarios.iter().fold((0, 0), |(a, b), row| (a + row.skipped, b + row.disturbed));
        let without = self.runs.iter().filter(|run| run.skipped.is_none() && run.spans == 0).count();
        writeln!(
            f,
            "\n{} runs, {without} of them without spans, {skipped} skipped, {disturbed} on a machine that was busy before the onset; {} false incidents; {:.2} h of health",
            self.runs.len(),
            self.false_incidents,
            self.healthy_hours
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{score::Score, stage::Run};
    use super::*;

    fn run(scenario: &'static str, truth: Option<&'static str>, score: Score) -> Run {
        let pressure = (0.1, 0.2);
        Run {
            scenario,
            system: "go",
            truth,
            spans: 0,
            skipped: None,
            score,
            forecast: None,
            pressure,
            suspected: None,
            wrong_suspicions: 0,
            left_out: Vec::new(),
            healthy_seconds: 90.0,
            answered: 9,
        }
    }

    #[test]
    fn runs_are_added_up_by_scenario_and_by_service() {
        let right = Score { top1: true, top3: true, named: Some(4.0), judged: vec![(0.8, true)], ..Score::default() };
        let wrong = Score { top3: true, named: Some(8.0), judged: vec![(0.8, false)], ..Score::default() };
        let raised = Score { false_incidents: 1, judged: vec![(0.65, false)], ..Score::default() };
        let mut skipped = run("c", Some("disk_stall"), Score::default());
        skipped.skipped = Some("no disk".into());
        let all =
            vec![run("a", Some("fd_leak"), right), run("a", Some("fd_leak"), wrong), run("b", None, raised), skipped];
        let report = Report::new(all);
        let [a, b, c] = report.scenarios.as_slice() else { panic!("{report:?}") };
        assert_eq!((a.runs, a.faults, a.top1, a.top3, a.named), (2, 2, 1, 2, Some(6.0)));
        assert_eq!((b.faults, b.false_incidents, c.skipped, c.faults), (0, 1, 1, 0));
        assert_eq!((report.systems[0].runs, report.systems[0].skipped, report.systems[0].top1), (4, 1, 1));
        let buckets: Vec<_> = report.calibration.iter().map(|one| (one.incidents, one.right)).collect();
        assert_eq!(buckets, [(0, 0), (1, 0), (2, 1), (0, 0)]);
        assert!((report.healthy_hours - 0.1).abs() < 1e-9);
        let total = &report.total;
        let line = total.to_string();
        assert!(line.contains("top-1 1/2 (0.50), top-3 2/2") && line.contains("worst: a with 0.50"), "{line}");
        assert!(line.contains("named after 6.0 s, 8.0 s"), "{line}");
        let text = report.to_string();
        assert!(text.contains("SKIPPED") && text.contains("1/2"), "{text}");
    }
}
