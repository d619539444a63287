//! `tasks`: what a thread does at a look, and how it came about.

use super::{Context, LEVELS};

/// Remembered when a thread is made by a watched process, in task storage: it goes with the thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskOrigin {
    /// When it was made; 0: before the process was watched.
    pub made: u64,
    /// What its creator worked for.
    pub context: Context,
    /// How that was found (`JOIN_*`).
    pub join: u32,
    /// Not 0: the thread has published a context itself, so its creator's is none of its business.
    pub published: u32,
}

/// One thread, as `task_look` tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskRecord {
    /// Thread id and process id, initial namespace.
    pub host: [u32; 2],
    /// Thread id per namespace level.
    pub numbers: [u32; LEVELS],
    /// Depth of its pid namespace.
    pub level: u32,
    /// Scheduler state.
    pub state: u32,
    /// Running at this moment.
    pub on_cpu: u32,
    /// The value of the futex that it is blocked in.
    pub word: u32,
    /// 1: that value could be read.
    pub word_known: u32,
    /// Where that is 2, what lies eight bytes behind it: in the C library's mutex, the thread that holds it.
    pub owner: u32,
    /// 1: it is blocked in `futex`, has taken a request from a connection, and nothing has been answered there since.
    pub owes: u32,
    pub _pad: u32,
    /// Name.
    pub comm: [u8; 16],
    /// Start of the thread.
    pub started: u64,
    /// CPU time used.
    pub runtime: u64,
    /// Time it was runnable and did not run; 0 where this kernel does not tell.
    pub delay: u64,
    /// Times it went to sleep by itself: equal in two looks means that it is in the very same wait.
    pub sleeps: u64,
    /// System call it is in; -1 or stale while it runs.
    pub syscall: i64,
    /// Its first four arguments.
    pub arguments: [u64; 4],
    /// Instruction pointer and stack pointer at the entry of that call.
    pub place: [u64; 2],
    /// How it came about.
    pub origin: TaskOrigin,
}
