//! The engine alone: its own benchmark measures, this judges. Cost: compiling it, once, and a minute and a half a round.

use crate::{
    bench::probes::{
        Part, Setting, lines,
        row::{Row, Target},
    },
    process, program,
};
use std::process::Stdio;

/// The engine in simulated time.
pub(super) const STEPS: Part = Part {
    name: "steps",
    about: "the engine alone, in simulated time: a span and a kernel event, at three rates and after ten minutes",
    run: measure,
};

fn measure(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut cargo = program::cargo();
    cargo.args(["bench", "--quiet", "--locked", "-p", "snowshed-engine", "--bench", "engine", "--"]);
    cargo.args(["--rounds", &setting.rounds.to_string()]).current_dir(process::root()).stderr(Stdio::inherit());
    lines::rows(&program::output(&mut cargo)?, TARGETS)
}

/// What a figure must keep to. Linear is: an event costs at 16 times the rate, and ten minutes later, at most a quarter
/// more; nothing that is kept grows on.
const TARGETS: &[lines::Rule] = &[
    ("spans a second", "", Target::AtLeast(0.98 * super::live::SPANS as f64)),
    ("kernel events a second", "", Target::AtLeast(0.98 * super::live::EVENTS as f64)),
    ("the engine's share", "", Target::AtMost(35.0)),
    ("what the engine keeps", "", Target::AtMost(64.0)),
    ("", "times the rate", Target::AtMost(1.25)),
    ("", "after ten minutes", Target::AtMost(1.25)),
];
