//! When nobody heard whom a thread serves: the hook that tells it was off. What a thread opened then reads as made for the
//! connection that it had served before, which need not be so.
//!
//! Invariant: such an owner is not believed; it is unknown, never wrong. Cost: nothing while the hook was never off.

use snowshed_engine::model::Nanos;

/// Until every thread that serves connections has read from the present one.
const HEARS: Nanos = 1_000_000_000;
/// Times that are told apart; the oldest two become one.
const MOST: usize = 16;

/// All these times: from when until when.
#[derive(Debug, Default)]
pub(super) struct Deaf(Vec<(Nanos, Nanos)>);

impl Deaf {
    /// The hook was taken off; it may have been off already.
    pub(super) fn begin(&mut self, now: Nanos) {
        match self.0.last_mut() {
            Some((_, until)) if *until >= now => *until = Nanos::MAX,
            _ => self.0.push((now, Nanos::MAX)),
        }
        if self.0.len() > MOST {
            let (from, _) = self.0.remove(0);
            self.0[0].0 = from;
        }
    }

    /// It was put on again; it may have been on already.
    pub(super) fn end(&mut self, now: Nanos) {
        if let Some((_, until)) = self.0.last_mut().filter(|(_, until)| *until == Nanos::MAX) {
            *until = now + HEARS;
        }
    }

    /// Whether the owner of what was opened then is not to be believed.
    pub(super) fn covers(&self, made: Nanos) -> bool {
        self.0.iter().any(|(from, until)| (*from..*until).contains(&made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_while_nobody_heard_is_not_believed() {
        let mut deaf = Deaf::default();
        deaf.end(5);
        assert!(!deaf.covers(5));
        deaf.begin(10);
        deaf.begin(20);
        assert!(!deaf.covers(9) && deaf.covers(10) && deaf.covers(1 << 60));
        deaf.end(30);
        deaf.end(40);
        assert!(deaf.covers(30 + HEARS - 1) && !deaf.covers(30 + HEARS));
        deaf.begin(31);
        assert!(deaf.covers(30 + HEARS), "off again before all had heard");
        deaf.end(50);
        for turn in 1..100 {
            deaf.begin(turn * 10 * HEARS);
            deaf.end(turn * 10 * HEARS + HEARS);
        }
        assert_eq!(deaf.0.len(), MOST);
        assert!(deaf.covers(15) && deaf.covers(990 * HEARS) && !deaf.covers(995 * HEARS));
    }
}
