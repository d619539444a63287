//! What was observed in the second act, in the order of the script, and what of it was not.

use super::claims;
use crate::rig::Fault;
use serde_json::Value;

/// Something seen: when (seconds since 1970), and what.
pub(super) type Sighting<T> = Option<(f64, T)>;

/// What was observed, in the order of the script.
#[derive(Default)]
pub(super) struct Story {
    pub(super) fault: Option<Fault>,
    pub(super) control_seconds: f64,
    pub(super) control_incidents: usize,
    pub(super) control_good: (usize, usize),
    pub(super) on: f64,
    pub(super) off: f64,
    /// When a cause was first seen to be named, and the incident once it also told where in the code.
    pub(super) named_at: Option<f64>,
    pub(super) named: Sighting<Value>,
    pub(super) forecast: Sighting<claims::Forecast>,
    pub(super) limited: Sighting<u64>,
    pub(super) refused: Option<f64>,
    pub(super) burning: Option<f64>,
    pub(super) alert: Sighting<Value>,
    /// Descriptors called orphaned, and the truth at that moment, while nothing changed.
    pub(super) settled: Option<(u64, usize)>,
    /// What `/api/v1/fds` said then.
    pub(super) kind: Option<String>,
    pub(super) first_good: Option<f64>,
    pub(super) closed: Sighting<Value>,
    pub(super) resolved: Option<f64>,
    pub(super) released: Option<f64>,
    pub(super) dead: Option<(f64, String)>,
    pub(super) cost: Cost,
}

/// What the agent used: as it says, and as `/proc` says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) cpu_claimed: Option<f64>,
    pub(super) cpu_used: Option<f64>,
    pub(super) rss_claimed: Option<f64>,
    pub(super) rss_used: Option<u64>,
}

impl Story {
    /// The steps that were not seen.
    pub(super) fn missed(&self) -> Vec<String> {
        let leak = self.leaks();
        let steps = [
            ("a control run without incident", self.control_incidents == 0),
            ("a cause named", self.named.is_some()),
            ("a forecast", !leak || self.forecast.is_some()),
            ("the limit lowered", self.limited.is_some()),
            ("requests refused by it", self.refused.is_some()),
            ("the SLO burning", self.burning.is_some()),
            ("an alert at Alertmanager", self.alert.is_some()),
            ("a service that stays alive", self.dead.is_none()),
            ("good answers after the fault", self.first_good.is_some()),
            ("the incident closed", self.closed.is_some()),
            ("the alert resolved", self.resolved.is_some()),
            ("the limit given back", self.released.is_some()),
        ];
        steps.iter().filter(|(_, seen)| !seen).map(|(step, _)| (*step).to_owned()).collect()
    }

    /// Whether the fault is one that leaks descriptors, by the service's own word.
    pub(super) fn leaks(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.cause == "fd_leak")
    }

    /// Whether all is there that shows while the fault is on.
    pub(super) fn all_seen(&self) -> bool {
        self.named.is_some()
            && self.limited.is_some()
            && self.refused.is_some()
            && self.burning.is_some()
            && self.alert.is_some()
            && (!self.leaks() || self.forecast.is_some())
    }
}
