//! What the probes cost and how right they are, measured; `cargo xtask bench probes` judges.
//!
//! `cargo bench -p snowshed-ebpf --bench probes -- --part NAME --rounds N` (root) prints a line of JSON for each
//! figure, with the value of every round. With and without take turns in an order drawn at random, in CPU time of the
//! measured thread, which is that of a process of its own: what the session does in this one is not in it.

#![allow(clippy::unwrap_used, reason = "a benchmark, where a panic is the report")]

mod bpftrace;
mod cost;
#[path = "../../tests/lossy/mod.rs"]
mod lossy;
mod retransmits;
mod stacks;
#[path = "../../tests/whole/mod.rs"]
mod whole;
mod worker;

use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Named figures, each with its values round by round.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, &'static str, Vec<f64>)>);

impl Figures {
    /// One more value of a figure.
    pub(crate) fn add(&mut self, what: impl Into<String>, unit: &'static str, value: f64) {
        let what = what.into();
        match self.0.iter_mut().find(|(known, ..)| *known == what) {
            Some((.., values)) => values.push(value),
            None => self.0.push((what, unit, vec![value])),
        }
    }

    pub(crate) fn print(&self) {
        for (what, unit, values) in &self.0 {
            println!("{}", json!({ "what": what, "unit": unit, "values": values }));
        }
    }
}

/// So many of so many.
pub(crate) fn print_share(what: &str, of: usize, all: usize) {
    println!("{}", json!({ "what": what, "of": of, "all": all }));
}

/// Draws the order of what takes turns (Marsaglia's xorshift).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 | 1)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// In place, every order as likely as every other (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().skip_while(|one| *one != name).nth(1).map(String::as_str);
    let rounds = after("--rounds").map_or(20, |rounds| rounds.parse().expect("a number of rounds"));
    match after("--part") {
        Some("cost") => cost::measure(rounds),
        Some("crowd") => cost::measure_crowds(rounds),
        Some("stacks") => stacks::measure(rounds),
        Some("retransmits") => retransmits::measure(rounds),
        other => panic!("--part cost|crowd|stacks|retransmits, not {other:?}"),
    }
}
