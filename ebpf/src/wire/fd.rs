//! `fd`: open files and where they came from.

use super::Context;

/// [`FileOrigin::via`]: an ordinary way in.
pub const VIA_OPEN: u16 = 1;
/// `accept`, `accept4`.
pub const VIA_ACCEPT: u16 = 2;
/// A server connection older than the probe.
pub const VIA_EXISTING: u16 = 3;

/// Part of [`FileOrigin::exchange`]: the thread was made after the connection and has read from no other, so it serves
/// nobody else.
pub const ALONE: u32 = 1 << 31;

/// Remembered when a file comes in; keyed by the `struct file`'s address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOrigin {
    /// Its inode number: a recycled address has another, or reads unknown.
    pub ino: u64,
    /// When it came in.
    pub made: u64,
    /// In which context.
    pub context: Context,
    /// The server connection that the thread last read from: its `struct file`, 0 for none.
    pub connection: u64,
    /// When that connection was made: together they are its identity.
    pub connection_made: u64,
    /// How the context was found (`JOIN_*`).
    pub join: u16,
    /// How it came in (`VIA_*`).
    pub via: u16,
    /// The thread that made it, initial namespace.
    pub maker: u32,
    /// Of a server connection: how many exchanges it has begun; of anything else: in which one of its connection it
    /// was made, with [`ALONE`].
    pub exchange: u32,
    /// Of a server connection: the next sequence number to write when it was last read from. Of anything else: the
    /// peer of its connection, as a short number ([`short_peer`](super::short_peer)); 0: unknown.
    pub written: u32,
}

/// One open descriptor, as `iter/task_file` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FdRecord {
    /// Address of the `struct file`.
    pub file: u64,
    /// Its operations, which tell the kind of anonymous inodes.
    pub f_op: u64,
    /// Position in the file.
    pub position: u64,
    /// Inode number.
    pub ino: u64,
    /// For sockets: bytes received and sent, added up.
    pub bytes: u64,
    /// File system: that of memfds is nobody else's.
    pub sb: u64,
    /// Pipes: buffers written and read. Else, if it is an eventfd: its counter.
    pub mark: u64,
    /// Sockets: to whom it is connected, as a number; 0 if to nobody.
    pub peer: u64,
    /// Where it came from; all zero if that was not seen.
    pub origin: FileOrigin,
    /// The descriptor.
    pub fd: u32,
    /// Inode type and permissions.
    pub mode: u16,
    /// Bytes of the record that follows: 0, or those of a [`ConnectionRecord`](super::ConnectionRecord).
    pub tail: u16,
    /// For sockets: family, protocol, TCP state, local port; 16 bits each.
    pub socket: [u16; 4],
    /// Names of the inode.
    pub links: u32,
    /// `FMODE_*`.
    pub file_mode: u32,
}
