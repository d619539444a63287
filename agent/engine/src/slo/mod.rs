//! Objectives: what they are, how a file tells them, and how they are doing.

mod condition;
mod openslo;
mod parse;
pub(crate) mod state;

pub use condition::Good;
pub use parse::{SloError, parse};

use crate::model::{Nanos, Request};
use serde::{Deserialize, Serialize};

/// How the windows of an objective are judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SloConfig {
    /// Below so many requests a window says nothing.
    pub min_requests: u64,
    /// Below so many bad requests a window is not violated, whatever their share: one must not page.
    pub min_bad: u64,
    /// Violated windows in a row that make an objective burn.
    pub windows: u32,
    /// Windows without enough requests after which a row is forgotten.
    pub forget_after: u32,
    /// A window is judged so long after its end, because spans come late: milliseconds.
    pub delay_ms: u64,
}

impl Default for SloConfig {
    fn default() -> Self {
        Self { min_requests: 5, min_bad: 2, windows: 3, forget_after: 4, delay_ms: 3_000 }
    }
}

/// An objective: this share of these requests is to be good.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Its name.
    pub name: String,
    /// The service it is about.
    pub service: String,
    /// Method and route template of its requests; `None` is every request of the service.
    pub route: Option<String>,
    /// What makes a request good.
    pub good: Good,
    /// The share that is to be good, between 0 and 1.
    pub target: f64,
    /// The rolling window that its error budget is counted over.
    pub window: Nanos,
}

/// What a request is to an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Met it.
    Good,
    /// Did not.
    Bad,
    /// Was refused by the breaker (429): no statement about the service.
    Shed,
}

impl Slo {
    /// Whether the objective is about this request.
    pub(crate) fn covers(&self, request: &Request) -> bool {
        self.service == request.service && self.route.as_ref().is_none_or(|route| *route == request.route)
    }

    /// What this request is to the objective.
    pub(crate) fn judge(&self, request: &Request) -> Verdict {
        match request.status {
            Some(429) => Verdict::Shed,
            _ if self.good.met_by(request) => Verdict::Good,
            _ => Verdict::Bad,
        }
    }
}
