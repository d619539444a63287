//! What one sampled stack costs: to the thread that it is copied of, and to the host until it is a number.
//!
//! Opens of a watched process, with a stack each and without any, in turns. A copy ends where the stack does, so a usual
//! stack and one that is longer than what is copied are told apart, and one of Python, whose own frames are followed. Naming is not in it: it is done when somebody asks, and once for each site.

use super::{
    Draw, Figures,
    worker::{self, Call, Worker},
};
use snowshed_ebpf::{Options, Session};
use std::time::{Duration, Instant};

/// Opens of one batch: their stacks fit into the ring.
const STACKS: u32 = 50;
/// Two stacks, and the size of their dozen frames; and one of a dozen functions of Python.
const STACKS_OF: [(&str, Option<usize>); 3] =
    [("a stack of 3 KiB", Some(160)), ("a stack over 16 KiB", Some(2048)), ("a stack of Python", None)];
/// Batches of a round, of which the fastest counts.
const BATCHES: usize = 15;
/// Looks are due after this long, and would be in the host's figure.
const SOON: Duration = Duration::from_millis(60);

const OPENS: Call = Call { name: "open", batches: 1, calls: STACKS, trace: 0 };

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer and a clock that every Linux has.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Nanoseconds an open takes the worker, and taking all their stacks takes the host.
fn batch(session: &mut Session, worker: &mut Worker, stacks: bool) -> (f64, f64) {
    let mut seen = Vec::new();
    loop {
        // Fills the allowance up, or empties it.
        session.set_stack_rate(if stacks { 5 * STACKS } else { 0 });
        session.poll(Duration::ZERO, &mut seen);
        let begun = Instant::now();
        let taken = worker.run(OPENS);
        session.set_stack_rate(0);
        let before = cpu_ns();
        session.poll(Duration::ZERO, &mut seen);
        let host = cpu_ns() - before;
        if begun.elapsed() < SOON {
            return (taken, host as f64);
        }
    }
}

fn stacks_seen(session: &Session) -> u64 {
    session.status().iter().filter(|probe| probe.name == "fd").map(|probe| probe.events).sum()
}

pub(crate) fn measure(rounds: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = worker::compile(folder.path());
    let (mut figures, mut draw) = (Figures::default(), Draw::new());
    for (what, frame) in STACKS_OF {
        let mut worker = frame.map_or_else(Worker::python, |frame| Worker::start(&program, frame));
        let mut session = Session::start(Options::default());
        session.add_target(worker.pid()).expect("the worker lives");
        for _ in 0..rounds {
            let [(without, idle), (with, busy)] = round(&mut session, &mut worker, &mut draw);
            figures.add(format!("{what}, in the kernel"), "us", (with - without) / 1000.0);
            let host = (busy - idle) / f64::from(STACKS) / 1000.0;
            figures.add(format!("{what}, on the host before naming"), "us", host);
        }
    }
    figures.print();
}

/// The fastest batches without stacks and with them.
fn round(session: &mut Session, worker: &mut Worker, draw: &mut Draw) -> [(f64, f64); 2] {
    let mut least = [(f64::INFINITY, f64::INFINITY); 2];
    for _ in 0..BATCHES {
        let mut states = [false, true];
        draw.shuffle(&mut states);
        for stacks in states {
            let before = stacks_seen(session);
            let (taken, host) = batch(session, worker, stacks);
            let events = stacks_seen(session) - before;
            // Files count once and stacks once.
            assert!(!stacks || events >= u64::from(2 * STACKS), "stacks were not taken: {events} events");
            let known = &mut least[usize::from(stacks)];
            *known = (known.0.min(taken), known.1.min(host));
        }
    }
    least
}
