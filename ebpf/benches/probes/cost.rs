//! What the hooks add to calls: of a watched process, of one that nobody watches, and beside bpftrace.
//!
//! Two workers do the same. A session watches one of them; the other one pays for hooks that it has nothing of. Loops
//! are hooked only while a target uses them, so the watched one holds an epoll instance. Stacks are not in these
//! figures (their number is bounded by the second, not by the event; `stacks` tells what one costs); for bpftrace,
//! which has no such bound, both are told.

use super::{
    Draw, Figures,
    bpftrace::{self, Bpftrace},
    worker::{self, Call, Worker},
};
use aya::programs::ProgramInfo;
use snowshed_ebpf::{Options, Session};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

const fn call(name: &'static str, calls: u32, trace: u32) -> Call {
    Call { name, batches: 40, calls, trace }
}

const UNHOOKED: Call = call("unhooked", 1000, 0);
const REFUSED: Call = call("refused", 500, 0);
const WAIT: Call = call("wait", 600, 0);
const SEND: Call = call("send", 500, 1);
const FAULT: Call = call("fault", 200, 0);

/// What is told of a watched process.
const WATCHED: [(&str, Call); 6] = [
    ("open+close", call("open", 200, 0)),
    ("open+close, in a trace", call("open", 200, 1)),
    ("epoll enter+exit", WAIT),
    ("send stamp, in one trace", SEND),
    ("send stamp, in another trace each time", call("send", 500, 2)),
    ("page fault", FAULT),
];

/// What is told of a process that nobody watches, and how many tracepoints of ours a call passes.
const UNWATCHED: [(&str, Call, f64); 5] = [
    ("unhooked system call", UNHOOKED, 1.0),
    ("open that fails", REFUSED, 1.0),
    ("epoll_wait, per tracepoint", WAIT, 2.0),
    ("send", SEND, 1.0),
    ("page fault", FAULT, 1.0),
];

/// Agents on one machine, besides a single one. A round of these takes long, so there is one for four of the others.
const CROWDS: [usize; 2] = [5, 20];

/// How long another observer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the kernel goes on closing what one session had hooked when it ends (1.6 s was measured): until then calls have
/// not quite their own price again.
const CLOSED: Duration = Duration::from_secs(3);

/// Ends sessions, and lets the kernel close what they had hooked, one after the other.
fn end(sessions: impl ExactSizeIterator<Item = Session>) {
    let count = sessions.len() as u32;
    sessions.for_each(drop);
    std::thread::sleep(CLOSED * count);
}

/// Of the workers' frames.
const FRAME: usize = 160;

/// What each worker's calls take, in the order of the tables.
fn times(worker: &mut Worker, calls: impl Iterator<Item = Call>) -> Vec<f64> {
    calls.map(|call| worker.run(call)).collect()
}

fn watched(worker: &mut Worker) -> Vec<f64> {
    times(worker, WATCHED.iter().map(|(_, call)| *call))
}

fn unwatched(worker: &mut Worker) -> Vec<f64> {
    times(worker, UNWATCHED.iter().map(|(_, call, _)| *call))
}

/// A session that watches the worker, with every hook that it will have.
fn session(worker: &Worker) -> Session {
    let mut session = Session::start(Options::default());
    session.add_target(worker.pid()).expect("the worker lives");
    // The first look finds the epoll instance, and its calls stay hooked.
    session.poll(Duration::ZERO, &mut Vec::new());
    session
}

/// Sessions whose hooks are loaded, of this process and of any other.
fn observers() -> usize {
    let is_ours = |program: &ProgramInfo| program.name() == b"wait_left";
    aya::programs::loaded_programs().flatten().filter(is_ours).count()
}

