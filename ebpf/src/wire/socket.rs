//! `tcp`: how a connection or a listener gets on, read from its socket.

/// [`SocketRecord::kind`]: it is open, and this is how it gets on.
pub const SOCKET_OPEN: u32 = 0;
/// It is closed now; what it counted is final.
pub const SOCKET_CLOSED: u32 = 1;
/// Closed before the handshake was done: the connect failed, `error` says how.
pub const SOCKET_FAILED: u32 = 2;
/// It sent a reset.
pub const SOCKET_RESET_SENT: u32 = 3;
/// It received one.
pub const SOCKET_RESET_RECEIVED: u32 = 4;

/// [`SocketRecord::flags`]: it belongs to a multipath socket; of a connection this is its first part.
pub const SOCKET_MULTIPATH: u32 = 1;
/// The peer's window is zero: nothing can be sent.
pub const SOCKET_PEER_ZERO: u32 = 2;
/// Its own window is zero: the process does not read.
pub const SOCKET_OWN_ZERO: u32 = 4;

/// A TCP socket at a moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketRecord {
    /// When.
    pub at: u64,
    /// The socket, as a number that is equal for records of one socket.
    pub socket: u64,
    /// `SOCKET_*` kind.
    pub kind: u32,
    /// The process, initial namespace.
    pub host_tgid: u32,
    /// `SOCKET_*` flags.
    pub flags: u32,
    /// The kernel's state (TCP_*); of what is closed the one before.
    pub state: u32,
    /// An errno; 0: none.
    pub error: u32,
    /// Segments sent, those sent again included.
    pub segments: u32,
    /// Of these, with data.
    pub data_segments: u32,
    /// Segments sent again.
    pub resent: u32,
    /// Smoothed round trip, eighths of microseconds; 0: not measured.
    pub srtt: u32,
    /// Least round trip of late, microseconds; all bits: not measured.
    pub least_rtt: u32,
    /// Listener: connections that nobody has accepted.
    pub queue: u32,
    /// Listener: more than so many are refused.
    pub limit: u32,
    /// Listener: what it dropped, since it was made.
    pub drops: u32,
    /// Window probes that have no answer.
    pub probes: u32,
    /// Receives that brought bytes, since the socket is watched.
    pub reads: u32,
    /// The longest time since the last packet with data when bytes were received, since the last look, ticks.
    pub slowest_read: u32,
    /// That time of all receives, added up, ticks.
    pub read_delay: u64,
    /// How long answers took that the process gave, from what it received last to its first byte, added up, ticks.
    pub given_time: u64,
    /// How long answers took that it had, from what it sent last until they came, added up, ticks.
    pub had_time: u64,
    /// And until the last bytes of each.
    pub had_whole: u64,
    /// Answers given since the socket is watched.
    pub given: u32,
    /// Answers had.
    pub had: u32,
    /// For how long the process has owed an answer, ticks; 0: it does not.
    pub owes: u32,
    /// For how long the peer has owed an answer although it has all that was sent, ticks; 0: it does not.
    pub owed: u32,
    /// Sends that followed another after a pause, without an answer between.
    pub unasked: u32,
    /// Receives that did.
    pub pushed: u32,
    /// Own address (IPv4 in the first four bytes).
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
    /// Own and peer's port, host order.
    pub ports: [u16; 2],
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// Always 0.
    pub _end: u16,
}
