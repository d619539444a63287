//! Whom a process calls, and how that goes: counts, errors and latency by peer, from its client spans.
//!
//! Invariant: bounded; a peer beyond the bound is counted among the others. A sampled span counts for those that were
//! left out, at most a million. Memory: 32 peers with a sketch for each of two windows.

use crate::{
    model::{Call, CallKind, DownstreamPeer, DownstreamView, Nanos, Pid},
    sketch::Sketch,
    slo::state::WINDOW,
    text::cut,
    window::{Windows, seconds},
};

/// Peers told apart.
const PEERS: usize = 32;
/// The longest name, characters.
const NAME: usize = 128;
/// The name of the rest.
const OTHERS: &str = "others";
/// The most that one sampled span stands for.
const WEIGHT: f64 = 1e6;

#[derive(Debug)]
struct Peer {
    kind: CallKind,
    name: String,
    calls: f64,
    failed: f64,
    latency: Windows<Sketch>,
}

/// All whom one process calls.
#[derive(Debug, Default)]
pub(crate) struct Downstream(Vec<Peer>);

impl Downstream {
    /// Takes a call that ended.
    pub(crate) fn take(&mut self, told: &Call, ended: Nanos) {
        let peer = self.peer(told.kind, cut(&told.peer, NAME));
        let weight = if told.weight.is_finite() { told.weight.clamp(1.0, WEIGHT) } else { 1.0 };
        peer.calls += weight;
        peer.failed += if told.failed { weight } else { 0.0 };
        if let Some(sketch) = peer.latency.at(ended) {
            sketch.record(seconds(ended.saturating_sub(told.started)));
        }
    }

    fn peer(&mut self, kind: CallKind, name: &str) -> &mut Peer {
        let place = self.0.iter().position(|known| (known.kind, &*known.name) == (kind, name));
        let (kind, name) = if self.0.len() < PEERS { (kind, name) } else { (CallKind::Other, OTHERS) };
        let place = place.or_else(|| self.0.iter().position(|known| (known.kind, &*known.name) == (kind, name)));
        let place = place.unwrap_or_else(|| {
            let name = name.to_owned();
            self.0.push(Peer { kind, name, calls: 0.0, failed: 0.0, latency: Windows::new(WINDOW, 3) });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// As it is now.
    pub(crate) fn view(&self, pid: Pid, now: Nanos) -> DownstreamView {
        let peer = |peer: &Peer| {
            let present = peer.latency.number(now);
            let sketch = peer.latency.get(present.wrapping_sub(1)).or_else(|| peer.latency.get(present));
            DownstreamPeer {
                kind: peer.kind,
                peer: peer.name.clone(),
                calls: peer.calls,
                failed: peer.failed,
                latency_seconds: sketch.and_then(|sketch| Some((sketch.quantile(0.5)?, sketch.quantile(0.99)?))),
            }
        };
        let mut peers: Vec<&Peer> = self.0.iter().collect();
        peers.sort_by_key(|peer| (peer.kind, &*peer.name));
        DownstreamView { pid, peers: peers.into_iter().map(peer).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::TraceId, window::SECOND};

    fn call(peer: &str, failed: bool, weight: f64) -> Call {
        Call {
            pid: Some(1),
            trace: TraceId([1; 16]),
            span: None,
            kind: CallKind::Http,
            peer: peer.to_owned(),
            started: 9 * SECOND,
            ended: 10 * SECOND,
            failed,
            weight,
        }
    }

    #[test]
    fn calls_errors_and_latency_are_told_by_peer_and_weighed() {
        let mut downstream = Downstream::default();
        downstream.take(&call("a", false, 1.0), 10 * SECOND);
        downstream.take(&call("a", true, 4.0), 10 * SECOND);
        downstream.take(&call("b", true, f64::NAN), 10 * SECOND);
        let view = downstream.view(1, 11 * SECOND);
        let told: Vec<_> = view.peers.iter().map(|peer| (&*peer.peer, peer.calls, peer.failed)).collect();
        assert_eq!(told, [("a", 5.0, 4.0), ("b", 1.0, 1.0)]);
        let (p50, p99) = view.peers[0].latency_seconds.unwrap();
        assert!((p50 - 1.0).abs() < 0.01 && (p99 - 1.0).abs() < 0.01, "{p50} {p99}");
    }

    #[test]
    fn peers_are_bounded_and_nothing_is_lost_from_the_count() {
        let mut downstream = Downstream::default();
        (0..1_000).for_each(|n| downstream.take(&call(&format!("peer {n}"), false, f64::MAX), n * SECOND));
        let view = downstream.view(1, 0);
        assert_eq!(view.peers.len(), PEERS + 1);
        assert!((view.peers.iter().map(|peer| peer.calls).sum::<f64>() - 1e9).abs() < 1.0);
    }
}
