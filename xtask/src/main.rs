//! `cargo xtask …`: everything a developer or a newcomer runs, by name. Each unit is a module of the library.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Snowshed's chores")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other commands need (each of them does this by itself first)
    Setup(xtask::setup::Args),
    /// The main job, shown: a service dies without Snowshed and lives with it
    Demo(xtask::demo::Args),
    /// All tests: unit, replay and end-to-end on this kernel
    Test(xtask::test::Args),
    /// Rebuild the BPF object, or with --check prove that it matches the source
    Ebpf(xtask::ebpf::Args),
    /// Drive the transcoder with streaming uploads of real video
    Load(xtask::load::Args),
    /// Measure the transcoder against the ffmpeg command and its own targets, or the probes against theirs
    Bench(xtask::bench::Args),
    /// Faults with known truth on live services, and healthy variations: what the agent says of them, scored
    Campaign(xtask::campaign::Args),
    /// Each disease of the transcoder alone, without an agent: how it kills, and what that looks like
    Faults(xtask::faults::Args),
    /// The probes' tests on Debian's other kernels, in virtual machines
    Vm(xtask::vm::Args),
    /// A small service on tokio that can be made to block, for the tests
    #[command(hide = true)]
    Serve(xtask::serve::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Setup(args) => xtask::setup::run(&args),
        Task::Demo(args) => xtask::demo::run(&args),
        Task::Test(args) => xtask::test::run(&args),
        Task::Ebpf(args) => xtask::ebpf::run(&args),
        Task::Load(args) => xtask::load::run(&args),
        Task::Bench(args) => xtask::bench::run(&args),
        Task::Campaign(args) => xtask::campaign::run(&args),
        Task::Faults(args) => xtask::faults::run(&args),
        Task::Vm(args) => xtask::vm::run(&args),
        Task::Serve(args) => xtask::serve::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Its report has been printed, and ends with the line of sums.
        Err(error) if error.is::<xtask::test::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<xtask::setup::Missing>() { 2 } else { 1 })
        }
    }
}
