//! Measures the transcoder, against the `ffmpeg` command on the same files with the same settings and against its own
//! targets; and the probes and the engine, against theirs.
//!
//! Figures are medians of alternating runs, with the smallest and the largest beside them: on a machine that does
//! other things too, single runs say nothing. A target that is missed is told, and is an error only with `--strict`.

mod aborts;
mod disconnect;
mod engine;
mod ffmpeg;
mod first_byte;
mod job;
mod levels;
mod paired;
mod probes;
mod quality;
mod quiet;
mod service;
mod soak;
mod table;
mod throughput;
mod transcoder;
mod watch;

pub use aborts::{Aborts, aborts};
pub use levels::Level;
pub use quiet::{Quiet, quiet};
pub use soak::{Phase, Soak, soak};
pub use watch::Watched;

use anyhow::bail;
use clap::Subcommand;
use std::{path::PathBuf, time::Duration};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// CPU, memory, quality, throughput, first byte and disconnects, each beside its target
    Transcoder(transcoder::Args),
    /// The load that killed the service of the story: 500 at once, then 500 arrivals a second
    Soak(SoakArgs),
    /// Thousands of requests that their clients give up: nothing stays behind
    Aborts(AbortsArgs),
    /// What the probes cost a watched process and all others, and how right they are
    Probes(probes::Args),
    /// What spans and kernel events cost the engine and the whole agent, at the rates that it must carry
    Engine(engine::Args),
    /// Healthy services whose pools, caches and workers look like leaks: the agent raises nothing
    Quiet(QuietArgs),
}

#[derive(clap::Args, Debug)]
struct QuietArgs {
    /// Seconds
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3600)]
    length: u64,
}

#[derive(clap::Args, Debug)]
struct SoakArgs {
    #[command(flatten)]
    subject: Subject,
    /// Seconds of each phase
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 600)]
    length: u64,
    /// Clients at once in the first phase
    #[arg(long, default_value_t = 500)]
    concurrency: usize,
    /// Arrivals a second in the second phase
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Only one phase
    #[arg(long, value_parser = ["crowd", "rush"])]
    only: Option<String>,
    /// Answers of each phase to decode
    #[arg(long, default_value_t = 50)]
    verify: usize,
}

#[derive(clap::Args, Debug)]
struct AbortsArgs {
    #[command(flatten)]
    subject: Subject,
    /// How many
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
}

/// How long the service may keep idle threads and connections after a load.
const SETTLE: Duration = Duration::from_secs(90);

/// What all benchmarks of the service take.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Subject {
    /// The service's binary (without: this workspace's release build)
    #[arg(long, value_name = "PATH")]
    pub transcoder: Option<PathBuf>,
    /// One more argument for it, as in --with=--workers --with=1
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub with: Vec<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// A missed target is an error
    #[arg(long)]
    pub strict: bool,
}

/// Whatever is raised is an error.
fn keep_quiet(args: &QuietArgs) -> anyhow::Result<()> {
    let seen = quiet(Duration::from_secs(args.length))?;
    for (name, answered) in &seen.answered {
        println!("{name:<16} {answered:>8} requests answered");
    }
    println!("at most {} descriptors called orphaned at one moment", seen.orphaned);
    println!("{} incidents in {} s", seen.incidents.len(), args.length);
    if !seen.incidents.is_empty() {
        bail!("healthy services, and yet: {:#}", serde_json::Value::from(seen.incidents));
    }
    Ok(())
}

/// Runs it.
///
/// # Errors
/// Something could not be measured, a result is wrong, or, if that was asked for, a target is missed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    crate::process::end_on_interrupt();
    let (subject, card) = match &args.what {
        What::Transcoder(args) => (&args.subject, transcoder::measure(args)?),
        What::Soak(args) => {
            let length = |phase| match args.only.as_deref() {
                Some(only) if only != phase => Duration::ZERO,
                _ => Duration::from_secs(args.length),
            };
            let soaking = Soak {
                subject: args.subject.clone(),
                crowd: length("crowd"),
                rush: length("rush"),
                concurrency: args.concurrency,
                rate: args.rate,
                settle: SETTLE,
                verify: args.verify,
            };
            (&args.subject, soak(&soaking)?.card())
        }
        What::Aborts(args) => {
            let aborting = Aborts { subject: args.subject.clone(), requests: args.requests, settle: SETTLE };
            (&args.subject, aborts(&aborting)?.card())
        }
        What::Probes(args) => return probes::run(args),
        What::Engine(args) => return engine::run(args),
        What::Quiet(args) => return keep_quiet(args),
    };
    card.print(subject.json)?;
    let missed = card.missed();
    if subject.strict && missed > 0 {
        bail!("{missed} targets missed");
    }
    Ok(())
}
