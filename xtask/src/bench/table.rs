//! The score card: each figure beside its target.

use anyhow::Context as _;
use serde::Serialize;
use std::fmt;

/// A figure, as the median of several, with the smallest and the largest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figure {
    /// Of these values, of which there is at least one.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 };
        Self { median, min: at(0), max: at(sorted.len().wrapping_sub(1)) }
    }
}

/// What a figure must keep to.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing: it is told for information.
    None,
}

/// A line of the card.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    service: Option<f64>,
    ffmpeg: Option<f64>,
    unit: &'static str,
    /// What is judged: a ratio, or the service's figure itself.
    judged: Figure,
    judged_unit: &'static str,
    target: Target,
    ok: bool,
}

impl Row {
    /// A figure of the service's own.
    pub(crate) fn own(name: impl Into<String>, judged: Figure, unit: &'static str, target: Target) -> Self {
        let ok = target.holds(judged.median);
        Self { name: name.into(), service: None, ffmpeg: None, unit: "", judged, judged_unit: unit, target, ok }
    }

    /// A single value.
    pub(crate) fn value(name: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        Self::own(name, Figure { median: value, min: value, max: value }, unit, target)
    }

    /// The service's figures beside the `ffmpeg` command's, run by run.
    pub(crate) fn paired(
        name: impl Into<String>,
        pairs: &[(f64, f64)],
        unit: &'static str,
        judge: fn(f64, f64) -> f64,
        target: Target,
    ) -> Self {
        let of = |pick: fn(&(f64, f64)) -> f64| Figure::of(&pairs.iter().map(pick).collect::<Vec<_>>()).median;
        let judged = Figure::of(&pairs.iter().map(|(ours, theirs)| judge(*ours, *theirs)).collect::<Vec<_>>());
        let judged_unit = if unit == "dB" { "dB" } else { "x" };
        let (service, ffmpeg) = (Some(of(|pair| pair.0)), Some(of(|pair| pair.1)));
        Self { name: name.into(), service, ffmpeg, unit, judged, judged_unit, target, ok: target.holds(judged.median) }
    }
}

impl Target {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::None => String::new(),
        }
    }
}

/// All lines, and what must be said about how they came about.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Card {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

impl Card {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// How many targets are missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| !row.ok).count()
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self).context("score card")?);
            return Ok(());
        }
        print!("{self}");
        Ok(())
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let head = ["", "service", "ffmpeg", "judged", "min..max", "target"];
        writeln!(f, "{:<42}{:>14}{:>14}{:>12}{:>20}{:>10}", head[0], head[1], head[2], head[3], head[4], head[5])?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        writeln!(f, "{} figures, {} over", self.rows.len(), self.missed())
    }
}

fn line(row: &Row) -> String {
    let side = |value: Option<f64>| value.map(|value| format!("{} {}", number(value), row.unit)).unwrap_or_default();
    let Figure { median, min, max } = row.judged;
    let judged = format!("{} {}", number(median), row.judged_unit);
    let range = if min == max { String::new() } else { format!("{}..{}", number(min), number(max)) };
    let verdict = match (row.target, row.ok) {
        (Target::None, _) => "",
        (_, true) => "ok",
        (_, false) => "OVER",
    };
    let (service, ffmpeg, target) = (side(row.service), side(row.ffmpeg), row.target.text());
    format!("{:<42}{service:>14}{ffmpeg:>14}{judged:>12}{range:>20}{target:>10} {verdict}", row.name)
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.995 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Figure::of(&[3.0, 1.0, 2.0]).median, 2.0);
        let four = Figure::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((four.median, four.min, four.max), (2.5, 1.0, 4.0));
        assert!(Figure::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_run_by_run_and_judged_by_their_median() {
        let ratio = |ours: f64, theirs: f64| ours / theirs;
        let pairs = [(1.0, 1.0), (2.2, 2.0), (9.0, 3.0)];
        let row = Row::paired("CPU", &pairs, "s", ratio, Target::AtMost(1.05));
        assert!((row.judged.median - 1.1).abs() < 1e-9 && !row.ok, "{row:?}");
        assert!(Row::paired("CPU", &pairs, "s", ratio, Target::AtLeast(1.05)).ok);
        let mut card = Card::new("a card");
        card.rows = vec![row, Row::value("frames", f64::NAN, "", Target::AtLeast(0.9))];
        assert_eq!(card.missed(), 2, "what is not a number meets no target");
    }
}
