//! What each probe can do here, and what it costs: the honest part of the public status.

use crate::session::{Budget, Shed};
use serde::Serialize;
use std::collections::BTreeMap;

/// How much of a probe works on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Everything, from the kernel.
    Full,
    /// A fallback serves (`/proc`), or something is left out; `reason` says what is missing.
    Reduced,
    /// Nothing.
    #[default]
    Off,
}

/// A probe's state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProbeStatus {
    /// Its name, which is its folder, its config key and its metric prefix.
    pub name: &'static str,
    /// How much works.
    pub tier: Tier,
    /// Why it is not full; empty if it is.
    pub reason: String,
    /// What would help; empty if nothing is needed.
    pub remedy: String,
    /// Events delivered since the start.
    pub events: u64,
    /// Events lost since the start (ring full, table full).
    pub lost: u64,
    /// What it saw besides and does not tell as events, since the start.
    pub counts: BTreeMap<&'static str, u64>,
    /// Kernel time per run of its programs, nanoseconds, from the kernel's BPF statistics; `None` until sampled,
    /// and without CAP_SYS_ADMIN.
    pub ns_per_event: Option<f64>,
    /// The way to a program, nanoseconds a run, which the statistics do not see; calibrated at the start, `None`
    /// without CAP_SYS_ADMIN.
    pub ns_dispatch: Option<f64>,
    /// All that a hooked call costs a watched process, nanoseconds, stacks aside; calibrated at the start.
    pub ns_for_targets: Option<f64>,
    /// All that a hooked call costs any other process of the machine, nanoseconds; calibrated at the start, 0
    /// where nothing is hooked.
    pub ns_for_others: Option<f64>,
    /// Runs of its programs a second, for watched and unwatched processes, by the statistics.
    pub runs_per_second: Option<f64>,
    /// Share of one core that it takes now.
    pub core_share: Option<f64>,
    /// What it leaves out because of the budget.
    pub shed: Vec<Shed>,
}

/// What observing costs in all, beside what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Overhead {
    /// Share of one core that all hooks take.
    pub targets_core_share: f64,
    /// Cores that the machine uses, what hooks take of them included, the agent left out.
    pub machine_cores: f64,
    /// Cores that the targets use of them.
    pub targets_cores: f64,
    /// Share of one core that all hooks may take now, by both shares of the budget.
    pub targets_core_share_allowed: f64,
    /// Share of one core that the agent itself takes, over the last ten seconds.
    pub agent_core_share: Option<f64>,
    /// Resident memory of the agent.
    pub agent_rss_bytes: Option<u64>,
    /// Kernel memory of its maps and programs.
    pub bpf_bytes: Option<u64>,
    /// What every system call of the machine that no probe hooks costs more, nanoseconds.
    pub ns_per_other_call: Option<f64>,
    /// The agent looks this many times less often than it would, because of its own share.
    pub looks_divided_by: u32,
    /// The memory budget is exceeded although everything that can be given back was.
    pub over_memory: bool,
    /// What it may cost.
    pub budget: Budget,
}

/// How the trace of a thread is known: how many targets publish it, and in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContextStatus {
    /// Their program has the thread-local symbol.
    pub program: u32,
    /// A library has it, at a fixed distance from the thread pointer.
    pub library: u32,
    /// A library has it in a block that each thread makes when it first uses it.
    pub dynamic: u32,
    /// They publish none.
    pub none: u32,
    /// They publish their service's name (the process context).
    pub named: u32,
    /// What is published and cannot be read, by process; bounded.
    pub reasons: Vec<String>,
    /// The map of OBI's contexts is read where a process publishes none.
    pub observer: bool,
    /// Why not; empty if it is.
    pub observer_reason: String,
}
