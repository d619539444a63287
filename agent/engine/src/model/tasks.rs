//! Threads: how many and from where, what they wait for, and how they got on with the processor.

use super::{Join, Nanos, Pid, SiteId, TraceId};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// All threads of a process at a moment, in groups of one origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Threads {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// The groups, largest first.
    pub groups: Vec<ThreadGroup>,
    /// Threads in groups that are left out because there are too many groups.
    #[serde(default)]
    pub left_out: u32,
}

/// Threads that were made at one place, or, where that was not seen, that have the same name but for its digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadGroup {
    /// Name of one of them, digits replaced by `#`.
    pub name: String,
    /// Where they were made; 0: not seen.
    pub site: SiteId,
    /// Alive now.
    pub live: u32,
    /// Of these, whose making was seen with its stack; the others were made then too and have the same name.
    pub sampled: u32,
    /// Running or ready to run at the look.
    pub running: u32,
    /// Start of the oldest.
    pub oldest: Nanos,
    /// Start of the newest.
    pub newest: Nanos,
    /// CPU time that they have used.
    pub cpu_ns: Nanos,
    /// Requests that their creators worked for, newest first; a few of them.
    pub traces: Vec<TraceId>,
    /// How those were found: [`Join::Inherited`], which holds only while the request is open.
    pub join: Join,
}

/// Tasks of a process's own scheduler, as it told of them, by origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskGroups {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// The groups, largest first.
    pub groups: Vec<TaskGroup>,
    /// Tasks in groups that are left out because there are too many groups.
    #[serde(default)]
    pub left_out: u64,
}

/// Tasks of one origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Where they were made, else where they began; 0: not told.
    pub site: SiteId,
    /// Alive now.
    pub live: u64,
    /// What most of them do, as in `chan receive`; empty: not told.
    pub state: String,
}

/// How a lock was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// A priority-inheritance futex: the kernel knows it to be a lock, and its holder.
    Pi,
    /// Its word holds the holder's thread id, as robust mutexes and musl's write it.
    Owned,
    /// Its word is 2, "locked and waited for": the C library's mutex, which keeps its holder; Rust's and Go's runtime's,
    /// which do not.
    Word,
    /// A semaphore for which threads wait that owe answers to requests: Python's locks.
    Semaphore,
    /// A mutex of Go's `sync`, as the runtime tells of its goroutines; all that are waited for at one place.
    Goroutine,
}

/// Threads waited for a lock since the last such record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockWait {
    /// The process.
    pub pid: Pid,
    /// Which lock: its address in the process.
    pub word: u64,
    /// How it was recognised.
    pub kind: LockKind,
    /// Threads that waited at the last look.
    pub waiters: u32,
    /// Waits seen that were not known at the last record. Waits between two looks are not seen: at least so many.
    pub waits: u64,
    /// Time waited, all threads added up: estimated from the looks.
    pub wait_ns: Nanos,
    /// The longest single wait seen so far; it lasted at least so long.
    pub longest_ns: Nanos,
    /// Times that a waiter got on while others still waited.
    pub hand_overs: u64,
    /// Where one of the waiters stood; 0: it had gone on before its stack was taken.
    pub site: SiteId,
    /// That waiter's name.
    pub thread: String,
    /// Who holds it at the last look, where the lock itself says so.
    pub holder: Option<Holder>,
    /// When.
    pub at: Nanos,
}

/// The thread that holds a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The thread.
    pub tid: Pid,
    /// Its name.
    pub thread: String,
    /// Where it stands; 0: it runs.
    pub site: SiteId,
}

/// How a process got on with the processor since the last such record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CpuTime {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// Time that this covers.
    pub over_ns: Nanos,
    /// CPU time used, all threads.
    pub used_ns: Nanos,
    /// Time in which threads were ready to run and did not; throttling is part of it.
    pub delay_ns: Nanos,
    /// Throttling by the processor limit of its cgroup; `None`: unknown.
    pub throttled: Option<Throttled>,
}

/// Throttling of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// Periods in which it was throttled.
    pub periods: u64,
    /// Time that its processors were kept from it, added up.
    pub ns: Nanos,
}

