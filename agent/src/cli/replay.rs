//! `snowshed replay`: the same decisions again, from a recording.
//!
//! Invariant: the recording's own times are the only clock, so the outcome depends on nothing else than
//! the recording, the settings and this version of the engine.

use super::print;
use crate::{config::Config, failure::Failure, record, render::wire_name};
use snowshed_engine::{
    Engine,
    model::{Change, Nanos, Output, Verdict},
};
use std::path::PathBuf;

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A recording made by `snowshed run --record`
    file: PathBuf,
    /// Settings (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Objectives, OpenSLO v1 (may be repeated)
    #[arg(long, value_name = "FILE")]
    slo: Vec<PathBuf>,
    /// Every decision as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Replays a recording.
///
/// # Errors
/// The recording or the settings cannot be read.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = match &args.config {
        Some(path) => Config::read(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    config.slo.extend(args.slo.iter().cloned());
    config.read_slos().map_err(Failure::usage)?;
    let mut engine = Engine::new(config.engine);
    let (mut out, mut first, mut count) = (Vec::new(), None, 0_u64);
    for line in record::lines(&args.file).map_err(Failure::usage)? {
        let line = line.map_err(Failure::usage)?;
        let start = *first.get_or_insert(line.now);
        // What was due before this line happened before it.
        while engine.next_deadline() < line.now {
            let due = engine.next_deadline();
            engine.tick(due, &mut out);
            show(args.json, due, start, &mut out)?;
            if engine.next_deadline() <= due {
                break;
            }
        }
        engine.step(line.now, &line.observation, &mut out);
        show(args.json, line.now, start, &mut out)?;
        count += 1;
    }
    if args.json { Ok(()) } else { print(&format!("{count} observations\n")) }
}

fn show(json: bool, now: Nanos, start: Nanos, out: &mut Vec<Output>) -> Result<(), Failure> {
    for output in out.drain(..) {
        let text = if json {
            serde_json::json!({"now": now, "output": output}).to_string()
        } else {
            format!("{:>9.3} s  {}", now.saturating_sub(start) as f64 / 1e9, sentence(&output))
        };
        print(&format!("{text}\n"))?;
    }
    Ok(())
}

fn sentence(output: &Output) -> String {
    match output {
        Output::Incident(incident) => {
            let state = if incident.closed.is_some() { "closed" } else { "open" };
            let what = incident.causes.first().filter(|_| incident.verdict == Verdict::Named);
            let what = what.map_or_else(
                || format!("cause unknown; {}", incident.trigger.detail),
                |cause| format!("{} ({:.0} %): {}", wire_name(cause.kind), cause.confidence * 100.0, cause.title),
            );
            format!("incident {} {state}, {} ({}): {what}", incident.id, incident.name, incident.pid)
        }
        Output::Act(act) => {
            let change = match act.change {
                Change::Limit(limit) => format!("limit {limit}"),
                Change::Release => "release".to_owned(),
            };
            format!("{} pid {}: {change}: {}", wire_name(act.actuator), act.pid, act.reason)
        }
        Output::Ask(ask) => format!("asks {}", serde_json::to_string(ask).unwrap_or_default()),
    }
}
