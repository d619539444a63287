//! Whose work a thread does: where it publishes that, and what was found.

use super::Python;

/// Where the threads of a process keep the pointer to their trace context. The host finds it out, the programs follow it
/// in at most five reads. All zero: nowhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Static: from the thread pointer. In a module's block: from the block's start.
    pub offset: i64,
    /// The module's entry in the thread's table of blocks (DTV), bytes from the table's start; 0: static.
    pub entry: u64,
    /// The least generation of a thread's table whose entry is this module's; 0: every one's.
    pub generation: u64,
    /// Number of the module; a table that is shorter has no entry.
    pub module: u32,
    /// Where the thread keeps the address of its table, from the thread pointer.
    pub table: i16,
    /// Where the table keeps how many entries it has, from its start.
    pub count: i16,
}

impl Place {
    /// Threads publish nothing.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.offset == 0 && self.entry == 0
    }
}

/// A watched process, by its tgid in the initial pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Where its threads publish.
    pub place: Place,
    /// Where they keep what they execute of Python.
    pub python: Python,
    /// The trace in which the process was forked; zero: none.
    pub inherited: [u64; 2],
    /// Not 0: threads that publish nothing are looked up in the map that another observer fills ([`JOIN_OBSERVER`]).
    pub observer: u64,
}

/// An entry of the table of targets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// The process.
    pub target: Target,
    /// Stacks that may still be copied; the host fills it up.
    pub tokens: u32,
    /// Not 0: one of its threads has read from a connection that it serves. Programs set it.
    pub serves: u32,
}

/// Entries of a bucket: with as many targets as may be watched, one that overflows is as good as never met.
pub const WAYS: usize = 8;
/// Buckets of the table of targets, a power of two.
pub const BUCKETS: u32 = 256;
/// The key of an entry that is being filled.
pub const TAKEN: u64 = u64::MAX;

/// The entries in which a process may be found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// The processes, by tgid in the initial pid namespace; 0: free, or [`TAKEN`].
    pub keys: [u64; WAYS],
    /// What is known of each.
    pub slots: [Slot; WAYS],
}

/// Where a process is to be found.
#[inline(always)]
pub const fn bucket_of(host_tgid: u32) -> u32 {
    (host_tgid ^ host_tgid >> 8) & (BUCKETS - 1)
}

/// What a thread published: the first 24 bytes of the standard's record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// W3C trace id, as bytes in memory order.
    pub trace: [u64; 2],
    /// W3C span id.
    pub span: u64,
}

/// [`FileOrigin::join`](super::FileOrigin::join): nothing is known.
pub const JOIN_NONE: u32 = 0;
/// The thread had published the context.
pub const JOIN_THREAD: u32 = 1;
/// Inherited by the process.
pub const JOIN_INHERITED: u32 = 2;
/// Another observer (OBI) says that the thread served this request's connection.
pub const JOIN_OBSERVER: u32 = 3;
/// Nothing, ever; but the thread's creator worked for this when it made the thread.
pub const JOIN_CREATOR: u32 = 4;
