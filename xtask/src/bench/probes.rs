//! `cargo xtask bench probes`: what observing costs whom, and how right it is, each figure beside its target.
//!
//! Every figure comes from runs with and without that take turns, in an order drawn at random: what the machine does
//! besides is in both. It is told with 95 % bounds (bootstrap). A target that is missed is told, and is an error only
//! with `--strict`.

pub(crate) mod figure;
mod idle;
mod kernel;
pub(super) mod lines;
mod load;
pub(super) mod mill;
pub(super) mod own;
pub(crate) mod row;
mod services;

use crate::{process, setup};
use anyhow::{Context as _, bail};
use row::{Row, Table};

/// Options.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Only these parts
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(ALL.iter().map(|part| part.name)))]
    only: Vec<String>,
    /// Times that with and without take turns
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// A missed target is an error
    #[arg(long)]
    strict: bool,
}

/// What a part is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Times that with and without take turns.
    pub(crate) rounds: u32,
}

/// One thing that is measured.
pub(crate) struct Part {
    /// As `--only` takes it.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    /// Does it. Whatever it says meanwhile goes to standard error.
    pub(crate) run: fn(&Setting) -> anyhow::Result<Vec<Row>>,
}

/// All of them.
pub(crate) const ALL: &[Part] = &[
    kernel::COST,
    kernel::CROWD,
    kernel::STACKS,
    kernel::RETRANSMITS,
    load::LOAD,
    idle::IDLE,
    services::NGINX,
    services::REDIS,
    services::GO,
    services::TRANSCODER,
];

/// Runs the parts that are wanted.
///
/// # Errors
/// Something could not be measured, or, if that was asked for, a target is missed.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    process::require_root("measuring the probes")?;
    setup::prepare(&setup::Plan {
        command: "cargo xtask bench probes",
        needs: setup::PROBES,
        privileges: "root: BPF programs and network namespaces",
        changes: &["compiles into target/; namespaces and programs are gone at the end"],
    })?;
    process::build_missing()?;
    measured(ALL, &args.only, &Setting { rounds: args.rounds }, args.json, args.strict)
}

/// Measures the parts that are wanted (all, where none is named), and prints their figures.
///
/// # Errors
/// Something could not be measured, or, if that was asked for, a target is missed.
pub(super) fn measured(
    parts: &[Part],
    only: &[String],
    setting: &Setting,
    json: bool,
    strict: bool,
) -> anyhow::Result<()> {
    let mut table = Table::default();
    for part in parts.iter().filter(|part| only.is_empty() || only.iter().any(|name| name == part.name)) {
        eprintln!("{}: {} …", part.name, part.about);
        let rows = (part.run)(setting).with_context(|| format!("measure {}", part.name))?;
        table.add(part.name, rows);
    }
    table.print(json)?;
    let missed = table.missed();
    if strict && missed > 0 {
        bail!("{missed} targets missed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_can_be_typed() {
        for (at, part) in ALL.iter().enumerate() {
            assert!(ALL[..at].iter().all(|other| other.name != part.name), "{} twice", part.name);
            assert!(part.name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{}", part.name);
        }
    }
}
