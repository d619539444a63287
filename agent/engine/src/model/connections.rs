//! What the TCP connections of a process wait for.
//!
//! Times are lower bounds: the kernel keeps no more than when data last moved, and the look began late.

use super::{Nanos, Pid};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The states of TCP, as the kernel names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcpState {
    /// Data may flow both ways.
    Established,
    /// Connecting.
    SynSent,
    /// Being accepted.
    SynRecv,
    /// Closed here, which the peer has not acknowledged.
    FinWait1,
    /// Closed here; the peer may still send.
    FinWait2,
    /// Over, waiting for stray packets.
    TimeWait,
    /// Not connected.
    Close,
    /// The peer has closed, this side has not.
    CloseWait,
    /// Both have closed; the last acknowledgement is awaited.
    LastAck,
    /// Listening.
    Listen,
    /// Both closed at once.
    Closing,
}

impl TcpState {
    /// From the kernel's number.
    #[must_use]
    pub fn from_kernel(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }
}

/// A TCP connection at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSeen {
    /// Its descriptor; the lowest, if it has several.
    pub number: i32,
    /// Own address.
    pub local: SocketAddr,
    /// Peer's.
    pub peer: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// Bytes written that the peer has not acknowledged.
    pub unsent: u32,
    /// Bytes received that the process has not read.
    pub unread: u32,
    /// Room that the peer offers, bytes.
    pub window: u32,
    /// Times that the first unacknowledged packet was sent again.
    pub resent: u8,
    /// The peer closed this long ago at least, and this side has not.
    pub close_wait: Option<Nanos>,
    /// The peer has acknowledged none of what is to be sent for this long.
    pub stuck_send: Option<Nanos>,
    /// What was received has been lying there unread for this long.
    pub unread_for: Option<Nanos>,
    /// Nothing moves and nothing waits to, for this long.
    pub idle: Option<Nanos>,
}

/// Connections counted by what they wait for; one may count in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    /// All TCP connections.
    pub all: u64,
    /// Closed by the peer and not here, for [`TROUBLE`].
    pub close_wait: u64,
    /// The peer has acknowledged nothing of what waits to be sent, for [`TROUBLE`].
    pub stuck_send: u64,
    /// Received and not read, for [`TROUBLE`].
    pub unread: u64,
    /// Open without any traffic, for [`IDLE`]. No trouble in itself.
    pub idle: u64,
}

/// From this long on it is trouble.
pub const TROUBLE: Nanos = 5_000_000_000;
/// From this long on a connection is idle.
pub const IDLE: Nanos = 10_000_000_000;

/// All TCP connections of a process at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// How many.
    pub counts: ConnectionCounts,
    /// The troubled ones, the longest first; some of them if they are many.
    pub troubled: Vec<ConnectionSeen>,
    /// How long the one that is idle longest has been.
    pub idle_longest: Option<Nanos>,
}

impl ConnectionSeen {
    /// How long its worst trouble lasts, if it has one.
    #[must_use]
    pub fn trouble(&self) -> Option<Nanos> {
        let signs = [self.close_wait, self.stuck_send, self.unread_for];
        signs.into_iter().flatten().max().filter(|lasted| *lasted >= TROUBLE)
    }
}

impl ConnectionCounts {
    /// Counts one more.
    pub fn add(&mut self, seen: &ConnectionSeen) {
        let lasts = |time: Option<Nanos>, least| u64::from(time.is_some_and(|time| time >= least));
        self.all += 1;
        self.close_wait += lasts(seen.close_wait, TROUBLE);
        self.stuck_send += lasts(seen.stuck_send, TROUBLE);
        self.unread += lasts(seen.unread_for, TROUBLE);
        self.idle += lasts(seen.idle, IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts() {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let calm = ConnectionSeen {
            number: 3,
            local: at,
            peer: at,
            state: TcpState::Established,
            unsent: 0,
            unread: 0,
            window: 1,
            resent: 0,
            close_wait: None,
            stuck_send: None,
            unread_for: Some(TROUBLE - 1),
            idle: Some(IDLE),
        };
        let mut counts = ConnectionCounts::default();
        counts.add(&calm);
        counts.add(&ConnectionSeen { close_wait: Some(TROUBLE), stuck_send: Some(2 * TROUBLE), ..calm });
        assert_eq!(counts, ConnectionCounts { all: 2, close_wait: 1, stuck_send: 1, unread: 0, idle: 2 });
        assert_eq!(calm.trouble(), None, "an idle connection is none");
    }
}