/// Measures while so many sessions observe this machine: one that somebody else starts or ends would be in one state
/// and not in the other. Where it stays, it is measured nevertheless, and said.
fn undisturbed<T>(all: usize, mut measure: impl FnMut() -> T) -> T {
    let begun = Instant::now();
    loop {
        let before = observers();
        if before == all || begun.elapsed() > PATIENCE {
            let measured = measure();
            if before == all && observers() == all {
                return measured;
            }
            if begun.elapsed() > PATIENCE {
                eprintln!("others began or ended to observe this machine");
                return measured;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The hooks did what they are for.
fn check(session: &Session) {
    for probe in session.status() {
        let must = ["fd", "epoll"].contains(&probe.name);
        assert!(!must || probe.events > 0, "{}: nothing was seen: {probe:?}", probe.name);
        assert_eq!(probe.lost, 0, "{}: {probe:?}", probe.name);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Without,
    Ours,
    Bpftrace { stacks: bool },
}

pub(crate) fn measure(rounds: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = worker::compile(folder.path());
    let (mut one, mut other) = (Worker::start(&program, FRAME), Worker::start(&program, FRAME));
    bpftrace::see_debugfs();
    let (mut figures, mut draw) = (Figures::default(), Draw::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        beside(folder.path(), (&mut one, &mut other), &mut draw, &mut figures);
    }
    figures.print();
}

/// What many agents add, for one that watches nothing of the process.
pub(crate) fn measure_crowds(rounds: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = worker::compile(folder.path());
    let (one, mut other) = (Worker::start(&program, FRAME), Worker::start(&program, FRAME));
    let (mut figures, mut draw) = (Figures::default(), Draw::new());
    let rounds = rounds.div_ceil(4);
    for round in 0..rounds {
        eprintln!("crowd {} of {rounds}", round + 1);
        crowd((&one, &mut other), draw.below(2) == 0, &mut figures);
    }
    figures.print();
}

/// One round of all states.
fn beside(folder: &Path, (one, other): (&mut Worker, &mut Worker), draw: &mut Draw, figures: &mut Figures) {
    let mut states = [State::Without, State::Ours, State::Bpftrace { stacks: true }, State::Bpftrace { stacks: false }];
    draw.shuffle(&mut states);
    let (mut base, mut ours, mut theirs) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let others = observers();
    for state in states {
        match state {
            State::Without => (base, alone) = undisturbed(others, || (watched(one), unwatched(other))),
            State::Ours => {
                let session = session(one);
                (ours, beside) = undisturbed(others + 1, || (watched(one), unwatched(other)));
                check(&session);
                end([session].into_iter());
            }
            State::Bpftrace { stacks } => {
                let bpftrace = Bpftrace::start(folder, one, stacks);
                theirs[usize::from(stacks)] = undisturbed(others, || watched(one));
                bpftrace.end();
            }
        }
    }
    tell(1, (&beside, &alone), figures);
    for (index, (what, _)) in WATCHED.iter().enumerate() {
        let added = ours[index] - base[index];
        figures.add(format!("watched: {what}"), "ns", added);
        if *what == "page fault" {
            continue;
        }
        let with = theirs[1][index] - base[index];
        figures.add(format!("bpftrace: {what}"), "ns", with);
        figures.add(format!("ratio: {what}"), "x", added / with);
        if what.starts_with("open") {
            let bare = theirs[0][index] - base[index];
            figures.add(format!("bpftrace without stacks: {what}"), "ns", bare);
            figures.add(format!("ratio without stacks: {what}"), "x", added / bare);
        }
    }
}

/// What so many agents add to the calls of a process that none of them watches.
fn tell(agents: usize, (with, without): (&[f64], &[f64]), figures: &mut Figures) {
    for (index, (what, _, hooks)) in UNWATCHED.iter().enumerate() {
        let name = if agents == 1 { "1 agent".to_owned() } else { format!("{agents} agents") };
        figures.add(format!("unwatched, {name}: {what}"), "ns", (with[index] - without[index]) / hooks);
    }
}

/// More and more sessions, or less and less of them.
fn crowd((watched, other): (&Worker, &mut Worker), grows: bool, figures: &mut Figures) {
    let mut sizes: Vec<usize> = [0].into_iter().chain(CROWDS).collect();
    if !grows {
        sizes.reverse();
    }
    let mut sessions = Vec::new();
    let (others, mut taken) = (observers(), BTreeMap::new());
    for size in sizes {
        end(sessions.drain(size.min(sessions.len())..));
        sessions.resize_with(size, || session(watched));
        taken.insert(size, undisturbed(others + size, || unwatched(other)));
    }
    end(sessions.drain(..));
    for size in CROWDS {
        tell(size, (&taken[&size], &taken[&0]), figures);
    }
}
