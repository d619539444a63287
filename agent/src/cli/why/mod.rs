//! `snowshed why`: one look at a process. The session and the engine in this very process; no agent, no
//! configuration, no spans.
//!
//! Invariant: it says what it saw, what it could not see, and nothing else. Exit 0: nothing found;
//! 1: something found; 2: it could not look.

mod around;
mod look;
mod loops;
mod names;
mod scrape;
mod tasks;
mod tcp;
mod text;

use super::{print, print_json};
use crate::{
    clock::Clock,
    failure::Failure,
    sources::scrape::{self as source, Endpoint},
};
use look::Look;
use scrape::Scraping;
use snowshed_ebpf::{Options, Session, Tier};
use snowshed_engine::model::Pid;
use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// It looks at least this long before it ends because something is named.
const AT_LEAST: Duration = Duration::from_secs(10);
/// After the first name it goes on for this long, so that figures settle.
const SETTLE: Duration = Duration::from_secs(3);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

/// Flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process; those it forks are looked at too
    pid: Pid,
    /// How long to look, as in 30s or 2m
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    time: Duration,
    /// A loopback page on which it publishes its figures: /metrics, /debug/vars, /debug/pprof/goroutine (may be repeated)
    #[arg(long, value_name = "URL")]
    scrape: Vec<Endpoint>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Looks.
///
/// # Errors
/// Exit 1 if something was found, 2 if it could not look.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if crate::sources::procfs::start_time(args.pid).is_none() {
        return Err(Failure::usage(format!("pid {}: no such process", args.pid)));
    }
    if args.scrape.len() > source::MOST {
        return Err(Failure::usage(format!("--scrape: at most {} pages are asked", source::MOST)));
    }
    let progress = Progress::new(args);
    let mut session = Session::start(Options::default());
    session.add_target(args.pid).map_err(|error| Failure::usage(error.to_string()))?;
    if session.status().iter().all(|probe| probe.tier == Tier::Off) {
        return Err(Failure::usage(format!("pid {}: nothing works here; `snowshed doctor` says why", args.pid)));
    }
    let scraping =
        Scraping::start(args.scrape.clone()).map_err(|error| Failure::usage(format!("--scrape: {error}")))?;
    let mut look = Look::new(args.pid, Clock::measured(), args.time, scraping);
    let started = Instant::now();
    let mut shown: Option<Instant> = None;
    let mut named: Option<Instant> = None;
    while started.elapsed() < args.time && !look.has_ended() {
        look.step(&mut session, POLL);
        if shown.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            look.sample();
            progress.show(&look, started.elapsed());
            shown = Some(Instant::now());
        }
        if look.is_named() {
            let since = *named.get_or_insert_with(Instant::now);
            if started.elapsed() >= AT_LEAST && since.elapsed() >= SETTLE {
                break;
            }
        }
    }
    progress.clear();
    let report = look.report(&mut session, started.elapsed(), args.time);
    drop(session);
    if args.json {
        print_json(&report)?;
    } else {
        print(&text::report(&report, std::io::stdout().is_terminal()))?;
    }
    match (report.found, report.exited) {
        (true, _) => Err(Failure::silent(1)),
        (false, true) => Err(Failure::usage(format!("pid {} ended while it was looked at", args.pid))),
        (false, false) => Ok(()),
    }
}

/// The line that moves while it looks; on a terminal only.
struct Progress {
    shown: bool,
    time: Duration,
}

impl Progress {
    fn new(args: &Args) -> Self {
        let shown = std::io::stderr().is_terminal() && !args.json;
        if !shown && !args.json {
            eprintln!("looking at pid {} for up to {} s", args.pid, args.time.as_secs());
        }
        Self { shown, time: args.time }
    }

    fn show(&self, look: &Look, elapsed: Duration) {
        if self.shown {
            let mut err = std::io::stderr().lock();
            let line = format!("\r\x1b[K{:>3} of {} s  {}", elapsed.as_secs(), self.time.as_secs(), look.in_short());
            // A terminal that cannot be written to has no use for progress.
            drop(err.write_all(line.as_bytes()).and_then(|()| err.flush()));
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// A duration as people type it: `30s`, `2m`, `1h`, or plain seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a duration as in 30s, 2m or 1h"))?;
    match number.checked_mul(factor).filter(|seconds| (1..=86_400).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(format!("{text:?}: between 1s and 24h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "0s", "x", "1d", "25h", "99999999999999999999h", "ß"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
