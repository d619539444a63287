//! The commands. Each is one small file: its flags, and what it does with them.

pub(crate) mod client;
mod doctor;
mod explain;
mod incidents;
mod leakcheck;
mod metrics;
mod profile;
mod replay;
mod run;
mod why;

use crate::failure::Failure;
use clap::{Parser, Subcommand};

/// Sees a cascade start in the kernel, names its cause, and sheds load before the service falls over.
#[derive(Debug, Parser)]
#[command(name = "snowshed", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch processes, find causes, alert, and (only with --enforce) shed load
    Run(Box<run::Args>),
    /// One look at a process: what it leaks, where it stalls, and how long it has; no agent needed
    Why(why::Args),
    /// Runs a program or a test suite; exit 1 if it leaves descriptors, threads or children behind
    Leakcheck(leakcheck::Args),
    /// What works on this machine, why the rest does not, and what would help
    Doctor(doctor::Args),
    /// The agent's incidents, newest first
    Incidents(incidents::Args),
    /// One incident with its causes, evidence and actions
    Explain(explain::Args),
    /// Where a process opens, grows, stalls, computes, waits or makes threads: a table, a flame graph, or pprof
    Profile(profile::Args),
    /// Decide again about a recording made by `run --record`
    Replay(replay::Args),
    /// The reference of all metrics, as Markdown
    #[command(hide = true)]
    Metrics,
}

impl Args {
    /// What goes to standard error unless `SNOWSHED_LOG` says otherwise: an agent tells what it does,
    /// the other commands have their answer for that.
    pub(crate) fn log_level(&self) -> &'static str {
        match self.command {
            Command::Run(_) => "info",
            _ => "error",
        }
    }
}

/// Runs the command that was named.
///
/// # Errors
/// An exit code and a sentence.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Run(args) => run::run(*args),
        Command::Why(args) => why::run(&args),
        Command::Leakcheck(args) => leakcheck::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Incidents(args) => incidents::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Metrics => metrics::run(),
    }
}

/// Prints to standard output; a reader that has gone away (`| head`) is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!("standard output: {error}"))),
        _ => Ok(()),
    }
}

/// Prints JSON, indented.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    print(&format!("{text}\n"))
}
