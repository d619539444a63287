//! What finding a thread's trace adds to an opened file, for each way in which a program can publish it.
//!
//! `cargo bench -p snowshed-ebpf --bench context` (root, cc). All programs are watched; rounds take turns. Told is the
//! processor time of open and close in the program's own thread, and how much more that is than in a program that
//! publishes nothing: median and quartiles of the rounds' differences.

#![allow(clippy::unwrap_used, reason = "a bench that cannot set up its victim has failed")]

#[path = "../tests/context/built.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
mod built;
#[path = "../tests/victim/mod.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
mod victim;

use built::Built;
use snowshed_ebpf::{Options, Session};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use victim::Victim;

const ROUNDS: usize = 60;

fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() / 4], values[3 * values.len() / 4])
}

fn main() {
    let [none, whole, late, described] = [Built::new(), Built::new(), Built::new(), Built::new()];
    let mut commands = Vec::new();
    commands.push(("nothing is published", Command::new(none.program("cc", "timed.c", &["-ldl"])), 0));
    let program = whole.program("cc", "timed.c", &["-DLINKED", "-rdynamic", "-ldl"]);
    commands.push(("by the program (static)", Command::new(program), 1));
    for (name, built, dialect) in
        [("by a module's number (DTV)", &late, "gnu"), ("by a descriptor (DTV)", &described, "gnu2")]
    {
        let flag = format!("-mtls-dialect={dialect}");
        let mut command = Command::new(built.program("cc", "timed.c", &["-ldl"]));
        command.args(built.fillers("cc", 80, &flag)).arg(built.library("cc", "publisher", &[&flag]));
        commands.push((name, command, 1));
    }
    let victims: Vec<Victim> = commands.iter_mut().map(|(_, command, _)| Victim::run(command)).collect();
    let mut session = Session::start(Options::default());
    session.set_stack_rate(0);
    for victim in &victims {
        victim.expect("ready");
        session.add_target(victim.pid()).expect("may be watched");
    }
    let publishing: u32 = commands.iter().map(|(.., publishes)| publishes).sum();
    let begun = Instant::now();
    while session.contexts().none != u32::try_from(victims.len()).unwrap() - publishing {
        session.poll(Duration::from_millis(20), &mut Vec::new());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", session.contexts());
    }
    let mut times = vec![Vec::new(); victims.len()];
    for _ in 0..ROUNDS {
        session.poll(Duration::ZERO, &mut Vec::new());
        for (victim, times) in victims.iter().zip(&mut times) {
            victim.go_on();
            times.push(victim.line().parse::<f64>().unwrap());
        }
    }
    println!("{:30} {:>10} {:>28}", "open and close, ns", "takes", "more than without");
    for ((name, ..), taken) in commands.iter().zip(&times) {
        let more = taken.iter().zip(&times[0]).map(|(with, without)| with - without).collect();
        let (median, low, high) = spread(more);
        println!(
            "{name:30} {:>10.0} {:>28}",
            spread(taken.clone()).0,
            format!("{median:+.0} ({low:+.0} to {high:+.0})")
        );
    }
}
