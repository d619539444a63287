//! What each probe can do here, and what it costs: the honest part of the public status.

use serde::Serialize;

/// How much of a probe works on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Everything, from the kernel.
    Full,
    /// A fallback serves (`/proc`); `reason` says what is missing.
    Reduced,
    /// Nothing.
    Off,
}

/// A probe's state.
#[derive(Clone, Debug, Serialize)]
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
    /// Kernel time per run of its programs, nanoseconds, from the kernel's BPF statistics; `None` until sampled.
    pub ns_per_event: Option<f64>,
}
