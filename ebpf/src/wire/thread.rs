//! Threads: what they do, and what they hold of the process.

use super::{Context, LEVELS, TaskOrigin};

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
    /// Time it was runnable and did not run; 0 where this kernel does not tell.
    pub delay: u64,
    /// Major faults of the thread.
    pub major_faults: u64,
    /// Resident pages of the process: file, anonymous, swapped, shared memory.
    pub rss: [u64; 4],
    /// Times it went to sleep by itself: equal in two looks means that it has not slept and woken between them.
    pub sleeps: u64,
    /// 1: the instance it waited on last (epoll, io_uring) has events that nobody has fetched.
    pub ready: u64,
    /// Which instance that is: its kernel address; 0: none, or closed.
    pub instance: u64,
    /// System call it is in; -1 or stale while it runs.
    pub syscall: i64,
    /// Its first two arguments.
    pub arguments: [u64; 2],
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
    /// Which of its exchanges that was, with [`ALONE`](super::ALONE), in the lower half; its peer's short number in the
    /// upper.
    pub exchange: u64,
    /// The epoll or io_uring descriptor waited on last; [`NO_INSTANCE`] for poll and select.
    pub epoll: u64,
    /// The system call that it waited with last.
    pub call: u32,
    /// Events that it asked for at most; 0: no such bound.
    pub batch: u32,
    /// The most descriptors that one poll or select was for.
    pub width: u32,
    /// Times that a wait was for another instance, or by another call, than the one before.
    pub switches: u32,
    /// Events that waits returned.
    pub events: u64,
    /// Waits that returned as many events as they asked for.
    pub full: u64,
    /// CPU time used when the last wait ended.
    pub runtime: u64,
    /// Time runnable without running when the last wait ended.
    pub delay: u64,
    /// How the thread came about.
    pub origin: TaskOrigin,
}

/// [`TaskState::epoll`]: a wait for descriptors that no instance stands for.
pub const NO_INSTANCE: u64 = u64::MAX;

/// A socket that somebody waits for: bytes that nobody has read, or connections that nobody has accepted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UnreadRecord {
    /// The `struct file`'s address.
    pub file: u64,
    /// Its receive queue's packets and connections not yet accepted.
    pub waiting: u64,
}
