//! What a span and a kernel event cost the engine, measured; `cargo xtask bench engine` judges.
//!
//! `cargo bench -p snowshed-engine --bench engine -- --rounds N` prints a line of JSON for each figure, with the value of
//! every round. A round serves ten processes at three rates, each a quarter of the next, in an order drawn at random, and
//! one of them for ten minutes; time is simulated, so each takes as long as the engine does. What is timed is what the
//! agent's task does with an observation: `Engine::step`, the deadlines, and a view a second, in CPU time of this thread;
//! what it is told is made beforehand and not timed. Every answer that is owed is checked: a run in which the leak was
//! not found, or a span not counted, is an error.

#![allow(clippy::unwrap_used, reason = "a benchmark, where a panic is the report")]

mod heap;
mod kernel;
mod random;
mod scene;
mod spans;

use random::Random;
use scene::{Cost, Scene};
use serde_json::json;
use std::hash::{BuildHasher as _, RandomState};

/// Spans a second at the highest rate; five kernel events for each.
const SPANS: u32 = 20_000;
/// Simulated seconds at the highest rate before anything is measured: tables have filled up. At a lower one it takes as much
/// longer until as many spans have come.
const WARM: u64 = 20;
/// Simulated seconds that are measured.
const LENGTH: u64 = 10;
/// Simulated seconds of the long run, and after how many of these it is measured for the first time: at the lowest rate it
/// takes two minutes until what is kept of requests has come to its bounds, and its tables to their size.
const LONG: (u64, u64) = (600, 180);

/// Named figures, each with its values round by round.
#[derive(Default)]
struct Figures(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Figures {
    fn add(&mut self, what: &'static str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == what) {
            Some((.., values)) => values.push(value),
            None => self.0.push((what, unit, vec![value])),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Cargo runs benchmarks as tests too, and then asks for nothing.
    let Some(rounds) = arguments.iter().position(|one| one == "--rounds").and_then(|at| arguments.get(at + 1)) else {
        return;
    };
    let rounds: u64 = rounds.parse().unwrap();
    let mut draw = Random::new(RandomState::new().hash_one(rounds));
    let mut figures = Figures::default();
    for round in 0..rounds {
        one_round(round, &mut draw, &mut figures);
    }
    for (what, unit, values) in &figures.0 {
        println!("{}", json!({ "what": what, "unit": unit, "values": values }));
    }
}

fn one_round(seed: u64, draw: &mut Random, figures: &mut Figures) {
    let mut order = [1, 4, 16];
    for at in (1..order.len()).rev() {
        order.swap(at, draw.below(at as u64 + 1) as usize);
    }
    let mut costs = [(1, Cost::default()), (4, Cost::default()), (16, Cost::default())];
    for times in order {
        let mut scene = Scene::new(seed, SPANS / 16 * times);
        scene.run(WARM * u64::from(16 / times));
        let cost = scene.run(LENGTH);
        scene.check();
        costs.iter_mut().filter(|(of, _)| *of == times).for_each(|(_, known)| *known = cost);
        if times == 16 {
            figures.add("spans a second", "", cost.spans as f64 / LENGTH as f64);
            figures.add("kernel events a second", "", cost.events as f64 / LENGTH as f64);
            figures.add("the engine's share of a core with both, %", "", 100.0 * cost.total() / LENGTH as f64);
            figures.add("of that decisions and views, %", "", 100.0 * cost.deciding / LENGTH as f64);
            figures.add("a span", "ns", 1e9 * cost.on_spans / cost.spans as f64);
            figures.add("a kernel event", "ns", 1e9 * cost.on_events / cost.events as f64);
            figures.add("what the engine keeps, at most", "MB", scene.peak as f64 / 1e6);
        }
    }
    let [slow, middle, fast] = costs.map(|(_, cost)| cost);
    figures.add("a span at 4 times the rate", "x", middle.of_span() / slow.of_span());
    figures.add("a span at 16 times the rate", "x", fast.of_span() / slow.of_span());
    figures.add("a kernel event at 4 times the rate", "x", middle.of_event() / slow.of_event());
    figures.add("a kernel event at 16 times the rate", "x", fast.of_event() / slow.of_event());
    let mut scene = Scene::new(seed, SPANS / 16);
    scene.run(LONG.1 - 2 * LENGTH);
    let (first, kept) = (scene.run(2 * LENGTH), scene.peak);
    scene.run(LONG.0 - LONG.1 - 2 * LENGTH);
    let last = scene.run(2 * LENGTH);
    scene.check();
    let each = |cost: &Cost| (cost.on_spans + cost.on_events) / (cost.spans + cost.events) as f64;
    figures.add("spans and events after ten minutes", "x", each(&last) / each(&first));
    figures.add("what is kept after ten minutes", "x", scene.peak as f64 / kept as f64);
}
