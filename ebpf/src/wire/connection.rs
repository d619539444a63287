//! `fd`: what is read of a socket beside its descriptor.

/// Follows the [`FdRecord`](super::FdRecord) of an internet socket. What is of TCP alone is zero for others, and
/// so is everything but the addresses of a socket that listens.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionRecord {
    /// Own address: IPv4 in the first four bytes, or IPv6.
    pub local: [u8; 16],
    /// Peer's.
    pub peer: [u8; 16],
    /// The kernel's monotonic clock, nanoseconds.
    pub now: u64,
    /// First byte that the peer has not acknowledged.
    pub acknowledged: u32,
    /// Bytes written and not acknowledged.
    pub unsent: u32,
    /// Next byte that the process will read.
    pub copied: u32,
    /// Bytes received in order and not read; a FIN counts as one.
    pub unread: u32,
    /// Room that the peer last offered; the scale is applied.
    pub window: u32,
    /// Jiffies since a packet with data was sent.
    pub since_sent: u32,
    /// Jiffies since one was received.
    pub since_received: u32,
    /// Jiffies since anything was acknowledged by the peer, also without progress.
    pub since_heard: u32,
    /// Peer's port.
    pub peer_port: u16,
    /// The first unacknowledged packet was sent again so often.
    pub resent: u8,
    /// A peer without room was asked so often.
    pub probed: u8,
    /// No padding.
    pub _end: u32,
}

/// Room for the name of a Unix socket, which has 108 bytes at most; a power of two.
pub const UNIX_NAME: usize = 128;

/// A Unix socket's names; the descriptor tells which one it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UnixRecord {
    /// The descriptor.
    pub fd: u32,
    /// Bytes of its own name; 0: it has none.
    pub own_length: u16,
    /// Of its peer's.
    pub peer_length: u16,
    /// Inode of the peer's socket; 0: it has none, or nobody has accepted it.
    pub peer_ino: u64,
    /// What it is bound to; an abstract name begins with a zero.
    pub own: [u8; UNIX_NAME],
    /// What its peer is bound to.
    pub peer: [u8; UNIX_NAME],
}
