//! Event loops: how their time went, how their instances were served, and where they did not come back.

use super::{Join, Nanos, Pid, SiteId, TraceId};
use serde::{Deserialize, Serialize};

/// What a thread that runs an event loop did since its last record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LoopTime {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Pid,
    /// The epoll descriptor it waited on last.
    pub instance: i32,
    /// Waits that ended.
    pub waits: u64,
    /// Time in those waits.
    pub wait_ns: Nanos,
    /// Time between waits.
    pub busy_ns: Nanos,
    /// When.
    pub at: Nanos,
}

/// By which calls an event loop waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitCall {
    /// `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
    Epoll,
    /// `poll`, `ppoll`, for two descriptors or more.
    Poll,
    /// `select`, `pselect6`, for two descriptors or more.
    Select,
    /// `io_uring_enter` that waits for completions.
    IoUring,
}

/// What became of an epoll instance or io_uring since its last record; for poll and select, of a thread that waits
/// with them. Instances that several threads share are judged here: their threads come and go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LoopInstance {
    /// The process.
    pub pid: Pid,
    /// How it is waited for.
    pub call: WaitCall,
    /// Its descriptor; -1 where there is none.
    pub instance: i32,
    /// The only thread that waits on it; `None`: several do.
    pub tid: Option<Pid>,
    /// Threads that wait on it.
    pub threads: u32,
    /// Waits that ended.
    pub waits: u64,
    /// Time in waits, of all threads, one that goes on included.
    pub wait_ns: Nanos,
    /// Time between waits; `None` where several threads share it: they may have been anywhere.
    pub busy_ns: Option<Nanos>,
    /// Events that the waits returned; `None`: the call does not tell.
    pub events: Option<u64>,
    /// Waits that returned as many events as they asked for at most: there may have been more.
    pub full: u64,
    /// How many events the last wait asked for at most; 0: no such bound.
    pub batch: u32,
    /// At least this long events were ready, nobody waited, and nobody came back to fetch them. Found by looking ten
    /// times a second, so shorter times are missed.
    pub starved_ns: Nanos,
    /// A thread waited on other instances too; waits are counted for the one that it waited on last.
    pub mixed: bool,
    /// When.
    pub at: Nanos,
}

/// Where the time of a stall went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// On a CPU.
    pub running: Nanos,
    /// Runnable, waiting for a CPU (or throttled).
    pub queued: Nanos,
    /// Neither: blocked.
    pub blocked: Nanos,
}

/// A thread of an event loop that has not come back to wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stall {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Pid,
    /// The thread's name.
    pub thread: String,
    /// The epoll descriptor it serves.
    pub instance: i32,
    /// When it last came back from waiting, or began the request that it is stuck in.
    pub since: Nanos,
    /// When it was last seen stuck. A stall that goes on is observed again with the same `since`.
    pub until: Nanos,
    /// The request it works for.
    pub trace: Option<TraceId>,
    /// How the trace was found.
    pub join: Join,
    /// Where it is stuck.
    pub site: SiteId,
    /// Running (true) or blocked (false).
    pub on_cpu: bool,
    /// The system call it is blocked in.
    #[serde(default)]
    pub syscall: Option<String>,
    /// Events were ready on the instance and no other thread waited on it.
    pub starved: bool,
    /// Where the time went, as the scheduler tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}
