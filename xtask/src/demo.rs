//! The main job, shown: a service dies of a fault without Snowshed, and lives with it.
//!
//! Everything is real: the service, its videos, the kernel's events, the spans, the receiver of alerts. The fault is
//! drawn at random from a seed that the agent is not told, and each claim is held against a truth measured elsewhere.
//! Exit code 0 means that every step was observed. Cost: under four minutes of two cores at less than half load.

mod alone;
mod claims;
mod guarded;
mod score;
mod screen;
mod stop;
mod story;
mod truth;
mod watch;

use crate::{
    load::Plan,
    process, rig,
    rig::{Transcoder, TranscoderOptions},
    setup,
};
use anyhow::{Context as _, bail};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use screen::{Screen, Tone};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The faults that may be drawn, each with the value at which it kills the unprotected service at the demo's load.
const FAULTS: [(&str, &str); 2] = [("tempfile_fd_leak", "1"), ("loop_stall", "1500")];
/// Uploads begun a second, on average.
const RATE: f64 = 2.0;
/// Upload speed as a multiple of the speed at which the clip plays: a healthy first byte comes well within a second,
/// one that waits for the whole upload does not.
const PACE: f64 = 2.0;
/// Files that the service may have open: few enough for the leak to end it in about a minute.
const DESCRIPTORS: u64 = 416;
/// Found in the environment of each process that the demo starts.
const MARK: &str = "SNOWSHED_DEMO_RUN";

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Draws the fault and the arrivals; without it a random one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// Plays this fault instead of a drawn one
    #[arg(long, value_parser = FAULTS.map(|(name, _)| name))]
    fault: Option<String>,
    /// Leaves the workbench open at the end, until Enter is pressed (on a terminal)
    #[arg(long)]
    keep: bool,
    /// Takes pictures of the workbench while the fault is on, in headless Chromium: FILE.png and variants beside it
    #[arg(long, value_name = "FILE.png")]
    screenshot: Option<PathBuf>,
}

/// What all acts share.
struct Stage {
    folder: tempfile::TempDir,
    seed: u64,
    fault: (&'static str, &'static str),
    descriptors: u64,
    mark: String,
    picture: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Something could not be started, or was not observed; the message says what.
pub fn run(args: &Args) -> anyhow::Result<()> {
    setup::prepare(&setup::Plan {
        command: "cargo xtask demo",
        needs: if args.screenshot.is_some() { setup::DEMO_SEEN } else { setup::DEMO },
        privileges: "root: the agent loads BPF programs",
        changes: &["nothing that stays: every process it starts, it ends"],
    })?;
    process::require_root("the demo")?;
    process::end_on_interrupt();
    process::build(&["snowshed-agent", "snowshed-transcoder"])?;
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..10_000));
    let drawn = FAULTS[StdRng::seed_from_u64(seed).random_range(0..FAULTS.len())];
    let chosen = args.fault.as_ref().and_then(|name| FAULTS.iter().find(|(known, _)| known == name).copied());
    let stage = Stage {
        folder: tempfile::Builder::new().prefix("snowshed-demo-").tempdir().context("demo's folder")?,
        seed,
        fault: chosen.unwrap_or(drawn),
        descriptors: DESCRIPTORS,
        mark: format!("{}-{seed}", std::process::id()),
        picture: args.screenshot.clone(),
    };
    let mut screen = Screen::new();
    screen.line(&format!("\nSnowshed, shown on a real service. Seed {seed}."), Tone::Plain);
    let missed = play(&mut screen, &stage, args.keep)?;
    if missed.is_empty() {
        return Ok(());
    }
    bail!("not observed: {}", missed.join("; "))
}

/// Plays all acts; gives what was not observed.
fn play(screen: &mut Screen, stage: &Stage, keep: bool) -> anyhow::Result<Vec<String>> {
    let mut missed = Vec::new();
    let died = alone::play(screen, stage)?;
    if died.is_none() {
        missed.push("the service dying without Snowshed".to_owned());
    }
    let before = stop::Before::look()?;
    let (story, peers) = guarded::play(screen, stage)?;
    missed.extend(story.missed());
    screen.act("3  Claim and truth");
    for row in score::card(&story, &peers, stage, died)? {
        screen.score(row.what, &row.claim, &row.truth, row.right);
        if !row.right {
            missed.push(format!("{} as it is", row.what));
        }
    }
    if keep {
        stay(screen, &peers)?;
    }
    let pid = peers.service.pid();
    missed.extend(stop::play(screen, stage, peers, &before)?);
    screen.line("", Tone::Plain);
    if missed.is_empty() {
        screen.line("Every step was observed.", Tone::Good);
    }
    screen.line(&format!("yours: snowshed why PID     (here PID was {pid})"), Tone::Plain);
    Ok(missed)
}

fn stay(screen: &Screen, peers: &guarded::Peers) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    screen
        .line(&format!("\nThe workbench stays at http://{}/ until Enter is pressed.", peers.agent.listen), Tone::Plain);
    std::io::stdin().read_line(&mut String::new()).map(drop).context("wait for Enter")
}

impl Stage {
    fn subfolder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path: &Path = self.folder.path();
        let path = path.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    fn service_options(&self) -> TranscoderOptions {
        TranscoderOptions {
            descriptors: Some(self.descriptors),
            mark: Some((MARK.to_owned(), self.mark.clone())),
            ..TranscoderOptions::default()
        }
    }

    /// The load of an act; the same in both, but for the trace ids.
    fn load(&self, address: SocketAddr, act: u64) -> Plan {
        Plan {
            rate: Some(RATE),
            pace: PACE,
            length: Duration::from_secs(600),
            timeout: Duration::from_secs(20),
            drain: Duration::from_secs(6),
            seed: self.seed.wrapping_mul(2).wrapping_add(act),
            ..Plan::new(address)
        }
    }

    /// Switches the drawn fault on, through the service's own door, and gives what the service declares about it.
    fn switch_on(&self, service: &Transcoder) -> anyhow::Result<rig::Fault> {
        let (name, value) = self.fault;
        let declared = service.fault(name)?;
        service.fault_on(name, value)?;
        Ok(declared)
    }
}
