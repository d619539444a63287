//! `snowshed leakcheck`: runs a program or a test suite and says what it leaves behind: descriptors, threads, children.
//!
//! Each process that it starts is held for a moment when it is about to end and looked at while it is whole. What
//! outlives the command is told and then ended, so that a check leaves nothing behind itself.
//! Invariant: the command's standard input, output, error and exit code stay its own. Exit: the command's own if
//! nothing is left; 1 if something is; 2 if it could not look; 126 and 127 if the command cannot be run.

mod gate;
mod left;
mod processes;
mod text;

use super::{print_json, why::duration};
use crate::failure::Failure;
use gate::{Gate, Waiting};
use left::{Ledger, Site};
use serde::Serialize;
use snowshed_ebpf::{Options, Session, Tier};
use snowshed_engine::model::{Observation, Pid};
use std::{
    collections::HashSet,
    ffi::OsString,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

/// How long it waits at the gate between two looks at what the kernel told.
const TURN: Duration = Duration::from_millis(5);
/// More stacks than any program opens files.
const STACKS: u32 = 1_000_000;
/// What outlived the command has this long after SIGTERM.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Left behind are: descriptors that a process opened itself after its last exec and still holds when it exits (not 0, 1 \
and 2, nothing inherited, not the script that a shell runs); threads that still run then (not those of Go's runtime, nor Node's inspector); processes that outlive the command \
by more than --grace. These are sent SIGTERM, then SIGKILL. A process that is killed by a signal is not judged.

Exit status: the command's own if nothing is left behind; 1 (or --exit-code) if something is; 2 if it could not look; \
126 or 127 if the command cannot be run; 128 and the signal's number if a signal killed it.")]
pub(crate) struct Args {
    /// Leave out what has this in a frame, path or thread's name, or is this kind or program; may be repeated
    #[arg(long, value_name = "TEXT")]
    ignore: Vec<String>,
    /// How long processes may outlive the command
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    grace: Duration,
    /// The exit status if something is left behind
    #[arg(long, value_name = "STATUS", default_value_t = 1)]
    exit_code: u8,
    /// JSON on standard output; the command's own standard output then goes to standard error
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    command: Vec<String>,
    /// The command's own; null if a signal killed it.
    exit_code: Option<i32>,
    signal: Option<i32>,
    clean: bool,
    /// Processes that were looked at when they ended.
    judged: u64,
    /// Processes that ended in another way.
    unjudged: u64,
    sites: Vec<Site>,
    /// Things at more places than are kept.
    more: u64,
    ignored: u64,
    /// Kernel events that were lost.
    lost: u64,
    notes: Vec<String>,
    /// Why there are no kernel programs; null if there are.
    reason: Option<String>,
}

/// Runs and checks.
///
/// # Errors
/// The exit status, if it is not 0.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut session = Session::start(Options::default());
    let status = session.status().into_iter().find(|probe| probe.name == "fd");
    let reason = status.filter(|probe| probe.tier != Tier::Full).map(|probe| probe.reason);
    let waiting = Waiting::fork(&args.command, args.json)
        .map_err(|error| Failure::usage(format!("cannot hold processes at their end (Linux 5.5, seccomp): {error}")))?;
    session.set_stack_rate(STACKS);
    session.add_target(waiting.pid).map_err(|error| Failure::usage(error.to_string()))?;
    let given = session.holdings(waiting.pid);
    let mut run = Run {
        command: waiting.pid,
        ledger: Ledger::new(args.ignore.clone(), given),
        session,
        kernel: reason.is_none(),
        seen: Vec::new(),
        followed: HashSet::new(),
        ended: 0,
        lost: 0,
        never_ran: false,
        status: None,
    };
    let gate = waiting.start().map_err(|error| Failure::usage(format!("start the command: {error}")))?;
    while run.status.is_none() {
        run.turn(&gate);
    }
    if run.never_ran {
        // It has said why itself.
        return Err(Failure::silent(run.exit_code()));
    }
    run.outlivers(&gate, args.grace);
    run.finish(args, reason)
}

