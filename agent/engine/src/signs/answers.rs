//! How long those answer that a process asks, each held against its own past.
//!
//! A peer's usual time is a running median of the means of its looks, so that a slow peer hides no other and a mix of
//! peers is no slowness. A late look moves it by the clock only, so that it takes a quarter of an hour to make lateness
//! usual. An answer that does not come is late as soon as it is later than that; but some ask for none (who streams, or
//! speaks a protocol with frames of its own), so it counts only of peers that nearly always have answered what they were
//! sent. How many it answers a second is held against its own past, too: who is asked many times as often as ever may
//! well be late. Invariant: a peer of which few looks are known says nothing. Memory: [`PEERS`] peers; the one that was
//! asked least lately makes room.

use super::requests::Quantile;
use crate::{
    model::{Nanos, Peer},
    window::SECOND,
};
use std::collections::BTreeMap;

/// Peers that are told apart.
const PEERS: usize = 32;
/// Looks with answers before a peer has a usual time.
const ENOUGH: u32 = 8;
/// Late: so many times the usual, and by at least so many seconds.
const LATE: (f64, f64) = (3.0, 0.1);
/// A late look moves what is usual only so long after another one did.
const LEARN_EVERY: Nanos = 20 * SECOND;
/// It is asked more than ever: so many times as often as is usual, and by so many answers a second more.
const MORE: (f64, f64) = (3.0, 1.0);
/// How much of the answers a second is of the last look; the rest is of those before.
const LATELY: f64 = 0.5;
/// A peer that takes turns has had at most this share of what it was sent without an answer.
const UNASKED: f64 = 0.02;

/// Who is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Late {
    /// How long its answers took, or have not come for, seconds.
    pub(crate) time: f64,
    /// Connections on which one has not come.
    pub(crate) awaited: u32,
    /// When this was so.
    pub(crate) at: Nanos,
}

impl Late {
    /// What does not come is as late as the longest wait for it of late: whoever gives up asks again.
    pub(super) fn and_before(self, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.awaited > 0 && self.at.saturating_sub(before.at) <= LEARN_EVERY);
        Self { time: before.map_or(self.time, |before| before.time.max(self.time)), ..self }
    }
}

#[derive(Clone, Copy, Debug)]
struct Usual {
    looks: u32,
    /// Answers, and what was sent that had none.
    turns: (f64, f64),
    /// When a late look last moved it.
    learnt: Nanos,
    asked: Nanos,
    median: Quantile,
    /// Answers a second: lately, and as is usual.
    rate: (f64, Quantile),
}

/// Usual times by peer.
#[derive(Debug, Default)]
pub(crate) struct Answers(BTreeMap<Peer, Usual>);

impl Answers {
    /// Takes the mean time of a peer's answers in one look, seconds, and how many a second it gave: whether they were late;
    /// `None`: not known yet.
    pub(super) fn take(&mut self, peer: Peer, mean: f64, rate: f64, at: Nanos) -> Option<bool> {
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            let oldest = self.0.iter().min_by_key(|(_, usual)| usual.asked).map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.0.remove(&peer));
        }
        let (median, rates) = (Quantile::at(0.5, mean), (rate, Quantile::at(0.5, rate)));
        let first = Usual { looks: 0, turns: (0.0, 0.0), learnt: 0, asked: at, median, rate: rates };
        let usual = self.0.entry(peer).or_insert(first);
        usual.asked = at;
        usual.rate.0 += LATELY * (rate - usual.rate.0);
        let before = usual.median.value();
        let late = (usual.looks >= ENOUGH).then_some(is_late(mean, before));
        if late != Some(true) || at.saturating_sub(usual.learnt) >= LEARN_EVERY {
            usual.learnt = if late == Some(true) { at } else { usual.learnt };
            usual.median.learn(mean, usual.looks < ENOUGH);
            usual.rate.1.learn(rate, usual.looks < ENOUGH);
            usual.looks = usual.looks.saturating_add(1);
        }
        late
    }

    /// Takes how many answers a peer gave in one look, and how much was sent to it that had none.
    pub(super) fn turns(&mut self, peer: &Peer, answers: f64, unasked: f64) {
        if let Some(usual) = self.0.get_mut(peer) {
            usual.turns = (usual.turns.0 + answers.max(0.0), usual.turns.1 + unasked.max(0.0));
        }
    }

    /// Whether an answer that has not come for so many seconds is late; `None`: not known, or nobody may wait for it.
    pub(super) fn is_overdue(&mut self, peer: &Peer, waited: f64, at: Nanos) -> Option<bool> {
        let usual = self.0.get_mut(peer).filter(|usual| usual.looks >= ENOUGH)?;
        usual.asked = at;
        let (answers, unasked) = usual.turns;
        (unasked <= UNASKED * answers).then(|| is_late(waited, usual.median.value()))
    }

    /// How many answers a second a peer gives lately and how many are usual, if it is asked many times as often as ever.
    pub(crate) fn asked_more(&self, peer: &Peer) -> Option<(f64, f64)> {
        let usual = self.0.get(peer).filter(|usual| usual.looks >= ENOUGH)?;
        let (lately, before) = (usual.rate.0, usual.rate.1.value());
        (lately >= MORE.0 * before && lately >= before + MORE.1).then_some((lately, before))
    }

    /// A peer's usual time, seconds.
    pub(crate) fn usual(&self, peer: &Peer) -> Option<f64> {
        self.0.get(peer).map(|usual| usual.median.value())
    }
}

