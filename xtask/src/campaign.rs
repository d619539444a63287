//! Faults with known truth on live services, and healthy variations: what the agent says of them, scored.
//!
//! Invariant: nothing that the agent sees tells the fault's name, and what cannot run here is told as skipped, with its
//! reason, never left out in silence. Cost: one to three minutes a run; `--at-once` runs several beside each other.

mod blind;
mod callers;
mod cgroup;
mod disk;
mod forecast;
mod left_out;
mod scenarios;
mod score;
mod shop;
mod stage;
mod suspects;
mod table;
mod total;

use crate::{
    process,
    setup::{self, CAMPAIGN},
};
use anyhow::{Context as _, bail};
use stage::{Run, Scenario};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, RwLock},
};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only these (without: all)
    #[arg(long, value_name = "NAME", num_args = 1..)]
    scenario: Vec<String>,
    /// Each of them so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeat: u16,
    /// So many beside each other, but for those that take all processors; they disturb each other, which is then part of
    /// what is measured
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    at_once: u8,
    /// Whether services that can export spans do so; `mixed`: in two runs of three
    #[arg(long, value_enum, default_value_t = Spans::Mixed)]
    spans: Spans,
    /// Instead: so many rounds of several faults at once, drawn without notice, which end again
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "4", conflicts_with = "scenario")]
    blind: Option<u8>,
    /// Draw the same again
    #[arg(long, value_name = "SEED", requires = "blind")]
    seed: Option<u64>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Print the names of the scenarios and what is true in each
    #[arg(long)]
    list: bool,
}

/// Which runs have spans.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Spans {
    /// Two of three.
    Mixed,
    /// All.
    On,
    /// None.
    Off,
}

impl Spans {
    /// Of this scenario's repetition.
    const fn are_on(self, scenario: usize, repetition: usize) -> bool {
        match self {
            Self::Mixed => !(scenario + repetition).is_multiple_of(3),
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// Runs the scenarios and prints the scores.
///
/// # Errors
/// No root, no binaries, an unknown scenario, or a run that could not be carried out (all others are carried out first).
pub fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = select(&args.scenario)?;
    if args.list {
        for one in wanted {
            println!("{:<22} {:<16} {}", one.name, one.system, one.truth.map_or("healthy", |truth| truth.kind));
        }
        return Ok(());
    }
    setup::prepare(&setup::Plan {
        command: "cargo xtask campaign",
        needs: CAMPAIGN,
        privileges: "root, for BPF programs, network namespaces, control groups and a loop device",
        changes: &["all of these are gone when it ends"],
    })?;
    process::require_root("this")?;
    process::build_missing()?;
    process::end_on_interrupt();
    if let Some(rounds) = args.blind {
        return blind::run(rounds, args.at_once, args.seed.unwrap_or_else(rand::random), args.json);
    }
    let (runs, failed) = carry_out(&wanted, args);
    let report = table::Report::new(runs);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    match failed.first() {
        Some(first) => bail!("{} runs could not be carried out, the first: {first}", failed.len()),
        None => Ok(()),
    }
}

fn select(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    let all = || scenarios::ALL.iter().flat_map(|some| some.iter());
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |name: &String| all().find(|one| one.name == name).with_context(|| format!("no scenario {name:?}"));
    names.iter().map(find).collect()
}

/// All runs, and what went wrong in carrying them out.
fn carry_out(wanted: &[&'static Scenario], args: &Args) -> (Vec<Run>, Vec<String>) {
    let times = usize::from(args.repeat);
    let nth = |repetition| {
        wanted.iter().enumerate().map(move |(at, scenario)| (*scenario, args.spans.are_on(at, repetition)))
    };
    let queue: VecDeque<_> = (0..times).flat_map(nth).collect();
    let total = queue.len();
    let queue = Mutex::new(queue);
    let (runs, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let machine = RwLock::new(());
    let work = |number: u8| {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((scenario, spans)) = next else { return };
            // Who takes all processors waits for the others to end, and they for it.
            let _turn = (scenario.alone.then(|| machine.write()), (!scenario.alone).then(|| machine.read()));
            match stage::run(scenario, number, spans) {
                Ok(run) => {
                    let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("{:>3} of {total}: {}", runs.len() + 1, table::line(&run));
                    runs.push(run);
                }
                Err(error) => {
                    let told = format!("{}: {error:#}", scenario.name);
                    eprintln!("{told}");
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(told);
                }
            }
        }
    };
    // Each on a thread of its own, which lives as long as the processes that it starts.
    std::thread::scope(|scope| {
        for number in 1..=args.at_once {
            scope.spawn(move || work(number));
        }
    });
    (
        runs.into_inner().unwrap_or_else(PoisonError::into_inner),
        failed.into_inner().unwrap_or_else(PoisonError::into_inner),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own_that_tell_no_cause() {
        let all = select(&[]).unwrap();
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other.name != one.name), "{} twice", one.name);
            assert!(one.truth.is_none_or(|truth| !one.name.contains(truth.kind)), "{}", one.name);
            assert!(one.healthy >= 45, "{}: the past must be long enough to be compared with", one.name);
        }
        assert!(select(&["no-such".into()]).is_err());
    }
}
