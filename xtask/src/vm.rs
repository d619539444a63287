//! `cargo xtask vm`: the probes on other kernels than this machine's, in a virtual machine.
//!
//! Debian's kernels are booted by qemu, with software emulation: no KVM and no root is needed. The guest's whole system is
//! an archive in memory, made here of busybox, Python, `snowshed` and the compiled suites; it sees nothing of this machine.
//! Invariants: what a kernel lacks is on [`kernels::ALL`] and is told by `snowshed doctor` there, or the run fails; a guest
//! that does not answer in its time is ended. Cost: two to six minutes a kernel, 1 GB while it runs, some 40 MB of downloads
//! once.

mod guest;
mod image;
mod kernels;
mod machine;
mod root;

pub use kernels::{ALL, Kernel};

use crate::{
    process, program, setup,
    suites::{self, Suite},
};
use anyhow::{Context as _, bail};
use std::path::PathBuf;

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which kernel (more than once: one after the other; without: all)
    #[arg(long = "kernel", value_name = "VERSION", value_parser = kernels::named)]
    kernels: Vec<&'static Kernel>,
    /// Keep the guest's system and its console's log, and say how to boot it by hand
    #[arg(long)]
    keep: bool,
    /// Fetch the kernel anew, though one was kept from before
    #[arg(long)]
    fresh: bool,
    /// Instead of the probes' tests, run this in the guest: busybox's commands, python3, snowshed, /suites/live
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What came of one kernel.
#[derive(Debug)]
pub struct Outcome {
    /// Tests that passed and that failed.
    pub tests: (usize, usize),
    /// What is wrong; empty: nothing.
    pub wrong: Vec<String>,
    /// What this kernel cannot carry, one sentence each, and the tests that were left out for it.
    pub lacks: Vec<String>,
}

/// What the guest gets of ours.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The program `snowshed`.
    pub snowshed: PathBuf,
    /// Compiled test suites with the names that they get there.
    pub suites: Vec<(String, PathBuf)>,
}

/// Boots each kernel and prints what came of it.
///
/// # Errors
/// Something is missing, a kernel cannot be had, or a test failed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    setup::prepare(&setup::Plan {
        command: "cargo xtask vm",
        needs: setup::VM,
        privileges: "none, once the packages are there",
        changes: &["keeps Debian's kernels in target/vm; apt's own lists are not touched"],
    })?;
    let parts = build()?;
    let kernels: Vec<&Kernel> =
        if args.kernels.is_empty() { kernels::ALL.iter().collect() } else { args.kernels.clone() };
    let mut failed = Vec::new();
    for kernel in kernels {
        let outcome = boot(kernel, &parts, args)?;
        tell(kernel, &outcome);
        if !outcome.wrong.is_empty() {
            failed.push(kernel.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not well on {}", failed.join(", ")) }
}

/// Boots one kernel, runs every suite on it, and holds what it lacks against the list.
///
/// # Errors
/// The kernel cannot be had, or the machine cannot be started.
pub fn check(kernel: &Kernel, parts: &Parts) -> anyhow::Result<Outcome> {
    let args = Args { kernels: Vec::new(), keep: false, fresh: false, command: Vec::new() };
    boot(kernel, parts, &args)
}

/// Prints what came of it.
pub fn tell(kernel: &Kernel, outcome: &Outcome) {
    for lack in &outcome.lacks {
        println!("{}: lacks {lack}", kernel.name);
    }
    for wrong in &outcome.wrong {
        println!("{}: WRONG: {wrong}", kernel.name);
    }
    let (passed, failed) = outcome.tests;
    let verdict = if outcome.wrong.is_empty() { "good" } else { "NOT GOOD" };
    println!("{}: {verdict}: {passed} tests passed, {failed} failed", kernel.name);
}

fn boot(kernel: &Kernel, parts: &Parts, args: &Args) -> anyhow::Result<Outcome> {
    let image = image::of(kernel, args.fresh)?;
    let place = tempfile::Builder::new().prefix("snowshed-vm-").tempdir().context("a folder for the guest")?;
    let guest = guest::Guest::new(kernel, parts, &args.command);
    let system = place.path().join("system.cpio");
    guest.write(&system)?;
    let machine = machine::Machine { image: &image, system: &system, log: &place.path().join("console.log") };
    println!("{}: booting Debian's kernel of {}", kernel.name, kernel.suite);
    let mut in_report = false;
    let ended = machine.run(guest.bound(), |line| guest::show(kernel, line, &mut in_report));
    if args.keep {
        println!("kept {}; to boot it by hand:\n  {}", place.path().display(), program::line(&machine.command()));
        // Kept on purpose: whoever asked for it removes it.
        let _kept: PathBuf = place.keep();
    }
    Ok(guest.judge(kernel, &ended?))
}

fn build() -> anyhow::Result<Parts> {
    let suites = suites::compile()?;
    Ok(Parts { snowshed: process::binary("snowshed", "snowshed-agent")?, suites: of_probes(suites) })
}

/// Those that run in a guest.
pub fn of_probes(suites: Vec<Suite>) -> Vec<(String, PathBuf)> {
    let wanted = |suite: &Suite| kernels::SUITES.contains(&suite.target.as_str()) && suite.name.starts_with("ebpf ");
    suites.into_iter().filter(wanted).map(|suite| (suite.target, suite.executable)).collect()
}
