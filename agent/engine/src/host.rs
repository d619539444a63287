//! What the machine, a network namespace or a cgroup went short of, summed up by counter.
//!
//! Invariant: a counter that was never readable is not listed; one that gained nothing is, at zero.
//! Bounded by the constant; what does not fit is left out. Cost: one map access per counter and look.

use crate::{
    model::{HostLook, HostScope, HostSignal, HostView, Nanos},
    window::seconds,
};
use std::collections::BTreeMap;

/// Counters that are kept: a machine has many interfaces, a service uses few.
const KEPT: usize = 256;
/// A longer name than any interface has.
const NAME: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Gained {
    total: u64,
    last: u64,
    over: Nanos,
}

/// Counters by scope, signal and place.
#[derive(Debug, Default)]
pub(crate) struct Shortages(BTreeMap<(HostScope, HostSignal, String), Gained>);

impl Shortages {
    /// Takes a look.
    pub(crate) fn look(&mut self, told: &HostLook) {
        for item in &told.items {
            let key = (told.scope, item.signal, item.place.chars().take(NAME).collect());
            if self.0.len() >= KEPT && !self.0.contains_key(&key) {
                continue;
            }
            let entry = self.0.entry(key).or_insert(Gained { total: 0, last: 0, over: 0 });
            entry.total = entry.total.saturating_add(item.amount);
            (entry.last, entry.over) = (item.amount, told.until.saturating_sub(told.since));
        }
    }

    /// All of them.
    #[expect(clippy::cast_precision_loss, reason = "counts, for people and for ratios")]
    pub(crate) fn view(&self) -> Vec<HostView> {
        let show = |((scope, signal, place), gained): (&(HostScope, HostSignal, String), &Gained)| {
            let unit = |amount: u64| if signal.is_time() { seconds(amount) } else { amount as f64 };
            let over = seconds(gained.over);
            let rate = if over > 0.0 { unit(gained.last) / over } else { 0.0 };
            HostView {
                scope: *scope,
                signal: *signal,
                place: place.clone(),
                total: unit(gained.total),
                // Clocks of two files differ a little: a share is never more than all of the time.
                rate: if signal.is_time() { rate.min(1.0) } else { rate },
            }
        };
        self.0.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::HostItem, window::SECOND};

    fn look(signal: HostSignal, place: &str, amount: u64) -> HostLook {
        let item = HostItem { signal, place: place.to_owned(), amount };
        HostLook { scope: HostScope::Network, pid: Some(1), since: SECOND, until: 3 * SECOND, items: vec![item] }
    }

    #[test]
    fn counts_and_shares_are_told_apart_and_add_up() {
        let mut kept = Shortages::default();
        kept.look(&look(HostSignal::ListenDrops, "", 4));
        kept.look(&look(HostSignal::ListenDrops, "", 6));
        kept.look(&look(HostSignal::CpuSome, "", 500_000_000));
        let view = kept.view();
        assert_eq!((view[0].total, view[0].rate), (10.0, 3.0));
        assert_eq!((view[1].total, view[1].rate), (0.5, 0.25));
    }

    #[test]
    fn names_without_end_are_bounded() {
        let mut kept = Shortages::default();
        (0..1000).for_each(|n| kept.look(&look(HostSignal::NicRxDropped, &format!("veth{n}{}", "x".repeat(99)), 1)));
        assert_eq!(kept.view().len(), KEPT);
        assert!(kept.view().iter().all(|one| one.place.len() <= NAME));
    }
}
