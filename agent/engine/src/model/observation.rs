//! What the agent learns. Variants are shapes, not probes: a new probe returns one of these.

use super::{
    ActuatorKind, Blocked, BlockedWrite, Call, Caller, Connections, CpuTime, DnsLook, HostLook, Join, LockWait,
    LoopInstance, LoopTime, Nanos, OomKill, Owner, Pages, Pid, Setup, SiteId, SpanId, Stall, TaskGroups, TcpLook,
    Threads, TraceId,
};
use serde::{Deserialize, Serialize};

/// One fact, with the time it was true.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Observation {
    /// A target exists (sent when it is found, and again when its limits change).
    Process(ProcessSeen),
    /// A target ended.
    Exit(ProcessExit),
    /// What a target runs with.
    Setup(Setup),
    /// The requests that a process is working on at this moment.
    OpenRequests(OpenRequests),
    /// A request that ended.
    Request(Request),
    /// A call to another service that ended.
    Call(Call),
    /// Everything of one kind that a process holds at this moment.
    Holdings(Holdings),
    /// What the TCP connections of a process wait for.
    Connections(Connections),
    /// How much of a resource is in use.
    Level(Level),
    /// How an event loop's thread spent its time since the last such record.
    LoopTime(LoopTime),
    /// How an instance that event loops wait on was served since the last such record.
    LoopInstance(LoopInstance),
    /// Pages that a process got, and where.
    Pages(Pages),
    /// The kernel's out-of-memory killer chose a process.
    OomKill(OomKill),
    /// What the machine, or the surroundings of a process, went short of.
    Host(HostLook),
    /// An event loop's thread did not come back for a while.
    Stall(Stall),
    /// All threads of a process, by origin.
    Threads(Threads),
    /// Tasks of its own scheduler that a process told of, by origin.
    TaskGroups(TaskGroups),
    /// Threads waited for a lock.
    LockWait(LockWait),
    /// How a process got on with the processor.
    CpuTime(CpuTime),
    /// Threads were blocked uninterruptibly.
    Blocked(Blocked),
    /// Threads stood in writes that nobody reads.
    BlockedWrite(BlockedWrite),
    /// TCP segments sent again.
    Retransmit(Retransmit),
    /// How a process gets on with those it talks to over TCP.
    Tcp(TcpLook),
    /// What a process asked resolvers for, and what came of it.
    Dns(DnsLook),
    /// Evidence that did not reach the agent.
    Lost(Lost),
    /// What an actuator made of a command.
    Acted(Acted),
}

/// A process that is watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessSeen {
    /// The process.
    pub pid: Pid,
    /// Its name (`comm`, or the service's own where it tells one).
    pub name: String,
    /// When it started.
    pub started: Nanos,
    /// The watched process that forked it.
    #[serde(default)]
    pub parent: Option<Pid>,
    /// `service.instance.id`, where it tells one.
    #[serde(default)]
    pub instance: Option<String>,
}

/// A process that ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ProcessExit {
    /// The process.
    pub pid: Pid,
    /// When its last thread ended.
    pub at: Nanos,
}

/// A snapshot of open requests, told by the service itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenRequests {
    /// The process.
    pub pid: Pid,
    /// When the list was true.
    pub at: Nanos,
    /// Requests in progress, also those that the list leaves out.
    pub in_flight: u32,
    /// The limit that the service enforces now.
    pub limit: Option<u32>,
    /// Requests refused by the limit since the service started.
    pub rejected_total: u64,
    /// The list leaves nothing out: a trace that is not on it has ended.
    pub complete: bool,
    /// The requests.
    pub items: Vec<OpenRequest>,
}

/// A request in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenRequest {
    /// Its trace.
    pub trace: TraceId,
    /// Method and route template, as in `POST /api/v1/transcode`.
    pub route: String,
    /// When it began.
    pub since: Nanos,
}

/// A request that ended: a root or server span.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The process, where the span tells it or the service name matches one target.
    pub pid: Option<Pid>,
    /// `service.name`.
    pub service: String,
    /// Its trace.
    pub trace: TraceId,
    /// Its span: the same one arriving twice counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
    /// Method and route template.
    pub route: String,
    /// When it began.
    pub started: Nanos,
    /// When it ended.
    pub ended: Nanos,
    /// When the first byte of the answer left, where the span tells (event or attribute `first_byte`).
    #[serde(default)]
    pub first_byte: Option<Nanos>,
    /// The HTTP status, where there is one.
    #[serde(default)]
    pub status: Option<u16>,
    /// The span says that it failed.
    pub failed: bool,
    /// How many requests this sampled one stands for (1 without sampling).
    pub weight: f64,
    /// On which connection it came, where the span tells.
    #[serde(default, skip_serializing_if = "is_none")]
    pub peer: Option<Caller>,
    /// The span tells a protocol that carries one request at a time on a connection (HTTP/1).
    #[serde(default, skip_serializing_if = "is_none")]
    pub serial: bool,
}

