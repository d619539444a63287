//! The parts that need to be inside of the probes' crate: its benchmark `probes` measures, this judges.
//!
//! Cost: compiling it, once.

use super::{
    Part, Setting, lines,
    row::{Row, Target},
};
use crate::{process, program};
use std::process::Stdio;

/// What the hooks add to calls.
pub(super) const COST: Part = Part {
    name: "cost",
    about: "what the hooks add to calls of watched and unwatched processes, beside bpftrace",
    run: |setting| measure("cost", setting),
};

/// What the hooks of many agents add.
pub(super) const CROWD: Part = Part {
    name: "crowd",
    about: "what 5 and 20 agents (sessions of one process) add to calls of a process that none of them watches",
    run: |setting| measure("crowd", setting),
};

/// What a copied stack costs.
pub(super) const STACKS: Part = Part {
    name: "stacks",
    about: "what a sampled stack costs in the kernel, and on the host before it is named",
    run: |setting| measure("stacks", setting),
};

/// How right retransmits are named.
pub(super) const RETRANSMITS: Part = Part {
    name: "retransmits",
    about: "whose bytes were sent again between two hosts that lose 3 %, against the sender's own sequence numbers",
    run: |setting| measure("retransmits", setting),
};

fn measure(part: &str, setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut cargo = program::cargo();
    cargo.args(["bench", "--quiet", "--locked", "-p", "snowshed-ebpf", "--bench", "probes", "--", "--part", part]);
    cargo.args(["--rounds", &setting.rounds.to_string()]).current_dir(process::root()).stderr(Stdio::inherit());
    let text = program::output(&mut cargo)?;
    lines::rows(&text, TARGETS)
}

/// What a figure must keep to: the first of these whose beginning and end it has.
const TARGETS: &[lines::Rule] = &[
    ("watched: open+close", "", Target::AtMost(650.0)),
    ("watched: epoll", "", Target::AtMost(500.0)),
    ("watched: send", "", Target::AtMost(300.0)),
    ("ratio", "", Target::SurelyAtMost(0.6)),
    ("unwatched, 1 agent:", "unhooked system call", Target::AtMost(60.0)),
    ("unwatched, 1 agent:", "", Target::AtMost(210.0)),
    ("a stack", "in the kernel", Target::AtMost(2.0)),
    ("a stack", "on the host before naming", Target::AtMost(10.0)),
    ("200 in flight", "named right", Target::SurelyAtLeast(0.9)),
    ("", "in flight: named right", Target::AtLeast(0.98)),
    ("", "in flight: wrong", Target::AtMost(0.0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_find_their_targets() {
        let target = |what| lines::target(what, TARGETS);
        assert_eq!(target("unwatched, 1 agent: unhooked system call"), Target::AtMost(60.0));
        assert_eq!(target("unwatched, 1 agent: epoll_wait, per tracepoint"), Target::AtMost(210.0));
        assert_eq!(target("unwatched, 20 agents: epoll_wait, per tracepoint"), Target::None);
        assert_eq!(target("200 in flight: named right"), Target::SurelyAtLeast(0.9));
        assert_eq!(target("64 in flight: named right"), Target::AtLeast(0.98));
    }
}
