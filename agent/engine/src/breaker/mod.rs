//! The breaker: policies propose a limit, one state machine decides, actuators enforce.
//!
//! Invariant: whatever is decided has a reason, a time limit and a way back, and what it would take to
//! enforce it is somebody else's business: a dry run decides the same.

mod policies;
pub(crate) mod state;

pub(crate) use policies::propose;
pub(crate) use state::Breaker;

use serde::{Deserialize, Serialize};

/// How hard and for how long the breaker limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Share of the usual concurrency that a limit leaves.
    pub factor: f64,
    /// No limit is lower than this.
    pub min_limit: u32,
    /// A limit ends by itself after so long unless it is renewed, seconds.
    pub expires_seconds: u64,
    /// However long the trouble lasts, a limit is given back after this, seconds ...
    pub most_seconds: u64,
    /// ... and not set again for so long, seconds.
    pub cool_down_seconds: u64,
    /// So long without a proposal before capacity is given back, seconds.
    pub settle_seconds: u64,
    /// Each step back multiplies the limit by this ...
    pub step_factor: f64,
    /// ... and comes after at least, and at most, so many milliseconds.
    pub step_ms: (u64, u64),
    /// A leak is shed for only if the limit could be reached within this, seconds.
    pub leak_within_seconds: f64,
    /// A stalled loop is shed for only if it loses this share of the time.
    pub stall_share: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            factor: 0.4,
            min_limit: 2,
            expires_seconds: 30,
            most_seconds: 600,
            cool_down_seconds: 300,
            settle_seconds: 5,
            step_factor: 1.5,
            step_ms: (3_000, 5_000),
            leak_within_seconds: 600.0,
            stall_share: 0.2,
        }
    }
}

/// A limit that a policy proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// At most so many requests at once.
    pub(crate) limit: u32,
    /// What is usual.
    pub(crate) baseline: u32,
    /// Why, for the audit trail.
    pub(crate) reason: String,
}
