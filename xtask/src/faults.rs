//! Each disease of the transcoder alone, without any agent: when it kills, how, and what that looks like from outside.
//!
//! A healthy service under the same load is the control. The faults, and what each must be diagnosed as, are what the
//! service itself declares; so a fault that is added there is run here. Everything is watched from outside: `/proc`,
//! `/livez`, `/metrics`, and the load generator's own log.
//! Cost: one service at a time, under limits of its own, for about a minute each.

mod death;
mod experiment;
mod measure;
mod plot;
mod sample;
mod screen;
mod sparkline;
mod watch;

pub use death::{Death, How};
pub use experiment::{Conditions, Dose, Run, observe};
pub use measure::{Change, Measure};
pub use sample::Sample;

use crate::{
    process,
    rig::{Transcoder, TranscoderOptions},
    setup,
};
use anyhow::{Context as _, bail};
use screen::Screen;
use std::{path::PathBuf, time::Duration};

/// The longest that the control is watched: it has nothing to wait for.
const CONTROL: Duration = Duration::from_secs(30);

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Runs this fault alone, after the control, with this strength instead of its default; may be given again
    #[arg(long, value_name = "NAME[=VALUE]")]
    only: Vec<String>,
    /// Seconds that each fault has to kill
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
    length: f64,
    /// Uploads a second, on average
    #[arg(long, value_name = "RATE", default_value_t = 6.0)]
    rate: f64,
    /// Prints everything that was measured as one JSON document
    #[arg(long)]
    json: bool,
    /// Draws the signatures as DIR/faults.svg
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// Runs them.
///
/// # Errors
/// There is no such fault, something could not be started, the control was not well, or a fault did not show as what
/// it is declared to be. That one did not kill in time is told and is no error.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(args.length).context("--for")?;
    setup::prepare(&setup::Plan {
        command: "cargo xtask faults",
        needs: setup::FAULTS,
        privileges: "none",
        changes: &["nothing that stays: every process it starts, it ends"],
    })?;
    process::build(&["snowshed-transcoder"])?;
    process::end_on_interrupt();
    let folder = tempfile::Builder::new().prefix("snowshed-faults-").tempdir().context("folder")?;
    let conditions = Conditions { length, rate: args.rate, ..Conditions::new(folder.path()) };
    let doses = chosen(&conditions, &args.only)?;
    let screen = Screen::new(args.json);
    screen.opening(&conditions);
    let control = Conditions { length: length.min(CONTROL), ..conditions.clone() };
    let mut runs = vec![observe(None, &control, |run| screen.progress(run))?];
    screen.outcome(&runs[0], &conditions);
    for dose in &doses {
        let run = observe(Some(dose), &conditions, |run| screen.progress(run))?;
        screen.outcome(&run, &conditions);
        runs.push(run);
    }
    screen.summary(&runs);
    if let Some(folder) = &args.plot {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join("faults.svg");
        std::fs::write(&path, plot::draw(&runs, &conditions)).with_context(|| format!("write {}", path.display()))?;
        screen.note(&format!("drawn in {}", path.display()));
    }
    if args.json {
        let document = serde_json::json!({"schema": 1, "conditions": conditions, "items": runs, "next": null});
        println!("{}", serde_json::to_string(&document).context("JSON")?);
    }
    let wrong: Vec<String> = runs.iter().filter_map(Run::surprise).collect();
    if !wrong.is_empty() {
        bail!("not as declared: {}", wrong.join("; "));
    }
    Ok(())
}

/// The faults to run: those asked for, or all with their defaults, in the service's order.
fn chosen(conditions: &Conditions, only: &[String]) -> anyhow::Result<Vec<Dose>> {
    let all = Transcoder::start(&conditions.folder, &TranscoderOptions::default())?.faults()?;
    if only.is_empty() {
        return Ok(all.into_iter().map(Dose::from).collect());
    }
    let dose = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let Some(fault) = all.iter().find(|fault| fault.name == name).cloned() else {
            let names: Vec<&str> = all.iter().map(|fault| fault.name.as_str()).collect();
            bail!("--only {name}: there is no such fault; there are {}", names.join(", "));
        };
        let default = Dose::from(fault);
        Ok(if value.is_empty() { default } else { Dose { value: value.to_owned(), ..default } })
    };
    only.iter().map(dose).collect()
}
