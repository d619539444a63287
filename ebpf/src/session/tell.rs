//! What a session says of itself: tiers with reason and remedy, cost, losses.

use super::{Session, Shed, Unit};
use crate::{
    ProbeStatus, Tier,
    host::{counts::Counts, kernel::Kernel, privilege::Privilege},
    wire::Counter,
};
use snowshed_engine::model::{Lost, Nanos, Observation};

impl Unit {
    /// What it has delivered and lost, what it counted of the calibration included.
    pub(super) fn counted(&self, counts: &Counts) -> (u64, u64) {
        let (delivered, lost) = self.probe.counters();
        (counts.sum(delivered), counts.sum(lost))
    }
}

impl Session {
    /// Tells new losses, so that the engine never takes silence for health.
    pub(super) fn losses(&mut self, at: Nanos, out: &mut Vec<Observation>) {
        let counts = self.counts();
        for unit in &mut self.units {
            let lost = counts.sum(unit.probe.counters().1);
            if lost > unit.lost {
                out.push(Observation::Lost(Lost { probe: unit.probe.name().to_owned(), events: lost - unit.lost, at }));
                unit.lost = lost;
            }
        }
        let lost = counts.of(Counter::LifecycleLost);
        if lost > self.lifecycle_lost {
            let events = lost - self.lifecycle_lost;
            out.push(Observation::Lost(Lost { probe: "lifecycle".to_owned(), events, at }));
            (self.lifecycle_lost, self.doubted) = (lost, true);
        }
    }

    /// All that the programs have counted; nothing without them.
    pub(super) fn counts(&self) -> Counts {
        self.kernel.as_ref().map(Kernel::counts).unwrap_or_default()
    }

    /// State and cost of each probe.
    #[must_use]
    pub fn status(&self) -> Vec<ProbeStatus> {
        // Read only where somebody needs advice.
        let privilege = std::cell::OnceCell::new();
        let advice = |trouble: &str| privilege.get_or_init(Privilege::now).remedy(trouble);
        let counts = self.counts();
        let row = |(index, unit): (usize, &Unit)| {
            // What is not attached delivers nothing, even where another's programs count for it.
            let counted = if unit.trouble.is_some() { unit.calibrated } else { unit.counted(&counts) };
            let ((events, lost), before) = (counted, unit.calibrated);
            let lacks = unit.probe.lacks();
            let (shed, price) = (self.shed(index), self.cost.price(index));
            let over = || format!("over the budget of {:.3} of a core", self.watch.allowed);
            let (tier, reason) = match (&unit.trouble, unit.probe.fallback()) {
                (None, fallback) if shed.contains(&Shed::Hooks) => match unit.probe.without_hooks().or(fallback) {
                    Some(fallback) => (Tier::Reduced, format!("{}: its hooks are off; serving {fallback}", over())),
                    None => (Tier::Off, format!("{}: its hooks are off", over())),
                },
                (None, _) if shed.contains(&Shed::Owners) => {
                    (Tier::Reduced, format!("{}: {}", over(), unit.probe.without_owners()))
                }
                (None, _) if !shed.is_empty() => (Tier::Reduced, format!("{}: fewer stacks", over())),
                (None, _) => lacks.as_ref().map_or((Tier::Full, String::new()), |lacks| (Tier::Reduced, lacks.clone())),
                (Some(trouble), Some(fallback)) => (Tier::Reduced, format!("{trouble}; serving {fallback}")),
                (Some(trouble), None) => (Tier::Off, trouble.clone()),
            };
            ProbeStatus {
                name: unit.probe.name(),
                tier,
                remedy: match unit.trouble.as_deref() {
                    Some(trouble) => advice(trouble),
                    None if !shed.is_empty() => {
                        "raise overhead.targets_cpu_ratio and overhead.targets_core_share, or watch fewer processes; \
                         it comes back by itself"
                            .to_owned()
                    }
                    None => lacks.map(|lacks| advice(&lacks)).unwrap_or_default(),
                },
                reason,
                events: events.saturating_sub(before.0),
                lost: lost.saturating_sub(before.1),
                counts: unit.probe.counts().iter().map(|(what, counter)| (*what, counts.of(*counter))).collect(),
                ns_per_event: price.per_run,
                ns_dispatch: price.dispatch,
                ns_for_targets: price.watched,
                ns_for_others: price.others,
                runs_per_second: price.runs,
                core_share: self.watch.cores.get(index).copied(),
                shed: shed.to_vec(),
            }
        };
        self.units.iter().enumerate().map(row).collect()
    }
}
