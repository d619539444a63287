//! What was measured beside what it must be.

use super::figure::Figure;
use anyhow::Context as _;
use serde::Serialize;
use std::fmt;

/// What a figure must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The figure itself.
    AtMost(f64),
    /// The figure itself.
    AtLeast(f64),
    /// The upper bound: even if the truth lies there.
    SurelyAtMost(f64),
    /// The lower bound.
    SurelyAtLeast(f64),
    /// Nothing: it is told for information.
    None,
}

impl Target {
    /// Whether the figure keeps to it; what is not a number does not.
    fn holds(self, figure: Figure) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(figure.value <= limit),
            Self::AtLeast(limit) => Some(figure.value >= limit),
            Self::SurelyAtMost(limit) => Some(figure.high <= limit),
            Self::SurelyAtLeast(limit) => Some(figure.low >= limit),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::SurelyAtMost(limit) => format!("high <= {limit}"),
            Self::SurelyAtLeast(limit) => format!("low >= {limit}"),
            Self::None => String::new(),
        }
    }
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: Figure,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
    /// `None`: there is no target.
    pub(crate) met: Option<bool>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, figure: Figure, unit: &'static str, target: Target) -> Self {
        Self { what: what.into(), figure, unit, target, met: target.holds(figure) }
    }
}

/// The lines of one part.
#[derive(Debug, Serialize)]
struct Section {
    part: &'static str,
    rows: Vec<Row>,
}

/// All lines.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Table {
    sections: Vec<Section>,
}

impl Table {
    pub(crate) fn add(&mut self, part: &'static str, rows: Vec<Row>) {
        self.sections.push(Section { part, rows });
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|section| &section.rows)
    }

    /// How many targets are missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows().filter(|row| row.met == Some(false)).count()
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self).context("figures")?);
        } else {
            print!("{self}");
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(f, "{}", section.part)?;
            section.rows.iter().try_for_each(|row| writeln!(f, "  {}", line(row)))?;
        }
        writeln!(f, "{} figures, {} targets missed", self.rows().count(), self.missed())
    }
}

fn line(row: &Row) -> String {
    let Figure { value, low, high } = row.figure;
    let bounds = if low == high { String::new() } else { format!("{}..{}", number(low), number(high)) };
    let verdict = match row.met {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    let line =
        format!("{:<58}{:>9} {:<4}{bounds:>18}  {:<14}{verdict}", row.what, number(value), row.unit, row.target.text());
    line.trim_end().to_owned()
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_held_against_the_figure_or_its_bound() {
        let figure = Figure { value: 10.0, low: 8.0, high: 12.0 };
        let met = |target| Row::new("x", figure, "ns", target).met;
        assert_eq!(met(Target::AtMost(11.0)), Some(true));
        assert_eq!(met(Target::SurelyAtMost(11.0)), Some(false));
        assert_eq!(met(Target::AtLeast(9.0)), Some(true));
        assert_eq!(met(Target::SurelyAtLeast(9.0)), Some(false));
        assert_eq!(met(Target::None), None);
        assert_eq!(Row::new("x", Figure::of(&[]), "", Target::AtMost(1.0)).met, Some(false), "not measured is missed");
    }

    #[test]
    fn a_missed_target_is_counted_and_shown() {
        let mut table = Table::default();
        let row = |target| Row::new("open and close", Figure::exact(700.0), "ns", target);
        table.add("cost", vec![row(Target::AtMost(650.0)), row(Target::AtMost(750.0)), row(Target::None)]);
        assert_eq!(table.missed(), 1);
        let text = table.to_string();
        assert!(text.contains("MISSED") && text.contains("3 figures, 1 targets missed"), "{text}");
    }
}
