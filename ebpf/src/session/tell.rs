//! What a session says of itself: tiers with reason and remedy, cost, losses.

use super::{Session, Unit};
use crate::{ProbeStatus, Tier, wire::Counter};
use snowshed_engine::model::{Lost, Nanos, Observation};

impl Session {
    /// Tells new losses, so that the engine never takes silence for health.
    pub(super) fn losses(&mut self, at: Nanos, out: &mut Vec<Observation>) {
        let Some(kernel) = &self.kernel else { return };
        for unit in &mut self.units {
            let lost: u64 = unit.probe.counters().1.iter().map(|counter| kernel.count(*counter)).sum();
            if lost > unit.lost {
                out.push(Observation::Lost(Lost { probe: unit.probe.name().to_owned(), events: lost - unit.lost, at }));
                unit.lost = lost;
            }
        }
        let lost = kernel.count(Counter::LifecycleLost);
        if lost > self.lifecycle_lost {
            let events = lost - self.lifecycle_lost;
            out.push(Observation::Lost(Lost { probe: "lifecycle".to_owned(), events, at }));
            self.lifecycle_lost = lost;
        }
    }

    /// State and cost of each probe.
    #[must_use]
    pub fn status(&self) -> Vec<ProbeStatus> {
        let count = |counters: &[Counter]| {
            self.kernel.as_ref().map_or(0, |kernel| counters.iter().map(|counter| kernel.count(*counter)).sum())
        };
        let row = |(index, unit): (usize, &Unit)| {
            let (events, lost) = unit.probe.counters();
            let lacks = unit.probe.lacks();
            let (tier, reason) = match (&unit.trouble, unit.probe.fallback()) {
                (None, _) => lacks.map_or((Tier::Full, String::new()), |lacks| (Tier::Reduced, lacks.to_owned())),
                (Some(trouble), Some(fallback)) => (Tier::Reduced, format!("{trouble}; serving {fallback}")),
                (Some(trouble), None) => (Tier::Off, trouble.clone()),
            };
            ProbeStatus {
                name: unit.probe.name(),
                tier,
                remedy: unit.trouble.as_deref().or(lacks).map(remedy).unwrap_or_default(),
                reason,
                events: count(events),
                lost: count(lost),
                ns_per_event: self.cost.ns_per_run(index),
            }
        };
        self.units.iter().enumerate().map(row).collect()
    }
}

/// What would help against a trouble.
fn remedy(trouble: &str) -> String {
    let permitted = ["Operation not permitted", "Permission denied", "os error 1)", "EPERM"];
    if permitted.iter().any(|text| trouble.contains(text)) {
        "run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (and CAP_SYS_ADMIN where \
         tracefs is not mounted)"
            .to_owned()
    } else if trouble.contains("/sys/kernel/btf") {
        "a kernel built with CONFIG_DEBUG_INFO_BTF (5.10 and later of most distributions)".to_owned()
    } else if trouble == "switched off" {
        "start without --no-bpf".to_owned()
    } else if trouble.contains("tracefs") {
        "mount tracefs at /sys/kernel/tracing, or grant CAP_SYS_ADMIN".to_owned()
    } else {
        "a newer kernel may have what is missing; see the reason".to_owned()
    }
}
