//! The public record of an open descriptor, and of what connections wait for.
//!
//! Invariant: text that a process chose arrives here bounded and escaped (`snowshed_ebpf::OpenFd`).

use super::{Sites, frames, text::seconds, wire_name};
use serde::Serialize;
use snowshed_ebpf::{DirectFds, OpenFd};
use snowshed_engine::model::{
    ConnectionCounts, ConnectionSeen, Connections, HoldingKind, Join, Nanos, TROUBLE, TcpState, TraceId,
};
use std::net::SocketAddr;

/// A descriptor.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fd {
    pub(crate) fd: i32,
    pub(crate) kind: HoldingKind,
    pub(crate) name: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<String>,
    pub(crate) state: Option<TcpState>,
    pub(crate) connection: Option<Connection>,
    pub(crate) direct_descriptors: Option<DirectFds>,
    pub(crate) frames: Vec<String>,
    pub(crate) age_seconds: Option<f64>,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) join: Join,
}

impl Fd {
    /// The record; the frames as far as they are known.
    pub(crate) fn new(open: &OpenFd, sites: &Sites, now: Nanos) -> Self {
        Self {
            fd: open.item.number,
            kind: open.item.kind,
            name: open.name.clone(),
            deleted: open.deleted,
            local: open.local,
            peer: open.peer.map(|peer| peer.to_string()).or_else(|| open.unix_peer.clone()),
            state: open.state,
            connection: open.connection.as_ref().map(Connection::new),
            direct_descriptors: open.direct.clone(),
            frames: frames(sites, open.item.site),
            age_seconds: open.item.made.map(|made| s(now.saturating_sub(made))),
            trace_id: open.item.owner.trace,
            join: open.item.owner.join,
        }
    }
}

/// What a TCP connection waits for; each time is a lower bound.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connection {
    pub(crate) fd: i32,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) state: TcpState,
    pub(crate) close_wait_seconds: Option<f64>,
    pub(crate) stuck_send_seconds: Option<f64>,
    pub(crate) unread_seconds: Option<f64>,
    pub(crate) idle_seconds: Option<f64>,
    pub(crate) unsent_bytes: u32,
    pub(crate) unread_bytes: u32,
    pub(crate) peer_window_bytes: u32,
    pub(crate) resent: u8,
}

impl Connection {
    fn new(seen: &ConnectionSeen) -> Self {
        let ConnectionSeen { number, local, peer, state, unsent, unread, window, resent, .. } = *seen;
        Self {
            fd: number,
            local,
            peer,
            state,
            close_wait_seconds: seen.close_wait.map(s),
            stuck_send_seconds: seen.stuck_send.map(s),
            unread_seconds: seen.unread_for.map(s),
            idle_seconds: seen.idle.map(s),
            unsent_bytes: unsent,
            unread_bytes: unread,
            peer_window_bytes: window,
            resent,
        }
    }

    /// Its troubles in one line.
    pub(crate) fn sentence(&self) -> String {
        let lasts = |time: Option<f64>| time.filter(|time| *time >= s(TROUBLE));
        let mut signs = Vec::new();
        if let Some(time) = lasts(self.close_wait_seconds) {
            signs.push(format!("the peer closed it {} ago, this side has not (CLOSE_WAIT)", seconds(time)));
        }
        if let Some(time) = lasts(self.stuck_send_seconds) {
            let why = match (self.peer_window_bytes, self.resent) {
                (_, 1..) => format!("the peer does not answer (sent again {} times)", self.resent),
                (0, _) => "the peer does not read".to_owned(),
                _ => "the peer takes nothing".to_owned(),
            };
            signs.push(format!("{} bytes stuck in the send queue for {}: {why}", self.unsent_bytes, seconds(time)));
        }
        if let Some(time) = lasts(self.unread_seconds) {
            signs.push(format!("{} bytes received and not read for {}", self.unread_bytes, seconds(time)));
        }
        format!("fd {} {} <-> {}: {}", self.fd, self.local, self.peer, signs.join("; "))
    }
}

/// What the connections of a process wait for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Waiting {
    #[serde(flatten)]
    pub(crate) counts: ConnectionCounts,
    pub(crate) idle_longest_seconds: Option<f64>,
    /// The longest first; some of them if they are many.
    pub(crate) troubled: Vec<Connection>,
}

impl From<&Connections> for Waiting {
    fn from(told: &Connections) -> Self {
        Self {
            counts: told.counts,
            idle_longest_seconds: told.idle_longest.map(s),
            troubled: told.troubled.iter().map(Connection::new).collect(),
        }
    }
}

impl Waiting {
    /// The counts in a line; `None` without connections.
    pub(crate) fn sentence(&self) -> Option<String> {
        let counts = &self.counts;
        let parts = [
            (counts.close_wait, "in CLOSE_WAIT"),
            (counts.stuck_send, "with a stuck send queue"),
            (counts.unread, "unread"),
        ];
        let told = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
        let told: String = told.collect();
        let idle = match self.idle_longest_seconds {
            Some(time) if counts.idle > 0 => format!(", {} idle (the longest {})", counts.idle, seconds(time)),
            _ => String::new(),
        };
        (counts.all > 0).then(|| format!("{} connections{told}{idle}", counts.all))
    }
}

fn s(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// An example of descriptors of one place, for a person.
pub(crate) fn example(open: &OpenFd) -> String {
    match open.item.kind {
        // All of a kind have the same name.
        HoldingKind::Epoll | HoldingKind::Eventfd | HoldingKind::Timerfd | HoldingKind::Signalfd => {
            format!("fd {}", open.item.number)
        }
        kind if open.name.is_none() && open.local.is_none() => format!("fd {} ({})", open.item.number, wire_name(kind)),
        _ => format!("fd {} {open}", open.item.number),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn troubled() -> Connections {
        let at = SocketAddr::from(([10, 0, 0, 1], 80));
        let seen = ConnectionSeen {
            number: 9,
            local: at,
            peer: at,
            state: TcpState::CloseWait,
            unsent: 70_000,
            unread: 0,
            window: 0,
            resent: 0,
            close_wait: Some(2 * TROUBLE),
            stuck_send: Some(4 * TROUBLE),
            unread_for: Some(TROUBLE - 1),
            idle: None,
        };
        let counts = ConnectionCounts { all: 3, close_wait: 1, stuck_send: 1, unread: 0, idle: 1 };
        Connections { pid: 1, at: 0, counts, troubled: vec![seen], idle_longest: Some(12_000_000_000) }
    }

    #[test]
    fn a_troubled_connection_is_one_clear_line() {
        let waiting = Waiting::from(&troubled());
        assert_eq!(
            waiting.troubled[0].sentence(),
            "fd 9 10.0.0.1:80 <-> 10.0.0.1:80: the peer closed it 10 s ago, this side has not (CLOSE_WAIT); \
             70000 bytes stuck in the send queue for 20 s: the peer does not read"
        );
        assert_eq!(
            waiting.sentence().as_deref(),
            Some("3 connections, 1 in CLOSE_WAIT, 1 with a stuck send queue, 1 idle (the longest 12 s)")
        );
        assert_eq!(Waiting::default().sentence(), None);
        let silent = Connection { resent: 4, close_wait_seconds: None, ..waiting.troubled[0].clone() };
        assert!(silent.sentence().ends_with("the peer does not answer (sent again 4 times)"));
    }
}
