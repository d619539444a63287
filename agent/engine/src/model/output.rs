//! What the engine decides.

use super::{Incident, Nanos, Pid};
use serde::{Deserialize, Serialize};

/// One decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Output {
    /// An incident opened, changed or closed; the whole record each time.
    Incident(Box<Incident>),
    /// A command for an actuator (only ones that are enforced; a dry run appears in the incident alone).
    Act(Act),
    /// A question; the answer comes back as an observation.
    Ask(Ask),
}

/// Who enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActuatorKind {
    /// The layer inside the service.
    Guard,
    /// Envoy.
    Envoy,
    /// The kernel's socket lookup.
    SkLookup,
    /// Replacing the process.
    Recycle,
}

/// A command with its reason, its time limit and its way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Act {
    /// Who is to act.
    pub actuator: ActuatorKind,
    /// On whom.
    pub pid: Pid,
    /// What to change.
    pub change: Change,
    /// Why, in words for the audit trail.
    pub reason: String,
    /// When the change ends by itself unless it is renewed.
    pub expires: Nanos,
}

/// What an actuator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// At most this many requests at once.
    Limit(u32),
    /// No limit.
    Release,
}

/// A question to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Take up to this many stacks a second of the process's ways in.
    StackRate {
        /// The process.
        pid: Pid,
        /// Stacks a second.
        per_second: u32,
    },
}
