//! Measures the transcoder: against the `ffmpeg` command on the same files with the same settings, and against its own
//! targets.
//!
//! Figures are medians of alternating runs, with the smallest and the largest beside them: on a machine that does
//! other things too, single runs say nothing. A target that is missed is told, and is an error only with `--strict`.

mod disconnect;
mod ffmpeg;
mod first_byte;
mod job;
mod paired;
mod quality;
mod service;
mod table;
mod throughput;
mod transcoder;

use anyhow::bail;
use clap::Subcommand;
use std::path::PathBuf;

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
}

/// What all benchmarks of the service take.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Subject {
    /// The service's binary (without: this workspace's release build)
    #[arg(long, value_name = "PATH")]
    pub(crate) transcoder: Option<PathBuf>,
    /// One more argument for it, as in --with=--workers --with=1
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) with: Vec<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// A missed target is an error
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Runs it.
///
/// # Errors
/// Something could not be measured, a result is wrong, or, if that was asked for, a target is missed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    crate::process::end_on_interrupt();
    let (subject, card) = match &args.what {
        What::Transcoder(args) => (&args.subject, transcoder::measure(args)?),
    };
    card.print(subject.json)?;
    let missed = card.missed();
    if subject.strict && missed > 0 {
        bail!("{missed} targets missed");
    }
    Ok(())
}