/// Threads were blocked where no signal reaches them: mostly by a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// Time blocked since the last such record, all threads added up: estimated from the looks.
    pub wait_ns: Nanos,
    /// The longest single wait seen; it lasted at least so long.
    pub longest_ns: Nanos,
    /// The thread of that wait.
    pub tid: Pid,
    /// Its name.
    pub thread: String,
    /// The system call that it was in; empty: none (a page fault).
    pub syscall: String,
    /// The kernel's function that it waited in; empty: not seen.
    #[serde(default)]
    pub function: String,
    /// The block device that it waited for, where its descriptor tells.
    #[serde(default)]
    pub device: Option<String>,
    /// Where it stood; 0: not known.
    #[serde(default)]
    pub site: SiteId,
}

/// Threads stood in writes that wait for somebody to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockedWrite {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
    /// Time in such writes since the last such record, all threads added up: estimated from the looks.
    pub wait_ns: Nanos,
    /// The longest single wait seen; it lasted at least so long.
    pub longest_ns: Nanos,
    /// The thread of that wait.
    pub tid: Pid,
    /// Its name.
    pub thread: String,
    /// The system call that it was in.
    pub syscall: String,
    /// Who is at the other end.
    pub to: WriteEnd,
    /// Where it stood; 0: not known.
    #[serde(default)]
    pub site: SiteId,
}

/// Who ought to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteEnd {
    /// Of a pipe: the process that holds its other end, and that one's name.
    Pipe {
        /// `None`: nobody was found.
        reader: Option<Pid>,
        /// Its `comm`.
        name: Option<String>,
    },
    /// Of a socket: the peer's address where it is one of TCP.
    Socket {
        /// `None`: not TCP, or not found.
        peer: Option<SocketAddr>,
    },
    /// Neither, or not known.
    Unknown,
}

/// What is known of a process's threads, for the API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TasksView {
    /// The process.
    pub pid: Pid,
    /// Threads now, by origin.
    pub groups: Vec<ThreadGroup>,
    /// Threads in groups that are left out.
    pub left_out: u32,
    /// Tasks of its own scheduler by origin, where it tells; largest first.
    #[serde(default)]
    pub tasks: Vec<TaskGroup>,
    /// All such tasks, where it tells.
    #[serde(default)]
    pub tasks_live: Option<u64>,
    /// Locks that threads waited for, the most waited for first.
    pub locks: Vec<LockView>,
    /// CPU time used since it became a target, seconds.
    pub cpu_used_seconds: f64,
    /// Time that threads were ready and did not run, seconds.
    pub cpu_delay_seconds: f64,
    /// Throttled periods and seconds; `None`: unknown.
    pub throttled: Option<(u64, f64)>,
    /// Time blocked uninterruptibly, seconds.
    pub blocked_seconds: f64,
    /// The longest such wait.
    pub blocked: Option<BlockedView>,
}

impl TasksView {
    /// Every site that it mentions, 0 included.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> + '_ {
        let holder = |lock: &LockView| lock.holder.as_ref().map_or(SiteId(0), |holder| holder.site);
        let locks = self.locks.iter().flat_map(move |lock| [lock.site, holder(lock)]);
        let tasks = self.tasks.iter().map(|group| group.site);
        let blocked = self.blocked.iter().map(|blocked| blocked.site);
        self.groups.iter().map(|group| group.site).chain(tasks).chain(locks).chain(blocked)
    }
}

/// A lock, or all locks that are waited for at one place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockView {
    /// How it was recognised.
    pub kind: LockKind,
    /// Where its waiters stand.
    pub site: SiteId,
    /// One of their names.
    pub thread: String,
    /// Threads that waited at the last look; 0 once it is quiet.
    pub waiters: u32,
    /// Waits seen.
    pub waits: u64,
    /// Time waited, estimated, seconds.
    pub wait_seconds: f64,
    /// The longest single wait seen, seconds.
    pub longest_seconds: f64,
    /// Times that it was handed over while others waited.
    pub hand_overs: u64,
    /// Who held it last, where that is known.
    pub holder: Option<Holder>,
}

/// The longest uninterruptible wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockedView {
    /// How long, seconds, at least.
    pub longest_seconds: f64,
    /// The thread.
    pub thread: String,
    /// In which system call.
    pub syscall: String,
    /// In which function of the kernel; empty: not seen.
    #[serde(default)]
    pub function: String,
    /// For which block device, where that is known.
    #[serde(default)]
    pub device: Option<String>,
    /// Where it stood; 0: not known.
    #[serde(default)]
    pub site: SiteId,
}
