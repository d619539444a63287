//! `cargo xtask bench engine`: what spans and kernel events cost the engine and the whole agent, beside their targets.
//!
//! `steps` is the engine alone in simulated time, by its own benchmark; `live` the agent under real kernel events and real
//! OTLP over gRPC at the same time. The rates are those that it must carry: 20,000 spans and 100,000 kernel events a
//! second. Figures have 95 % bounds (bootstrap); a target that is missed is an error only with `--strict`.

mod exporter;
mod live;
mod otlp;
mod steps;

use super::probes::{Part, Setting, measured};

/// Options.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Only these parts
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(ALL.iter().map(|part| part.name)))]
    only: Vec<String>,
    /// Values that each figure is the median of
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// A missed target is an error
    #[arg(long)]
    strict: bool,
}

/// All of them.
const ALL: &[Part] = &[steps::STEPS, live::LIVE];

/// Runs the parts that are wanted.
///
/// # Errors
/// Something could not be measured, or, if that was asked for, a target is missed.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    measured(ALL, &args.only, &Setting { rounds: args.rounds }, args.json, args.strict)
}