/// A check in progress.
struct Run {
    command: Pid,
    ledger: Ledger,
    session: Session,
    kernel: bool,
    seen: Vec<Observation>,
    followed: HashSet<Pid>,
    ended: u64,
    lost: u64,
    /// The command could not be executed.
    never_ran: bool,
    /// The command's, once it has ended, as `waitpid` gives it.
    status: Option<i32>,
}

impl Run {
    /// One turn: who is about to end, what the kernel told, who has ended.
    fn turn(&mut self, gate: &Gate) {
        if let Some(ending) = gate.next(TURN) {
            // Who is gone meanwhile was killed.
            if let Some(pid) = processes::process_of(ending.tid) {
                if pid == self.command && !processes::has_executed(pid) {
                    self.never_ran = true;
                } else {
                    self.ledger.judge(&mut self.session, pid, ending.tid, self.kernel);
                }
            }
            gate.let_go(ending);
        }
        self.session.poll(Duration::ZERO, &mut self.seen);
        for observation in self.seen.drain(..) {
            match observation {
                Observation::Process(seen) => drop(self.followed.insert(seen.pid)),
                Observation::Exit(exit) if self.followed.remove(&exit.pid) => self.ended += 1,
                Observation::Lost(lost) => self.lost += lost.events,
                _ => {}
            }
        }
        while let Some((pid, status)) = processes::reap() {
            if pid == self.command {
                self.status = Some(status);
            }
        }
    }

    /// Waits for what outlives the command, tells it, and ends it.
    fn outlivers(&mut self, gate: &Gate, grace: Duration) {
        let wait = |run: &mut Self, most: Duration| {
            let begun = Instant::now();
            while !processes::descendants().is_empty() && begun.elapsed() < most {
                run.turn(gate);
            }
            processes::descendants()
        };
        let staying = wait(self, grace);
        let ended = self.ended;
        for task in &staying {
            self.ledger.outlived(task.clone());
        }
        for (signal, most) in [(libc::SIGTERM, LAST_WORDS), (libc::SIGKILL, LAST_WORDS)] {
            let left = processes::descendants();
            left.iter().for_each(|task| processes::end(task.id, signal));
            wait(self, if left.is_empty() { Duration::ZERO } else { most });
        }
        for task in processes::descendants() {
            self.ledger.note(format!("{} (pid {}) could not be ended", task.name, task.id));
        }
        // What the kernel still has to tell; how those ended that were ended here is known.
        self.turn(gate);
        self.ended = ended;
    }

    fn exit_code(&self) -> u8 {
        let status = self.status.unwrap_or_default();
        let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
        u8::try_from(code).unwrap_or(u8::MAX)
    }

    fn finish(mut self, args: &Args, reason: Option<String>) -> Result<(), Failure> {
        let status = self.status.unwrap_or_default();
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        if let Some(signal) = signal {
            self.ledger.note(format!("The command was ended by signal {signal}: what it held then is not judged."));
        }
        let report = Report {
            schema: 1,
            command: args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            exit_code: signal.is_none().then(|| libc::WEXITSTATUS(status)),
            signal,
            clean: self.ledger.is_clean(),
            judged: self.ledger.judged,
            unjudged: self.ended.saturating_sub(self.ledger.judged),
            sites: self.ledger.sites(),
            more: self.ledger.more,
            ignored: self.ledger.ignored,
            lost: self.lost,
            notes: std::mem::take(&mut self.ledger.notes),
            reason,
        };
        if args.json {
            print_json(&report)?;
        } else {
            eprint!("{}", text::report(&report, std::io::stderr().is_terminal()));
        }
        match (report.clean, self.exit_code()) {
            (false, _) => Err(Failure::silent(args.exit_code)),
            (true, 0) => Ok(()),
            (true, code) => Err(Failure::silent(code)),
        }
    }
}
