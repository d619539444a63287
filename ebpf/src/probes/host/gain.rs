//! What a counter gained since the last look.
//!
//! Invariant: never more than what really happened. A first look gains nothing, and neither does a counter that
//! began again; one that ran over its width gains what lies around the edge.

use std::{collections::HashMap, hash::Hash};

/// How wide a counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Shown with 32 bits: it may run over.
    Narrow,
    /// 64 bits: it does not.
    Wide,
}

/// Gains of this much or more in one look are no overrun but a restart.
const PLAUSIBLE: u64 = 1 << 31;

/// The last values of counters.
#[derive(Debug)]
pub(super) struct Gains<K> {
    last: HashMap<K, (u64, u64)>,
    turn: u64,
}

impl<K> Default for Gains<K> {
    fn default() -> Self {
        Self { last: HashMap::new(), turn: 0 }
    }
}

impl<K: Eq + Hash> Gains<K> {
    /// What a counter gained; `None` at its first look.
    pub(super) fn of(&mut self, key: K, now: u64, width: Width) -> Option<u64> {
        let (before, _) = self.last.insert(key, (now, self.turn))?;
        Some(match (now.checked_sub(before), width) {
            (Some(gain), _) => gain,
            (None, Width::Narrow) => {
                let gain = u64::from((now as u32).wrapping_sub(before as u32));
                if gain < PLAUSIBLE { gain } else { 0 }
            }
            (None, Width::Wide) => 0,
        })
    }

    /// Keeps counters that this round passed over.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&K) -> bool) {
        let turn = self.turn;
        self.last.iter_mut().filter(|(key, _)| is_kept(key)).for_each(|(_, (_, seen))| *seen = turn);
    }

    /// Ends a round of looks: what was not looked at in it is forgotten, and begins anew if it comes back.
    pub(super) fn end(&mut self) {
        let turn = self.turn;
        self.last.retain(|_, (_, seen)| *seen == turn);
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_round_passes_over_is_kept_if_that_is_said() {
        let mut gains = Gains::default();
        gains.of(1, 10, Width::Wide);
        gains.of(2, 10, Width::Wide);
        gains.end();
        gains.keep(|key| *key == 1);
        gains.end();
        assert_eq!((gains.of(1, 15, Width::Wide), gains.of(2, 15, Width::Wide)), (Some(5), None));
    }

    #[test]
    fn gains_are_differences_and_a_restart_gains_nothing() {
        let mut gains = Gains::default();
        assert_eq!(gains.of("a", 1_000, Width::Wide), None);
        assert_eq!(gains.of("a", 1_007, Width::Wide), Some(7));
        assert_eq!(gains.of("a", 3, Width::Wide), Some(0));
        assert_eq!(gains.of("a", 5, Width::Wide), Some(2));
    }

    #[test]
    fn a_narrow_counter_runs_over_but_also_restarts() {
        let mut gains = Gains::default();
        gains.of("a", 0xffff_fffe, Width::Narrow);
        assert_eq!(gains.of("a", 3, Width::Narrow), Some(5));
        gains.of("a", 1_000, Width::Narrow);
        assert_eq!(gains.of("a", 3, Width::Narrow), Some(0), "far below the edge it is a restart");
    }

    #[test]
    fn what_was_away_for_a_round_begins_anew() {
        let mut gains = Gains::default();
        gains.of("a", 5, Width::Wide);
        gains.end();
        gains.end();
        assert_eq!(gains.of("a", 500, Width::Wide), None);
    }
}
