//! Figures that a benchmark inside of a crate of ours prints: one line of JSON for each, with the value of every round.
//!
//! Bounds are taken and targets are known here, so that there is one place for both.

use super::{
    figure::Figure,
    row::{Row, Target},
};
use anyhow::{Context as _, bail};
use serde::Deserialize;

/// What figures must keep to whose names begin and end so.
pub(in crate::bench) type Rule = (&'static str, &'static str, Target);

/// A line of the benchmark.
#[derive(Debug, Deserialize)]
struct Line {
    what: String,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Measured {
    /// One of each round.
    Values { unit: String, values: Vec<f64> },
    /// So many of so many.
    Share { of: u64, all: u64 },
}

/// The rows of what it printed. Cargo's own arguments for benchmarks may make it print more than lines of ours.
pub(in crate::bench) fn rows(text: &str, rules: &[Rule]) -> anyhow::Result<Vec<Row>> {
    text.lines().filter(|line| line.starts_with('{')).map(|line| row(line, rules)).collect()
}

fn row(text: &str, rules: &[Rule]) -> anyhow::Result<Row> {
    let line: Line = serde_json::from_str(text).with_context(|| format!("a line of the benchmark: {text}"))?;
    let (figure, unit) = match line.measured {
        Measured::Values { unit, values } => (Figure::of(&values), known(&unit)?),
        Measured::Share { of, all } => (Figure::share(of, all), ""),
    };
    let target = target(&line.what, rules);
    Ok(Row::new(line.what, figure, unit, target))
}

fn known(unit: &str) -> anyhow::Result<&'static str> {
    match ["ns", "us", "x", "MB", ""].into_iter().find(|known| *known == unit) {
        Some(unit) => Ok(unit),
        None => bail!("{unit}: no such unit"),
    }
}

/// The first of these whose beginning and end it has.
pub(super) fn target(what: &str, rules: &[Rule]) -> Target {
    let fits = |(begin, end, _): &&Rule| what.starts_with(begin) && what.ends_with(end);
    rules.iter().find(fits).map_or(Target::None, |(.., target)| *target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark_become_rows() {
        let rules: &[Rule] = &[("a call", "", Target::AtMost(3.0))];
        let values = row(r#"{"what":"a call","unit":"ns","values":[1.0,2.0,9.0]}"#, rules).unwrap();
        assert_eq!((values.figure.value, values.unit, values.met), (2.0, "ns", Some(true)));
        let share = row(r#"{"what":"right","of":49,"all":50}"#, rules).unwrap();
        assert!((share.figure.value - 0.98).abs() < 1e-9 && share.met.is_none());
        assert!(row(r#"{"what":"a call","unit":"furlongs","values":[]}"#, rules).is_err());
        assert_eq!(rows("running 0 tests\n\n", rules).unwrap().len(), 0);
    }
}
