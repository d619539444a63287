//! How a process gets on with those it talks to over TCP.

use super::{Nanos, Pid};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The other side of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the process connected to it; `None`: it connected to one of the process's listeners.
    pub port: Option<u16>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// What was added since the look before, and how it is now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TcpLook {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// By peer; those with which nothing happened and no connection is open are not listed.
    pub peers: Vec<TcpPeer>,
    /// All of its listeners.
    pub listeners: Vec<TcpListener>,
    /// Windows that went to zero since the look before, in all of its network namespace; `None`: unknown.
    pub zero_windows: Option<u64>,
    /// Window probes sent since the look before, in all of its network namespace.
    pub window_probes: Option<u64>,
}

/// Connections with one peer. Counts are gains; the rest is as of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TcpPeer {
    /// Who; `None`: others, or unknown.
    pub peer: Option<Peer>,
    /// Open connections.
    pub connections: u32,
    /// Of these, parts of multipath connections: only the first part of each is read.
    pub multipath: u32,
    /// Segments sent, those sent again included.
    pub segments: u64,
    /// Of these, with data.
    pub data_segments: u64,
    /// Of these, sent again.
    pub resent: u64,
    /// The longest smoothed round trip of an open connection, microseconds.
    pub rtt_us: Option<u32>,
    /// The least round trip of late, microseconds.
    pub least_rtt_us: Option<u32>,
    /// Connections on which the peer takes nothing: its window is zero.
    pub peer_zero: u32,
    /// Connections on which the process takes nothing: its own window is zero.
    pub own_zero: u32,
    /// Window probes without an answer.
    pub probes: u32,
    /// Receives that brought bytes.
    #[serde(default)]
    pub reads: u64,
    /// How long the bytes had lain there, to within a tick of the kernel's clock, microseconds, all of these receives
    /// added up. Of bytes that came in several packets it is the time since the last one.
    #[serde(default)]
    pub read_delay_us: u64,
    /// The longest of these times, microseconds.
    #[serde(default)]
    pub slowest_read_us: u32,
    /// Answers on these connections: the peer's where the process connected to it, else the process's own.
    #[serde(default)]
    pub answers: u64,
    /// How long they took from what was asked last to the first byte, to within a tick of the kernel's clock each,
    /// microseconds, added up.
    #[serde(default)]
    pub answer_us: u64,
    /// Connections on which an answer came since the look before, those closed since among them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub active: u32,
    /// Of connections that it made: the time from a question until the last byte of its answer, microseconds, all of them
    /// added up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub in_use_us: u64,
    /// Connections that it made on which a question has waited for its answer for 0.1 seconds or more, although it arrived.
    #[serde(default, skip_serializing_if = "is_none")]
    pub awaited: u32,
    /// The longest of them has for so long, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub awaited_us: u64,
    /// Sends on connections that it made which followed another after a pause, without an answer between: no questions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unasked: u64,
    /// Of accepted connections those on which a request has waited for its answer for two seconds or more.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unanswered: u32,
    /// Of accepted connections those whose request has been arriving for more than six seconds, and still does.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unfinished: u32,
    /// The longest of them has for so long, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished_us: u64,
    /// Resets sent.
    pub resets_sent: u64,
    /// Resets received.
    pub resets_received: u64,
    /// Connects that failed, by errno; 0: given up before an answer came, or refused on this host.
    pub failures: Vec<(u32, u64)>,
}

/// Recordings leave out what is not told.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

/// Likewise.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpListener {
    /// Where.
    pub address: SocketAddr,
    /// It speaks multipath TCP.
    pub multipath: bool,
    /// Connections that nobody has accepted.
    pub queue: u32,
    /// The backlog: more than so many wait for nothing.
    pub limit: u32,
    /// What it dropped since it was made: overflows, and packets that it could not take.
    pub dropped: u64,
}

/// All of it, since the process is watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TcpView {
    /// By peer, those with the most segments first; the last one may be the others together.
    pub peers: Vec<TcpPeer>,
    /// Its listeners.
    pub listeners: Vec<TcpListener>,
    /// Windows that went to zero in its network namespace; `None`: unknown.
    pub zero_windows: Option<u64>,
    /// Window probes sent in its network namespace.
    pub window_probes: Option<u64>,
}
