//! `cargo xtask bench transcoder`: everything about one stream and a few of them.

use super::{Subject, disconnect, first_byte, job::Job, paired, table::Card, throughput};
use crate::video::Clip;
use anyhow::bail;

/// x264's presets that the service offers.
const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];

/// Options.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) subject: Subject,
    /// Runs of each pair
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// x264's preset
    #[arg(long, default_value = "ultrafast", value_parser = PRESETS)]
    preset: String,
    /// Transcodings at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    at_once: u32,
    /// Clients that go away
    #[arg(long, default_value_t = 200)]
    aborts: u32,
    /// Only these
    #[arg(long, value_delimiter = ',', value_parser = PARTS, default_values = PARTS)]
    only: Vec<String>,
}

const PARTS: [&str; 4] = ["paired", "throughput", "first-byte", "disconnect"];

/// Measures.
///
/// # Errors
/// Something could not be measured, or a result is wrong.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Card> {
    let Some(preset) = PRESETS.into_iter().find(|preset| *preset == args.preset) else {
        bail!("--preset {}: no such preset", args.preset);
    };
    let fmp4 = |clip, height| Job { clip, height, preset, format: "fmp4" };
    let [hd, sd] = [fmp4(Clip::Hd, 720), fmp4(Clip::Sd, 240)];
    let wanted = |part: &str| args.only.iter().any(|only| only == part);
    let say = |what: &str| eprintln!("measuring {what} …");
    let runs = args.runs as usize;
    let subject = &args.subject;
    let mut card = Card::new(format!("transcoder beside ffmpeg, preset {preset}, {runs} runs each"));
    if wanted("paired") {
        for job in [hd, sd] {
            say(&format!("{} beside ffmpeg", job.name()));
            card.rows.extend(paired::rows(subject, job, runs)?);
        }
    }
    if wanted("throughput") {
        for job in [sd, hd] {
            say(&format!("{} x {}", job.name(), args.at_once));
            let (rows, note) = throughput::rows(subject, job, args.at_once as usize, runs.min(3))?;
            card.rows.extend(rows);
            card.notes.push(note);
        }
    }
    if wanted("first-byte") {
        let small = [Clip::Fragmented, Clip::Transport, Clip::Matroska, Clip::Silent].map(|clip| fmp4(clip, 240));
        let ts = Job { format: "ts", ..fmp4(Clip::Transport, 240) };
        for job in [hd, sd].into_iter().chain(small).chain([ts]) {
            say(&format!("the first byte of {:?} as {}", job.clip, job.format));
            card.rows.push(first_byte::row(subject, job, 4 * runs)?);
        }
    }
    if wanted("disconnect") {
        say("disconnects");
        card.rows.extend(disconnect::rows(subject, args.aborts as usize)?);
    }
    Ok(card)
}