fn is_late(time: f64, usual: f64) -> bool {
    time > (LATE.0 * usual).max(usual + LATE.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn peer(port: u16) -> Peer {
        Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: Some(port) }
    }

    #[test]
    fn a_peer_is_late_by_its_own_measure() {
        let mut all = Answers::default();
        for n in 0..20 {
            assert_ne!(all.take(peer(1), 0.003, 7.0, n * SECOND), Some(true));
            assert_ne!(all.take(peer(2), 2.0, 7.0, n * SECOND), Some(true));
        }
        let at = 40 * SECOND;
        assert_eq!(all.take(peer(1), 0.09, 7.0, at), Some(false), "less than 0.1 s more is of no account");
        assert_eq!(all.take(peer(1), 0.6, 7.0, at), Some(true));
        assert_eq!(all.take(peer(2), 2.2, 7.0, at), Some(false));
        assert_eq!(all.take(peer(3), 9.0, 7.0, at), None);
    }

    #[test]
    fn who_is_asked_many_times_as_often_is_told_as_long_as_it_is_late() {
        let mut all = Answers::default();
        for n in 0..20 {
            all.take(peer(1), 0.02, 6.0 + f64::from(u8::try_from(n % 3).unwrap()), n * SECOND);
        }
        assert_eq!((all.asked_more(&peer(1)), all.asked_more(&peer(2))), (None, None));
        for n in 20..120 {
            assert_eq!(all.take(peer(1), 0.4, 45.0, n * SECOND), Some(true));
        }
        let (lately, before) = all.asked_more(&peer(1)).unwrap();
        assert!((44.0..=46.0).contains(&lately) && (5.0..=10.0).contains(&before), "{lately} {before}");
        // Late for another reason.
        all.take(peer(1), 0.4, 7.0, 120 * SECOND);
        for n in 121..130 {
            all.take(peer(1), 0.4, 7.0, n * SECOND);
        }
        assert_eq!(all.asked_more(&peer(1)), None);
    }

    #[test]
    fn lateness_becomes_usual_only_after_long() {
        let mut all = Answers::default();
        for n in 0..20 {
            all.take(peer(1), 0.003, 7.0, n * SECOND);
        }
        let learnt = (20..3_600).find(|n| all.take(peer(1), 0.6, 7.0, n * SECOND) == Some(false));
        assert!(learnt.is_some_and(|second| (320..3_000).contains(&second)), "{learnt:?}");
    }

    #[test]
    fn what_is_not_answered_is_late_only_where_turns_are_taken() {
        let mut all = Answers::default();
        for n in 0..20 {
            for one in [1, 2] {
                all.take(peer(one), 0.003, 7.0, n * SECOND);
            }
            all.turns(&peer(1), 50.0, 0.0);
            // Each answer is acknowledged by a frame of its own.
            all.turns(&peer(2), 50.0, 45.0);
        }
        let at = 20 * SECOND;
        let mut overdue = |one, waited| all.is_overdue(&peer(one), waited, at);
        assert_eq!((overdue(1, 0.05), overdue(1, 0.4)), (Some(false), Some(true)));
        assert_eq!((overdue(2, 9.0), overdue(3, 9.0)), (None, None));
    }

    #[test]
    fn peers_are_bounded() {
        let mut all = Answers::default();
        for port in 0..500 {
            all.take(peer(port), 0.1, 7.0, SECOND * u64::from(port));
        }
        assert!(all.0.len() == PEERS && all.usual(&peer(499)).is_some() && all.usual(&peer(1)).is_none());
    }
}
