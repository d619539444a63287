//! Record layouts that the kernel programs and the host share. Plain old data only: `repr(C)`, no padding
//! that carries meaning, native endian, never stored. `docs/reference/wire.md` is the byte table.
//!
//! Invariant: a change here changes both sides at once, because both compile these files.

mod connection;
mod context;
mod dns;
mod event;
mod fd;
mod growth;
mod offsets;
mod peer;
mod python;
mod socket;
mod stack;
mod tasks;
mod tcp;
mod thread;

pub use connection::*;
pub use context::*;
pub use dns::*;
pub use event::*;
pub use fd::*;
pub use growth::*;
pub use offsets::*;
pub use peer::*;
pub use python::*;
pub use socket::*;
pub use stack::*;
pub use tasks::*;
pub use tcp::*;
pub use thread::*;

/// Depth of pid namespaces that are told; deeper ones are rare and read as unknown.
pub const LEVELS: usize = 4;

/// Rows of the counter table: what was delivered and what was lost, per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Files that came in.
    Files,
    /// Files that could not be remembered (the table refused).
    FilesLost,
    /// Stacks copied.
    Stacks,
    /// Stacks that found the ring full.
    StacksLost,
    /// Retransmits of watched sockets.
    Retransmits,
    /// Retransmits that found the ring full.
    RetransmitsLost,
    /// Retransmits that did not leave the host: the first copy was still in its queue, or there was no memory.
    RetransmitsFailed,
    /// Sends that left no stamp: two ended at the same moment, or there was no memory for it.
    StampsLost,
    /// News of sockets (closed, reset, connect failed) that found the ring full.
    SocketsLost,
    /// News of sockets.
    Sockets,
    /// Stacks copied for pages that came in.
    Growths,
    /// Such stacks that found the ring full.
    GrowthsLost,
    /// Processes that the out-of-memory killer chose.
    OomKills,
    /// Such news that found the ring full.
    OomKillsLost,
    /// Waits of event loops.
    Waits,
    /// Waits whose thread could not be remembered.
    WaitsLost,
    /// Threads that were made.
    Threads,
    /// Threads whose making could not be remembered.
    ThreadsLost,
    /// Stacks taken of threads that compute.
    HotStacks,
    /// Such stacks that found the ring full.
    HotStacksLost,
    /// Forks, execs and exits that found the ring full.
    LifecycleLost,
    /// Questions to resolvers.
    Questions,
    /// Questions and answers that found no room in the table.
    QuestionsLost,
}

impl Counter {
    /// The last row in use.
    pub const LAST: Self = Self::QuestionsLost;
}

/// Rows of the table of divisors.
pub const SAMPLINGS: u32 = 16;
/// Row of the fd probe: one in so many files learns its owner and its stack.
pub const SAMPLE_FD: u32 = 0;
/// Row of the looks at connections: 0 and 1, all of their figures are read; else only that they are there.
pub const SAMPLE_CONNECTIONS: u32 = 8;

/// Rows of the counter table: room for more than there are.
pub const COUNTERS: u32 = 128;
