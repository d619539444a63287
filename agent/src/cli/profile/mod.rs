//! `snowshed profile`: where a process opens, grows, stalls, computes, waits or makes threads, for other tools to read.
//!
//! The session in this very process, as in `why`; no agent, no engine. Invariant: it ends by itself, and it prints a
//! profile only of what it saw: an empty one is said to be empty, with exit code 1.

mod cpu;
mod flame;
mod gather;
mod pprof;
mod stacks;
mod text;

use super::{print, why::duration};
use crate::{clock::Clock, failure::Failure};
use clap::ValueEnum;
use gather::Gathered;
use snowshed_ebpf::{Options, Session};
use snowshed_engine::model::Pid;
use stacks::Profile;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// Stacks a second that are taken at most: a profile is short, and what is not sampled is missing in it.
const STACKS: u32 = 500;

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Open descriptors by the place that opened them
    Fd,
    /// Memory that came in, by the place that touched it first
    Memory,
    /// Time in which event loops did not come back, by what they did
    Stall,
    /// Time on a processor, by samples
    Cpu,
    /// Time that threads waited for locks, by the place that waited
    Lock,
    /// Threads by the place that made them
    Task,
}

impl Kind {
    /// What is counted, and its unit, in pprof's words.
    fn measure(self) -> (&'static str, &'static str) {
        match self {
            Self::Fd => ("descriptors", "count"),
            Self::Memory => ("memory", "bytes"),
            Self::Stall => ("stalled", "nanoseconds"),
            Self::Cpu => ("cpu", "nanoseconds"),
            Self::Lock => ("waited", "nanoseconds"),
            Self::Task => ("threads", "count"),
        }
    }
}

/// How a profile is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table of the places that count most
    Text,
    /// A flame graph
    Svg,
    /// For `go tool pprof`, Pyroscope, Parca, speedscope: compressed protobuf
    Pprof,
    /// One line a stack, for the scripts that draw flame graphs
    Folded,
}

/// What is the root of each stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The code alone
    Site,
    /// The request that it was done for
    Trace,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process; those it forks are not part of the profile
    pid: Pid,
    /// Of what
    #[arg(value_enum)]
    kind: Kind,
    /// How long to look, as in 30s or 2m
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    time: Duration,
    /// Where to write it; standard output if it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How; by the file's ending (.svg, .pb.gz, .folded) if it is not given, else text
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Below what the stacks are put together
    #[arg(long, value_enum, default_value_t = By::Site)]
    by: By,
}

impl Args {
    fn format(&self) -> Result<Format, Failure> {
        let name = self.output.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        match self.format {
            Some(format) => Ok(format),
            None if name.is_empty() => Ok(Format::Text),
            None if name.ends_with(".svg") => Ok(Format::Svg),
            None if name.ends_with(".pb.gz") => Ok(Format::Pprof),
            None if name.ends_with(".folded") => Ok(Format::Folded),
            None if name.ends_with(".txt") => Ok(Format::Text),
            None => Err(Failure::usage(format!("{name}: ends with none of .svg, .pb.gz, .folded, .txt; say --format"))),
        }
    }
}

/// Looks, and writes the profile.
///
/// # Errors
/// Exit 1 if there was nothing to see, 2 if it could not look or write.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let format = args.format()?;
    if crate::sources::procfs::start_time(args.pid).is_none() {
        return Err(Failure::usage(format!("pid {}: no such process", args.pid)));
    }
    let mut session = Session::start(Options::default());
    session.add_target(args.pid).map_err(|error| Failure::usage(error.to_string()))?;
    session.set_stack_rate(STACKS);
    let clock = Clock::measured();
    let begun = clock.wall(clock.now()).as_nanosecond();
    let started = Instant::now();
    let mut gathered = Gathered::new(args.pid);
    let mut cpu = (args.kind == Kind::Cpu).then(|| cpu::Sampled::start(&mut session, args.pid)).transpose()?;
    let mut seen = Vec::new();
    while started.elapsed() < args.time && crate::sources::procfs::start_time(args.pid).is_some() {
        session.poll(POLL.min(args.time), &mut seen);
        seen.drain(..).for_each(|observation| gathered.take(&observation));
        if let Some(cpu) = &mut cpu {
            cpu.follow(&mut session);
        }
    }
    let elapsed = started.elapsed();
    let sites = match cpu {
        Some(cpu) => cpu.end(&mut session),
        None => gathered.sites(args.kind, &mut session),
    };
    let profile = Profile::new(args.kind, args.pid, begun, elapsed, sites, |site| session.frames(site));
    drop(session);
    write(args, format, &profile)?;
    if profile.stacks.is_empty() {
        let looked = elapsed.as_secs_f64();
        return Err(Failure::new(format!("pid {}: nothing of that kind was seen in {looked:.0} s", args.pid)));
    }
    Ok(())
}

fn write(args: &Args, format: Format, profile: &Profile) -> Result<(), Failure> {
    let by_trace = args.by == By::Trace;
    let bytes = match format {
        Format::Text => text::table(profile, by_trace).into_bytes(),
        Format::Folded => text::folded(profile, by_trace).into_bytes(),
        Format::Svg => flame::graph(profile, by_trace).into_bytes(),
        Format::Pprof => pprof::encode(profile).map_err(|error| Failure::usage(format!("compress: {error}")))?,
    };
    match (&args.output, String::from_utf8(bytes)) {
        (Some(path), bytes) => {
            let bytes = bytes.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
            std::fs::write(path, bytes).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
        }
        (None, Ok(text)) => print(&text),
        (None, Err(_)) => Err(Failure::usage("this format is for a file: say --output FILE")),
    }
}
