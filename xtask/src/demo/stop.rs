//! The last act: everything ends, and nothing of it is left on the machine.

use super::{
    MARK, Stage,
    guarded::Peers,
    screen::{Screen, Tone},
};
use crate::process;
use anyhow::Context as _;
use std::time::Duration;

/// The machine before Snowshed was started.
pub(super) struct Before {
    settings: Vec<(String, String)>,
    programs: usize,
}

impl Before {
    pub(super) fn look() -> anyhow::Result<Self> {
        let programs = process::programs_loaded().context("count BPF programs")?.len();
        Ok(Self { settings: process::settings(), programs })
    }
}

/// Plays it; gives what was left behind.
pub(super) fn play(screen: &Screen, stage: &Stage, mut peers: Peers, before: &Before) -> anyhow::Result<Vec<String>> {
    screen.act("4  A clean stop");
    let mut left = Vec::new();
    let mut note = |label: &str, text: String, clean: bool| {
        screen.fact(if clean { "✓" } else { "✗" }, &text);
        if !clean {
            left.push(format!("a clean stop ({label})"));
        }
    };
    let held = process::programs_held_by(peers.agent.pid()).context("agent's BPF programs")?;
    // Two seconds over the promise, so that a late end is told apart from none.
    match peers.agent.child().stop(Duration::from_secs(5)) {
        Ok((status, took)) => {
            let text = format!("agent: {status} {:.1} s after SIGTERM", took.as_secs_f64());
            note("agent", text, status.success() && took <= Duration::from_secs(3));
        }
        Err(error) => note("agent", format!("agent: {error:#}"), false),
    }
    // The kernel frees programs a moment after their last user.
    let is_gone = || {
        let loaded = process::programs_loaded().context("count BPF programs")?;
        Ok(held.is_disjoint(&loaded).then_some(loaded.len()))
    };
    match process::wait_until("the agent's BPF programs to go", Duration::from_secs(3), is_gone) {
        Ok(after) => {
            let text = format!(
                "BPF programs: the agent's {} are gone ({} on this machine before, {after} now)",
                held.len(),
                before.programs
            );
            note("BPF programs", text, true);
        }
        Err(error) => note("BPF programs", format!("{error:#}"), false),
    }
    peers.end()?;
    let marked = process::marked(&format!("{MARK}={}", stage.mark));
    note("processes", format!("processes of this demo that are left: {}", marked.len()), marked.is_empty());
    let after = process::settings();
    let changed: Vec<&str> =
        before.settings.iter().zip(&after).filter(|(old, new)| old.1 != new.1).map(|(old, _)| old.0.as_str()).collect();
    let text = if changed.is_empty() { "none".to_owned() } else { changed.join(", ") };
    note("settings", format!("kernel settings and mounts that changed: {text}"), changed.is_empty());
    if !left.is_empty() {
        screen.line("  Something was left behind.", Tone::Bad);
    }
    Ok(left)
}
