//! Rare events, on the ring.

use super::LEVELS;

/// [`Event::kind`]: a watched process forked.
pub const EVENT_FORK: u32 = 1;
/// It executed another program.
pub const EVENT_EXEC: u32 = 2;
/// Its last thread ended.
pub const EVENT_EXIT: u32 = 3;
/// The out-of-memory killer chose a process; `child` is the thread that it named.
pub const EVENT_OOM: u32 = 16;

/// A rare event, on the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// `EVENT_*`.
    pub kind: u32,
    /// Process, initial namespace; 0: unknown.
    pub host_tgid: u32,
    /// When.
    pub at: u64,
    /// Fork: the child's id in the initial namespace.
    pub child: u32,
    /// Always 0.
    pub _pad: u32,
    /// Fork: the child's id per namespace level.
    pub numbers: [u32; LEVELS],
}
