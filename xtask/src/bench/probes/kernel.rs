//! The parts that need to be inside of the probes' crate: its benchmark `probes` measures, this judges.
//!
//! The benchmark prints one line of JSON for each figure: what, its unit, and the value of each round. Here the bounds
//! are taken and the targets are known, so that there is one place for both. Cost: compiling it, once.

use super::{
    Part, Setting,
    figure::Figure,
    row::{Row, Target},
};
use crate::{process, program};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::process::Stdio;

/// What the hooks add to calls.
pub(super) const COST: Part = Part {
    name: "cost",
    about: "what the hooks add to calls of watched and unwatched processes, beside bpftrace",
    run: |setting| measure("cost", setting),
};

/// What a copied stack costs.
pub(super) const STACKS: Part = Part {
    name: "stacks",
    about: "what a sampled stack costs in the kernel, and on the host before it is named",
    run: |setting| measure("stacks", setting),
};

/// How right retransmits are named.
pub(super) const RETRANSMITS: Part = Part {
    name: "retransmits",
    about: "whose bytes were sent again between two hosts that lose 3 %, against the sender's own sequence numbers",
    run: |setting| measure("retransmits", setting),
};

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

fn measure(part: &str, setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut cargo = program::cargo();
    cargo.args(["bench", "--quiet", "--locked", "-p", "snowshed-ebpf", "--bench", "probes", "--", "--part", part]);
    cargo.args(["--rounds", &setting.rounds.to_string()]).current_dir(process::root()).stderr(Stdio::inherit());
    let text = program::output(&mut cargo)?;
    // Cargo's own arguments for benchmarks may make it print more than lines of ours.
    text.lines().filter(|line| line.starts_with('{')).map(row).collect()
}

fn row(text: &str) -> anyhow::Result<Row> {
    let line: Line = serde_json::from_str(text).with_context(|| format!("a line of the benchmark: {text}"))?;
    let (figure, unit) = match line.measured {
        Measured::Values { unit, values } => (Figure::of(&values), known(&unit)?),
        Measured::Share { of, all } => (Figure::share(of, all), ""),
    };
    let target = target(&line.what);
    Ok(Row::new(line.what, figure, unit, target))
}

fn known(unit: &str) -> anyhow::Result<&'static str> {
    match ["ns", "us", "x", ""].into_iter().find(|known| *known == unit) {
        Some(unit) => Ok(unit),
        None => bail!("{unit}: no such unit"),
    }
}

/// What a figure must keep to.
fn target(_what: &str) -> Target {
    Target::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark_become_rows() {
        let values = row(r#"{"what":"a call","unit":"ns","values":[1.0,2.0,9.0]}"#).unwrap();
        assert_eq!((values.figure.value, values.unit), (2.0, "ns"));
        let share = row(r#"{"what":"right","of":49,"all":50}"#).unwrap();
        assert!((share.figure.value - 0.98).abs() < 1e-9);
        assert!(row(r#"{"what":"a call","unit":"furlongs","values":[]}"#).is_err());
    }
}