/// What a resource counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Open file descriptors.
    Fds,
    /// Anonymous resident memory, bytes.
    RssAnon,
    /// File-backed resident memory, bytes.
    RssFile,
    /// Resident shared memory (tmpfs, memfd, System V), bytes.
    RssShmem,
    /// Own memory that lies in swap, bytes.
    Swap,
    /// The most that was ever resident, bytes.
    RssPeak,
    /// Address space, bytes: grows with `mmap` and `brk`, touched or not.
    AddressSpace,
    /// The part of the address space that is private and writable, bytes.
    AddressSpaceData,
    /// Memory of the cgroup that leaves least room, bytes; its limit is the cgroup's.
    CgroupMemory,
    /// Threads.
    Threads,
    /// Major page faults since the process started.
    MajorFaults,
    /// Memory of the whole machine that is in use and cannot be reclaimed, bytes; its limit is all there is.
    HostMemory,
    /// Heap that is allocated and not freed, as the process itself publishes it, bytes; its limit is the heap's.
    HeapInUse,
    /// Tasks of its own scheduler (async tasks, goroutines), as the process itself publishes them.
    Tasks,
    /// Garbage collections since the process started, as it publishes them.
    Collections,
}

/// A complete snapshot of what a process holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holdings {
    /// The process.
    pub pid: Pid,
    /// When the snapshot was taken.
    pub at: Nanos,
    /// The resource (today [`Resource::Fds`]).
    pub resource: Resource,
    /// The process's limit for it; `None` is unknown.
    pub limit: Option<u64>,
    /// Everything held: what is not listed has been given back.
    pub items: Vec<Holding>,
}

/// What kind of thing is held; the strings are those of the public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldingKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A character or block device.
    Device,
    /// A pipe or FIFO.
    Pipe,
    /// A TCP socket that listens.
    Listener,
    /// A TCP socket made by accepting.
    TcpAccepted,
    /// Another TCP socket.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A Unix socket.
    Unix,
    /// Another socket.
    Socket,
    /// An epoll instance.
    Epoll,
    /// An eventfd.
    Eventfd,
    /// A timerfd.
    Timerfd,
    /// A signalfd.
    Signalfd,
    /// An inotify instance.
    Inotify,
    /// A fanotify group.
    Fanotify,
    /// A file in memory without a name.
    Memfd,
    /// A handle of a process.
    Pidfd,
    /// An io_uring.
    IoUring,
    /// A userfaultfd.
    Userfaultfd,
    /// A perf event.
    PerfEvent,
    /// A BPF map (programs and links are [`Self::Anon`]).
    Bpf,
    /// A netlink socket.
    Netlink,
    /// Another anonymous inode.
    Anon,
}

/// One thing held.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Its identity: equal in two snapshots only if it is the same open file.
    pub key: u64,
    /// Its number (the fd).
    pub number: i32,
    /// Its kind.
    pub kind: HoldingKind,
    /// Where it was made.
    pub site: SiteId,
    /// For whom it was made.
    pub owner: Owner,
    /// When it was made; `None` if that was not seen.
    pub made: Option<Nanos>,
    /// Changes whenever it is used (file position, bytes through the socket); equal means unused.
    pub use_mark: u64,
    /// How many exchanges a server connection has begun; 0 for everything else.
    #[serde(default)]
    pub exchanges: u32,
    /// What it leads to (a peer, a file that has a name), as a number: whoever opens it again gets the same. 0 where
    /// there is no such thing or it is unknown.
    #[serde(default, skip_serializing_if = "is_none")]
    pub leads_to: u64,
    /// The thread that made it, as a number; 0 once that ended, or where it is unknown.
    #[serde(default, skip_serializing_if = "is_none")]
    pub maker: u32,
}

/// Recordings leave out what is unknown of most things.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// A level of a resource.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Level {
    /// The process.
    pub pid: Pid,
    /// What is counted.
    pub resource: Resource,
    /// How much, in the resource's unit.
    pub value: u64,
    /// The limit, where it is known.
    pub limit: Option<u64>,
    /// When.
    pub at: Nanos,
}

/// TCP segments sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Retransmit {
    /// The process that owns the socket, where it is known.
    pub pid: Option<Pid>,
    /// Local address.
    pub local: std::net::SocketAddr,
    /// Peer's address.
    pub peer: std::net::SocketAddr,
    /// When.
    pub at: Nanos,
    /// The trace that wrote the bytes, all of them.
    pub trace: Option<TraceId>,
    /// How the trace was found.
    pub join: Join,
    /// How many writers there are to choose from (1: exact, 0: nothing is known).
    pub ambiguity: u32,
    /// The traces that wrote some of the bytes, or may have, where it is not one.
    #[serde(default)]
    pub candidates: Vec<TraceId>,
    /// Nobody else wrote any of them. False: the true writer may be missing from what is named.
    #[serde(default)]
    pub complete: bool,
    /// First and one past the last sequence number that was sent again.
    #[serde(default)]
    pub sequence: (u32, u32),
    /// Segments that were sent again by this one event; at least 1.
    #[serde(default = "one")]
    pub segments: u32,
}

fn one() -> u32 {
    1
}

/// Events that a probe could not deliver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lost {
    /// The probe or source.
    pub probe: String,
    /// How many more since the last such record.
    pub events: u64,
    /// When.
    pub at: Nanos,
}

/// An actuator's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acted {
    /// Which actuator.
    pub actuator: ActuatorKind,
    /// The process it acted on.
    pub pid: Pid,
    /// The limit in force at the target now; `None` is no limit.
    pub limit: Option<u32>,
    /// What went wrong.
    pub error: Option<String>,
    /// When.
    pub at: Nanos,
}
