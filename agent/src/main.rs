//! `snowshed`: the command line. Exit codes only; everything else is in the modules.

mod actuators;
mod api;
mod app;
mod cli;
mod clock;
mod config;
mod decide;
mod failure;
mod metrics;
mod names;
mod own;
mod problem;
mod record;
mod render;
mod sinks;
mod sources;
mod store;

use clap::Parser as _;
use std::{io::IsTerminal as _, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    own::keep_memory_small();
    let args = cli::Args::parse();
    // Standard output is for answers; what the agent says about itself goes to standard error.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::try_from_env("SNOWSHED_LOG").unwrap_or_else(|_| EnvFilter::new(args.log_level())))
        .init();
    match cli::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("snowshed: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}
