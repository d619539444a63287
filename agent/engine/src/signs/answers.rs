//! How long those answer that a process asks, each held against its own past.
//!
//! A peer's usual time is a running median of the means of its looks, so that a slow peer hides no other and a mix of
//! peers is no slowness. A late look moves it by the clock only, so that it takes a quarter of an hour to make lateness
//! usual. Invariant: a peer of which few looks are known says nothing. Memory: [`PEERS`] peers; the one that was asked
//! least lately makes room.

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

#[derive(Clone, Copy, Debug)]
struct Usual {
    looks: u32,
    /// When a late look last moved it.
    learnt: Nanos,
    asked: Nanos,
    median: Quantile,
}

/// Usual times by peer.
#[derive(Debug, Default)]
pub(crate) struct Answers(BTreeMap<Peer, Usual>);

impl Answers {
    /// Takes the mean time of a peer's answers in one look, seconds: whether they were late; `None`: not known yet.
    pub(super) fn take(&mut self, peer: Peer, mean: f64, at: Nanos) -> Option<bool> {
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            let oldest = self.0.iter().min_by_key(|(_, usual)| usual.asked).map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.0.remove(&peer));
        }
        let first = Usual { looks: 0, learnt: 0, asked: at, median: Quantile::at(0.5, mean) };
        let usual = self.0.entry(peer).or_insert(first);
        usual.asked = at;
        let before = usual.median.value();
        let is_late = mean > (LATE.0 * before).max(before + LATE.1);
        let late = (usual.looks >= ENOUGH).then_some(is_late);
        if late != Some(true) || at.saturating_sub(usual.learnt) >= LEARN_EVERY {
            usual.learnt = if late == Some(true) { at } else { usual.learnt };
            usual.median.learn(mean, usual.looks < ENOUGH);
            usual.looks = usual.looks.saturating_add(1);
        }
        late
    }

    /// A peer's usual time, seconds.
    pub(crate) fn usual(&self, peer: &Peer) -> Option<f64> {
        self.0.get(peer).map(|usual| usual.median.value())
    }
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
            assert_ne!(all.take(peer(1), 0.003, n * SECOND), Some(true));
            assert_ne!(all.take(peer(2), 2.0, n * SECOND), Some(true));
        }
        let at = 40 * SECOND;
        assert_eq!(all.take(peer(1), 0.09, at), Some(false), "less than 0.1 s more is of no account");
        assert_eq!(all.take(peer(1), 0.6, at), Some(true));
        assert_eq!(all.take(peer(2), 2.2, at), Some(false));
        assert_eq!(all.take(peer(3), 9.0, at), None);
    }

    #[test]
    fn lateness_becomes_usual_only_after_long() {
        let mut all = Answers::default();
        for n in 0..20 {
            all.take(peer(1), 0.003, n * SECOND);
        }
        let learnt = (20..3_600).find(|n| all.take(peer(1), 0.6, n * SECOND) == Some(false));
        assert!(learnt.is_some_and(|second| (320..3_000).contains(&second)), "{learnt:?}");
    }

    #[test]
    fn peers_are_bounded() {
        let mut all = Answers::default();
        for port in 0..500 {
            all.take(peer(port), 0.1, SECOND * u64::from(port));
        }
        assert!(all.0.len() == PEERS && all.usual(&peer(499)).is_some() && all.usual(&peer(1)).is_none());
    }
}
