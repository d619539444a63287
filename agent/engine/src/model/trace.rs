//! What is known of one trace: its spans, and the kernel's events across threads and child processes.

use super::{HoldingKind, Join, Nanos, PageKind, Pid, SiteId, SpanId, TraceId};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc};

/// What a downstream call is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// HTTP.
    Http,
    /// A database or cache.
    Database,
    /// Another remote procedure call.
    Rpc,
    /// A message queue.
    Messaging,
    /// Something else.
    Other,
}

/// A call to another service that ended: a client or producer span.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The process that called, where the span tells it or the service name matches one target.
    pub pid: Option<Pid>,
    /// Its trace.
    pub trace: TraceId,
    /// Its span: the same one arriving twice counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
    /// By which means.
    pub kind: CallKind,
    /// Whom, as in `redis cache:6379`.
    pub peer: String,
    /// When it began.
    pub started: Nanos,
    /// When it ended.
    pub ended: Nanos,
    /// The span says that it failed, or the answer was an error of the server.
    pub failed: bool,
    /// How many calls this sampled one stands for (1 without sampling).
    pub weight: f64,
}

/// One trace. Lists are bounded; what did not fit is counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TraceView {
    /// Its id.
    pub trace: TraceId,
    /// When the first of what is told here happened.
    pub first: Nanos,
    /// When the last did.
    pub last: Nanos,
    /// The processes that worked for it.
    pub processes: Vec<TraceProcess>,
    /// Their threads, as far as events named them: process and thread.
    pub threads: Vec<(Pid, Pid)>,
    /// Its requests: root and server spans, or what the service itself told.
    pub requests: Vec<TraceRequest>,
    /// Its calls to others: client spans.
    pub calls: Vec<TraceCall>,
    /// Descriptors made for it.
    pub descriptors: Vec<TraceDescriptors>,
    /// Event loops that did not come back while they worked for it.
    pub stalls: Vec<TraceStall>,
    /// Its bytes sent again, or bytes that may be its.
    pub retransmits: Vec<TraceRetransmits>,
    /// Where it was the last that was seen to bring pages in.
    pub growth: Vec<TraceGrowth>,
    /// Events that did not fit.
    pub left_out: u64,
}

/// A process that worked for a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceProcess {
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// The watched process that forked it.
    pub parent: Option<Pid>,
    /// When it ended.
    pub exited: Option<Nanos>,
}

/// A request of a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceRequest {
    /// The process that served it.
    pub pid: Option<Pid>,
    /// Its service.
    pub service: Arc<str>,
    /// Method and route template.
    pub route: Arc<str>,
    /// When it began.
    pub started: Nanos,
    /// When it ended; `None`: not yet, as far as anybody told.
    pub ended: Option<Nanos>,
    /// When the first byte of the answer left.
    pub first_byte: Option<Nanos>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The span says that it failed.
    pub failed: bool,
}

/// A call of a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceCall {
    /// The process that called.
    pub pid: Option<Pid>,
    /// By which means.
    pub kind: CallKind,
    /// Whom.
    pub peer: Arc<str>,
    /// When it began.
    pub started: Nanos,
    /// When it ended.
    pub ended: Nanos,
    /// It failed.
    pub failed: bool,
}

/// Descriptors of one kind that one process made for a trace at one place. Found by looking: what was made and given
/// back between two looks is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceDescriptors {
    /// The process.
    pub pid: Pid,
    /// What they are.
    pub kind: HoldingKind,
    /// Where they were made; 0 is unknown.
    pub site: SiteId,
    /// How it is known that they were made for it.
    pub join: Join,
    /// How many traces they may be of; 1: of this one, 0: nobody knows.
    pub ambiguity: u32,
    /// How many.
    pub made: u32,
    /// Of these, held for it now.
    pub live: u32,
    /// Numbers of some that are held.
    pub numbers: [Option<i32>; 4],
    /// When the first was made.
    pub first_made: Nanos,
    /// When the last was.
    pub last_made: Nanos,
    /// The last look that found one.
    pub seen: Nanos,
}

/// A stall of an event loop that worked for a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStall {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Pid,
    /// The thread's name.
    pub thread: String,
    /// When it last came back from waiting.
    pub since: Nanos,
    /// When it was last seen stuck.
    pub until: Nanos,
    /// Where it was stuck.
    pub site: SiteId,
    /// The system call that it was blocked in.
    pub syscall: Option<String>,
    /// How the trace was found.
    pub join: Join,
}

/// Segments of one connection that were sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRetransmits {
    /// The process that owns the socket.
    pub pid: Option<Pid>,
    /// This side.
    pub local: SocketAddr,
    /// The other side.
    pub peer: SocketAddr,
    /// Segments.
    pub segments: u64,
    /// The first.
    pub first: Nanos,
    /// The last.
    pub last: Nanos,
    /// How the trace was found; the least sure of all.
    pub join: Join,
    /// How many traces could have written the bytes (1: exact, 0: unknown); the most of all.
    pub ambiguity: u32,
}

/// Pages that came in at one place while the trace was the last that was seen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceGrowth {
    /// The process.
    pub pid: Pid,
    /// Of which kind.
    pub kind: PageKind,
    /// Where.
    pub site: SiteId,
    /// How much came in there in those looks, by whomever: bytes, by samples.
    pub bytes: u64,
    /// The last look.
    pub seen: Nanos,
    /// How the trace was found.
    pub join: Join,
}

/// How many traces are kept, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracesKept {
    /// With kernel events.
    pub kept: usize,
    /// At most.
    pub most: usize,
    /// When the oldest of them began.
    pub oldest: Option<Nanos>,
    /// Forgotten for want of room.
    pub evicted: u64,
}

/// Whom a process calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DownstreamView {
    /// The process.
    pub pid: Pid,
    /// Those whom it calls; at most 33, the last of which may be all others.
    pub peers: Vec<DownstreamPeer>,
}

/// One whom a process calls. Sampled spans count for those that were left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DownstreamPeer {
    /// By which means.
    pub kind: CallKind,
    /// Whom.
    pub peer: String,
    /// Calls since the process became a target.
    pub calls: f64,
    /// Of these, failed.
    pub failed: f64,
    /// p50 and p99 over the last 15 s window, seconds.
    pub latency_seconds: Option<(f64, f64)>,
}
