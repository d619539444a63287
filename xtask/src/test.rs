//! `cargo xtask test`: everything that must hold, in one order, with one line of sums at the end.
//!
//! Invariant: a step that could not run is a skip, said loudly and counted; under `CI=true` a skip fails unless it is on
//! the list of allowed ones. Steps go on after a failure, so that one run shows all that is wrong.

mod context;
mod report;
mod steps;
mod watch;

pub use report::Failed;

use crate::setup;
use anyhow::bail;
use context::Context;
use report::{Outcome, Report};
use std::{path::PathBuf, time::Instant};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run only the step of this name, or a part of one, as `sidecar`
    #[arg(value_name = "NAME", conflicts_with = "only")]
    name: Option<String>,
    /// The same
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// The standard library's source, for the kernel object: see `cargo xtask ebpf --help`
    #[arg(long, value_name = "PATH")]
    rust_src: Option<PathBuf>,
}

/// Installs what is missing, runs the steps, and prints what came of them.
///
/// # Errors
/// [`Failed`] after the report was printed; or the set-up failed, or there is no such step.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let named = || steps::ALL.iter().chain(steps::PARTS);
    let steps: Vec<_> = match args.name.as_ref().or(args.only.as_ref()) {
        Some(name) => named().filter(|step| step.name == *name).collect(),
        None => steps::ALL.iter().collect(),
    };
    if steps.is_empty() {
        let names: Vec<_> = named().map(|step| step.name).collect();
        bail!("there is no such step; the steps are {}", names.join(", "));
    }
    setup::prepare(&setup::Plan {
        command: "cargo xtask test",
        needs: setup::TEST,
        privileges: "root for the end-to-end tests (BPF programs, network namespaces); skipped without",
        changes: &[
            "unpacks the source of Rust's core to /var/tmp, to rebuild the kernel object",
            "its processes, network namespaces and BPF programs are gone when it ends",
        ],
    })?;
    let mut context = Context::new(args.rust_src.clone());
    let mut report = Report::default();
    for step in steps {
        println!("\n== {}: {}", step.name, step.about);
        let start = Instant::now();
        let outcome = (step.run)(&mut context).unwrap_or_else(|error| Outcome::failed(format!("{error:#}")));
        println!("-- {}", report.add(step.name, outcome, start.elapsed()));
    }
    let (text, good) = report.finish(std::env::var("CI").is_ok_and(|value| value == "true"));
    println!("\n== summary\n{text}");
    Ok(good?)
}
