//! `tcp`: who wrote which bytes of a connection, and whose were sent again.

/// Writers that one retransmit can name. A packet of the sender's own stack may be 64 KiB, so one event can
/// hold many small writes.
pub const WRITERS_NAMED: usize = 8;

/// [`RetransmitRecord::flags`]: the bytes go beyond what has been stamped, because the send that wrote them
/// has not returned. A [`WRITER_LATE`] record of the same socket follows.
pub const WRITER_OPEN: u32 = 1;
/// Several threads were sending at once, so who wrote what between them is not certain.
pub const WRITER_UNSURE: u32 = 2;
/// The bytes begin before what is remembered.
pub const WRITER_FORGOTTEN: u32 = 4;
/// Not a retransmit: the stamp of a send that returned while one waited for it.
pub const WRITER_LATE: u32 = 8;

/// Bytes that were sent again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RetransmitRecord {
    /// When.
    pub at: u64,
    /// The socket, as a number that is equal for records of one socket.
    pub socket: u64,
    /// The process that wrote to it last, initial namespace.
    pub host_tgid: u32,
    /// `WRITER_*`.
    pub flags: u32,
    /// First sequence number.
    pub seq: u32,
    /// One past the last.
    pub end: u32,
    /// Segments that the packet was cut into, at least 1.
    pub segments: u32,
    /// Stamps that overlap the bytes; only [`WRITERS_NAMED`] of them are told.
    pub writers: u32,
    /// Own address (IPv4 in the first four bytes).
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
    /// Own and peer's port, host order.
    pub ports: [u16; 2],
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// Always 0.
    pub _pad: u16,
    /// The traces of the stamps; zero: written outside of any.
    pub traces: [[u64; 2]; WRITERS_NAMED],
}
