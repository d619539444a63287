//! Threads: what they do, and what they hold of the process.

use super::{Context, LEVELS};

/// One thread, as `iter.s/task` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadRecord {
    /// Thread id and process id, initial namespace.
    pub host: [u32; 2],
    /// Thread id per namespace level.
    pub numbers: [u32; LEVELS],
    /// Process id per namespace level.
    pub leader: [u32; LEVELS],
    /// Depth of its pid namespace.
    pub level: u32,
    /// Scheduler state.
    pub state: u32,
    /// Running at this moment.
    pub on_cpu: u32,
    /// Threads of the process.
    pub threads: u32,
    /// Name.
    pub comm: [u8; 16],
    /// Start of the thread.
    pub started: u64,
    /// CPU time used.
    pub runtime: u64,
    /// Major faults of the thread.
    pub major_faults: u64,
    /// Resident pages of the process: file, anonymous, swapped, shared memory.
    pub rss: [u64; 4],
    /// Times it went to sleep by itself: equal in two looks means that it has not slept and woken between them.
    pub sleeps: u64,
    /// 1: the epoll instance it waited on last has events that nobody has fetched.
    pub ready: u64,
    /// System call it is in; -1 or stale while it runs.
    pub syscall: i64,
    /// What it published.
    pub context: Context,
    /// What it does with event loops.
    pub task: TaskState,
}

/// Kept per thread in task storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskState {
    /// When the present wait began; 0 outside of one.
    pub wait_since: u64,
    /// When the last wait ended.
    pub wait_ended: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Time in waits.
    pub wait_ns: u64,
    /// Time between waits.
    pub busy_ns: u64,
    /// The server connection last read from.
    pub connection: u64,
    /// When that was made.
    pub connection_made: u64,
    /// The epoll descriptor waited on last.
    pub epoll: u64,
}
