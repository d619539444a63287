//! A target's TCP connections and listeners, as people and programs are told of them.

use serde::Serialize;
use snowshed_engine::model::{TcpListener, TcpPeer, TcpView};
use std::{borrow::Cow, collections::BTreeMap};

/// Connections and listeners of a target, since it is watched.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Record {
    pub(crate) segments_sent_total: u64,
    pub(crate) segments_retransmitted_total: u64,
    /// Of the segments sent; `null`: none was.
    pub(crate) retransmitted_ratio: Option<f64>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) listeners: Vec<Listener>,
    /// Windows that went to zero, of all processes in its network namespace; `null`: unknown.
    pub(crate) namespace_zero_windows_total: Option<u64>,
    /// Window probes sent, likewise.
    pub(crate) namespace_window_probes_total: Option<u64>,
}

/// Connections with one peer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    /// Address and port of a server, address of a client; `null`: others, or unknown.
    pub(crate) peer: Option<String>,
    pub(crate) connections: u32,
    /// Of these, multipath ones: of each only the first part is read.
    pub(crate) multipath_connections: u32,
    pub(crate) segments_sent_total: u64,
    pub(crate) data_segments_sent_total: u64,
    pub(crate) segments_retransmitted_total: u64,
    pub(crate) retransmitted_ratio: Option<f64>,
    /// Smoothed round trip of the slowest open connection.
    pub(crate) rtt_seconds: Option<f64>,
    /// The kernel's least round trip of late, the least of all connections.
    pub(crate) least_rtt_seconds: Option<f64>,
    pub(crate) reads_total: u64,
    /// How long received bytes lay unread until the target took them, to within a tick of the kernel's clock: of all
    /// reads, added up.
    pub(crate) read_delay_seconds_total: f64,
    /// The longest of these; `null`: nothing was read.
    pub(crate) slowest_read_seconds: Option<f64>,
    /// Answers: the peer's where the target connected to it, else the target's own.
    pub(crate) answers_total: u64,
    /// How long they took from what was asked last to the first byte, added up.
    pub(crate) answer_seconds_total: f64,
    /// Connections on which the peer owes an answer although it has the question, for 0.1 s or more.
    pub(crate) answers_awaited: u32,
    /// The longest of these waits; `null`: there is none.
    pub(crate) longest_wait_seconds: Option<f64>,
    /// Connections to its listeners on which the target has owed an answer for two seconds or more.
    pub(crate) requests_unanswered: u32,
    /// Connections whose peer takes nothing now.
    pub(crate) peer_zero_windows: u32,
    /// Connections that the target itself does not read now.
    pub(crate) own_zero_windows: u32,
    pub(crate) window_probes_unanswered: u32,
    pub(crate) resets_sent_total: u64,
    pub(crate) resets_received_total: u64,
    /// By error; `given_up`: no answer was waited for, or this host refused.
    pub(crate) connect_failures_total: BTreeMap<Cow<'static, str>, u64>,
}

/// A socket that listens.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listener {
    pub(crate) address: String,
    pub(crate) multipath: bool,
    pub(crate) accept_queue: u32,
    pub(crate) backlog: u32,
    /// Since it was made: overflows, and packets that it could not take.
    pub(crate) dropped_total: u64,
}

impl From<&TcpView> for Record {
    fn from(view: &TcpView) -> Self {
        let sum = |of: fn(&TcpPeer) -> u64| view.peers.iter().map(of).sum::<u64>();
        let (sent, resent) = (sum(|one| one.segments), sum(|one| one.resent));
        Self {
            segments_sent_total: sent,
            segments_retransmitted_total: resent,
            retransmitted_ratio: ratio(resent, sent),
            peers: view.peers.iter().map(Peer::from).collect(),
            listeners: view.listeners.iter().map(Listener::from).collect(),
            namespace_zero_windows_total: view.zero_windows,
            namespace_window_probes_total: view.window_probes,
        }
    }
}

