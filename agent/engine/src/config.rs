//! What can be set. Each group of settings lives beside the unit that it steers; here they meet.
//!
//! Invariant: every setting has a default that is safe (nothing is enforced) and every value is taken
//! as it is without a panic: zero and absurd values only make the engine eager or deaf.

use crate::{model::ActuatorKind, slo::Slo};
use serde::{Deserialize, Serialize};

pub use crate::{
    breaker::BreakerConfig,
    correlate::OrphanConfig,
    forecast::ExhaustionConfig,
    loops::StallConfig,
    rise::GrowthConfig,
    rules::{Condition, FigureName, Rule},
    signs::SignConfig,
    slo::SloConfig,
};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Seed of the breaker's jitter.
    pub seed: u64,
    /// Which actuators may act. Empty is a dry run: decisions are recorded in the incident and go nowhere else.
    pub enforce: Vec<ActuatorKind>,
    /// When something held counts as orphaned.
    pub orphans: OrphanConfig,
    /// When an event loop counts as stalled.
    pub stalls: StallConfig,
    /// When a resource counts as running out.
    pub exhaustion: ExhaustionConfig,
    /// When memory, threads and tasks count as growing.
    pub growth: GrowthConfig,
    /// From when on something counts as short or slow.
    pub signs: SignConfig,
    /// How the windows of an objective are judged.
    pub slo: SloConfig,
    /// How hard and for how long the breaker limits.
    pub breaker: BreakerConfig,
    /// Figures that are bad together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Bounds of memory.
    pub caps: Caps,
    /// The objectives, from [`crate::slo::parse`].
    #[serde(skip)]
    pub slos: Vec<Slo>,
}

impl EngineConfig {
    /// Checks what no type can.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        crate::rules::check(&self.rules)
    }
}

/// Bounds of memory. What does not fit is left out, counted and shown, never guessed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// Processes watched at once.
    pub targets: usize,
    /// Things held by one process whose owner is followed; the rest is only counted.
    pub holdings: usize,
    /// Ended requests that one process is remembered by. The usual number leaves just half of the room of their table free: with
    /// one more it would be twice as large.
    pub ended_traces: usize,
    /// Groups (kind and site) of one process; later sites fall into their kind's unknown site.
    pub groups: usize,
    /// Closed incidents kept.
    pub closed_incidents: usize,
    /// Traces with kernel events that are kept; some 6 KB each at most.
    pub traces: usize,
    /// Traces of which only spans are known that are kept; some 0.5 KB each.
    pub bare_traces: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            targets: 64,
            holdings: 32_768,
            ended_traces: 3_584,
            groups: 256,
            closed_incidents: 64,
            traces: 1_024,
            bare_traces: 4_096,
        }
    }
}
