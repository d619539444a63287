//! How targets get on over TCP, summed up by peer.
//!
//! Invariant: nothing is counted twice or forgotten: a peer for which there is no room, or which gives way to
//! another, goes on as one of the others. Bounded by the constants. Cost: one map access per peer and look.

use crate::model::{Peer, TcpListener, TcpLook, TcpPeer, TcpView};
use std::collections::BTreeMap;

/// Peers that are told apart.
const PEERS: usize = 32;
/// Listeners that are kept.
const LISTENERS: usize = 32;
/// Kinds of failure that are told apart.
const FAILURES: usize = 16;

/// What one target's connections did.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    peers: BTreeMap<Peer, TcpPeer>,
    others: TcpPeer,
    listeners: Vec<TcpListener>,
    zero_windows: Option<u64>,
    window_probes: Option<u64>,
}

impl Traffic {
    /// Takes a look.
    pub(crate) fn look(&mut self, told: &TcpLook) {
        self.peers.values_mut().chain([&mut self.others]).for_each(still);
        for one in &told.peers {
            let Some(peer) = one.peer else {
                add(&mut self.others, one);
                continue;
            };
            if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS {
                self.make_room();
            }
            if self.peers.contains_key(&peer) || self.peers.len() < PEERS {
                let entry = self.peers.entry(peer).or_default();
                entry.peer = Some(peer);
                add(entry, one);
            } else {
                add(&mut self.others, one);
            }
        }
        self.listeners = told.listeners.iter().take(LISTENERS).copied().collect();
        let sum = |all: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *all = Some(all.unwrap_or(0).saturating_add(more));
            }
        };
        sum(&mut self.zero_windows, told.zero_windows);
        sum(&mut self.window_probes, told.window_probes);
    }

    /// Of those that have no connection now the one that sent least goes on as one of the others.
    fn make_room(&mut self) {
        let idle = self.peers.values().filter(|one| one.connections == 0).min_by_key(|one| one.segments);
        if let Some(gone) = idle.and_then(|one| one.peer).and_then(|peer| self.peers.remove(&peer)) {
            add(&mut self.others, &gone);
        }
    }

    pub(crate) fn view(&self) -> TcpView {
        let mut peers: Vec<TcpPeer> = self.peers.values().cloned().collect();
        peers.sort_by_key(|one| std::cmp::Reverse(one.segments));
        if self.others != TcpPeer::default() {
            peers.push(self.others.clone());
        }
        TcpView {
            peers,
            listeners: self.listeners.clone(),
            zero_windows: self.zero_windows,
            window_probes: self.window_probes,
        }
    }
}

/// Forgets what is only true at a moment. The round trips stay: they are the last ones that were measured.
fn still(one: &mut TcpPeer) {
    (one.connections, one.multipath, one.peer_zero, one.own_zero, one.probes) = (0, 0, 0, 0, 0);
    (one.active, one.unanswered, one.unfinished, one.unfinished_us) = (0, 0, 0, 0);
    (one.awaited, one.awaited_us) = (0, 0);
}

fn add(sum: &mut TcpPeer, more: &TcpPeer) {
    sum.connections = sum.connections.saturating_add(more.connections);
    sum.multipath = sum.multipath.saturating_add(more.multipath);
    sum.peer_zero = sum.peer_zero.saturating_add(more.peer_zero);
    sum.own_zero = sum.own_zero.saturating_add(more.own_zero);
    sum.probes = sum.probes.saturating_add(more.probes);
    sum.active = sum.active.saturating_add(more.active);
    sum.unanswered = sum.unanswered.saturating_add(more.unanswered);
    sum.awaited = sum.awaited.saturating_add(more.awaited);
    sum.awaited_us = sum.awaited_us.max(more.awaited_us);
    sum.unasked = sum.unasked.saturating_add(more.unasked);
    sum.unfinished = sum.unfinished.saturating_add(more.unfinished);
    sum.unfinished_us = sum.unfinished_us.max(more.unfinished_us);
    sum.segments = sum.segments.saturating_add(more.segments);
    sum.data_segments = sum.data_segments.saturating_add(more.data_segments);
    sum.resent = sum.resent.saturating_add(more.resent);
    sum.reads = sum.reads.saturating_add(more.reads);
    sum.read_delay_us = sum.read_delay_us.saturating_add(more.read_delay_us);
    sum.answers = sum.answers.saturating_add(more.answers);
    sum.answer_us = sum.answer_us.saturating_add(more.answer_us);
    sum.in_use_us = sum.in_use_us.saturating_add(more.in_use_us);
    sum.slowest_read_us = sum.slowest_read_us.max(more.slowest_read_us);
    sum.resets_sent = sum.resets_sent.saturating_add(more.resets_sent);
    sum.resets_received = sum.resets_received.saturating_add(more.resets_received);
    sum.rtt_us = more.rtt_us.or(sum.rtt_us);
    sum.least_rtt_us = match (sum.least_rtt_us, more.least_rtt_us) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    for (error, count) in &more.failures {
        if let Some((_, known)) = sum.failures.iter_mut().find(|(known, _)| known == error) {
            *known = known.saturating_add(*count);
        } else if sum.failures.len() < FAILURES {
            sum.failures.push((*error, *count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn look(number: u32, segments: u64, connections: u32) -> TcpLook {
        let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
        let peer = Some(Peer { address, port: None });
        let one = TcpPeer { peer, segments, connections, resent: 1, failures: vec![(111, 2)], ..TcpPeer::default() };
        TcpLook { pid: 1, at: 1, peers: vec![one], zero_windows: Some(1), ..TcpLook::default() }
    }

    #[test]
    fn sums_outlive_their_peer_and_moments_do_not() {
        let mut all = Traffic::default();
        for number in 0..100 {
            all.look(&look(number, 10, 0));
        }
        all.look(&look(7, 5, 3));
        let view = all.view();
        assert_eq!(view.peers.len(), PEERS + 1);
        assert_eq!(view.peers.iter().map(|one| one.segments).sum::<u64>(), 1005);
        assert_eq!(view.peers.iter().map(|one| one.failures[0].1).sum::<u64>(), 202);
        assert_eq!(view.peers.iter().map(|one| one.connections).sum::<u32>(), 3);
        assert_eq!((view.zero_windows, view.window_probes), (Some(101), None));
        all.look(&TcpLook::default());
        assert_eq!(all.view().peers.iter().map(|one| one.connections).sum::<u32>(), 0);
    }

    #[test]
    fn a_peer_with_open_connections_does_not_give_way() {
        let mut all = Traffic::default();
        let many = (0..40).flat_map(|number| look(number, 10, 1).peers).collect();
        all.look(&TcpLook { pid: 1, at: 1, peers: many, ..TcpLook::default() });
        let view = all.view();
        assert_eq!((view.peers.len(), view.peers[PEERS].segments), (PEERS + 1, 80));
        assert_eq!(view.peers[PEERS].peer, None);
    }
}