impl From<&TcpPeer> for Peer {
    fn from(one: &TcpPeer) -> Self {
        let time = |micros: Option<u32>| micros.map(|micros| f64::from(micros) / 1e6);
        Self {
            peer: one.peer.map(|peer| peer.to_string()),
            connections: one.connections,
            multipath_connections: one.multipath,
            segments_sent_total: one.segments,
            data_segments_sent_total: one.data_segments,
            segments_retransmitted_total: one.resent,
            retransmitted_ratio: ratio(one.resent, one.segments),
            rtt_seconds: time(one.rtt_us),
            least_rtt_seconds: time(one.least_rtt_us),
            reads_total: one.reads,
            read_delay_seconds_total: one.read_delay_us as f64 / 1e6,
            slowest_read_seconds: time((one.reads > 0).then_some(one.slowest_read_us)),
            answers_total: one.answers,
            answer_seconds_total: one.answer_us as f64 / 1e6,
            answers_awaited: one.awaited,
            longest_wait_seconds: (one.awaited > 0).then_some(one.awaited_us as f64 / 1e6),
            requests_unanswered: one.unanswered,
            peer_zero_windows: one.peer_zero,
            own_zero_windows: one.own_zero,
            window_probes_unanswered: one.probes,
            resets_sent_total: one.resets_sent,
            resets_received_total: one.resets_received,
            connect_failures_total: one.failures.iter().map(|(error, count)| (errno(*error), *count)).collect(),
        }
    }
}

impl From<&TcpListener> for Listener {
    fn from(one: &TcpListener) -> Self {
        Self {
            address: one.address.to_string(),
            multipath: one.multipath,
            accept_queue: one.queue,
            backlog: one.limit,
            dropped_total: one.dropped,
        }
    }
}

impl Peer {
    /// As a label or a word.
    pub(crate) fn name(&self) -> &str {
        self.peer.as_deref().unwrap_or("others")
    }
}

impl Listener {
    /// What it speaks.
    pub(crate) fn protocol(&self) -> &'static str {
        if self.multipath { "mptcp" } else { "tcp" }
    }
}

fn ratio(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

/// The name of an errno of Linux (asm-generic/errno.h).
fn errno(error: u32) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        0 => "given_up",
        13 => "EACCES",
        71 => "EPROTO",
        92 => "ENOPROTOOPT",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        other => return Cow::Owned(format!("errno_{other}")),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use snowshed_engine::model;

    pub(crate) fn view() -> TcpView {
        let address = std::net::IpAddr::from([10, 0, 0, 9]);
        let server = TcpPeer {
            peer: Some(model::Peer { address, port: Some(443) }),
            connections: 2,
            segments: 200,
            data_segments: 150,
            resent: 5,
            rtt_us: Some(1500),
            least_rtt_us: Some(900),
            reads: 4,
            read_delay_us: 20_000,
            slowest_read_us: 12_000,
            peer_zero: 1,
            probes: 3,
            awaited: 2,
            awaited_us: 6_000_000,
            resets_received: 4,
            failures: vec![(111, 2), (0, 1), (7, 1)],
            ..TcpPeer::default()
        };
        let others = TcpPeer { segments: 50, own_zero: 1, multipath: 1, connections: 1, ..TcpPeer::default() };
        let address = ([0, 0, 0, 0], 80).into();
        let listener = TcpListener { address, multipath: true, queue: 3, limit: 2, dropped: 7 };
        TcpView { peers: vec![server, others], listeners: vec![listener], zero_windows: Some(1), window_probes: None }
    }

    #[test]
    fn shares_names_and_errors_are_told() {
        let record = Record::from(&view());
        assert_eq!((record.segments_sent_total, record.retransmitted_ratio), (250, Some(0.02)));
        let peer = &record.peers[0];
        assert_eq!(
            (peer.name(), peer.retransmitted_ratio, peer.rtt_seconds),
            ("10.0.0.9:443", Some(0.025), Some(0.0015))
        );
        assert_eq!((peer.read_delay_seconds_total, peer.slowest_read_seconds), (0.02, Some(0.012)));
        assert_eq!(record.peers[1].slowest_read_seconds, None, "nothing was read");
        assert_eq!((peer.answers_awaited, peer.longest_wait_seconds), (2, Some(6.0)));
        assert_eq!(record.peers[1].longest_wait_seconds, None, "nothing is waited for");
        let failures: Vec<(&str, u64)> = peer.connect_failures_total.iter().map(|(k, v)| (k.as_ref(), *v)).collect();
        assert_eq!(failures, [("ECONNREFUSED", 2), ("errno_7", 1), ("given_up", 1)]);
        assert_eq!((record.peers[1].name(), record.listeners[0].protocol()), ("others", "mptcp"));
        assert_eq!(Record::from(&TcpView::default()).retransmitted_ratio, None);
    }
}
