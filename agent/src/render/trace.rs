//! The public record of a trace: its spans, and the kernel's events across threads and child processes.
//!
//! Every kernel event says how it was joined to the trace and how many traces could be meant (`ambiguity`; 1: this one,
//! 0: unknown how many).

use super::{Sites, allocators::beyond_allocator, frames};
use crate::clock::Clock;
use serde::Serialize;
use snowshed_engine::model::{
    CallKind, HoldingKind, Join, PageKind, Pid, SiteId, TraceCall, TraceDescriptors, TraceGrowth, TraceId,
    TraceProcess, TraceRequest, TraceRetransmits, TraceStall, TraceView,
};

/// A trace.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    schema: u32,
    trace_id: TraceId,
    first_at: String,
    last_at: String,
    processes: Vec<Process>,
    requests: Vec<Request>,
    calls: Vec<Call>,
    descriptors: Vec<Descriptors>,
    stalls: Vec<Stall>,
    retransmits: Vec<Retransmits>,
    growth: Vec<Growth>,
    /// Events that did not fit into the record.
    left_out: u64,
}

#[derive(Debug, Serialize)]
struct Process {
    pid: Pid,
    name: String,
    parent: Option<Pid>,
    exited_at: Option<String>,
    threads: Vec<Pid>,
}

#[derive(Debug, Serialize)]
struct Request {
    pid: Option<Pid>,
    service: String,
    route: String,
    started_at: String,
    ended_at: Option<String>,
    first_byte_at: Option<String>,
    status: Option<u16>,
    failed: bool,
}

#[derive(Debug, Serialize)]
struct Call {
    pid: Option<Pid>,
    kind: CallKind,
    peer: String,
    started_at: String,
    ended_at: String,
    failed: bool,
}

#[derive(Debug, Serialize)]
struct Descriptors {
    pid: Pid,
    kind: HoldingKind,
    frames: Vec<String>,
    made: u32,
    live: u32,
    /// Given back, or by now held for another request.
    given_back: u32,
    fds: Vec<i32>,
    first_made_at: String,
    last_made_at: String,
    seen_at: String,
    join: Join,
    ambiguity: u32,
}

#[derive(Debug, Serialize)]
struct Stall {
    pid: Pid,
    tid: Pid,
    thread: String,
    since: String,
    until: String,
    seconds: f64,
    syscall: Option<String>,
    frames: Vec<String>,
    join: Join,
    ambiguity: u32,
}

#[derive(Debug, Serialize)]
struct Retransmits {
    pid: Option<Pid>,
    local: String,
    peer: String,
    segments: u64,
    first_at: String,
    last_at: String,
    join: Join,
    ambiguity: u32,
}

#[derive(Debug, Serialize)]
struct Growth {
    pid: Pid,
    kind: PageKind,
    frames: Vec<String>,
    bytes: u64,
    seen_at: String,
    join: Join,
    ambiguity: u32,
}

impl Record {
    /// The public record of what the engine knows.
    pub(crate) fn new(view: &TraceView, sites: &Sites, clock: &Clock) -> Self {
        let at = |nanos| clock.rfc3339(nanos);
        Self {
            schema: 1,
            trace_id: view.trace,
            first_at: at(view.first),
            last_at: at(view.last),
            processes: view.processes.iter().map(|one| process(one, &view.threads, clock)).collect(),
            requests: view.requests.iter().map(|one| request(one, clock)).collect(),
            calls: view.calls.iter().map(|one| call(one, clock)).collect(),
            descriptors: view.descriptors.iter().map(|one| descriptors(one, sites, clock)).collect(),
            stalls: view.stalls.iter().map(|one| stall(one, sites, clock)).collect(),
            retransmits: view.retransmits.iter().map(|one| retransmits(one, clock)).collect(),
            growth: view.growth.iter().map(|one| growth(one, sites, clock)).collect(),
            left_out: view.left_out,
        }
    }
}

/// Every place in the code that a trace mentions.
pub(crate) fn sites(view: &TraceView) -> impl Iterator<Item = SiteId> {
    let of_descriptors = view.descriptors.iter().map(|one| one.site);
    let of_stalls = view.stalls.iter().map(|one| one.site);
    let of_growth = view.growth.iter().map(|one| one.site);
    of_descriptors.chain(of_stalls).chain(of_growth).filter(|site| site.0 != 0)
}

fn process(one: &TraceProcess, threads: &[(Pid, Pid)], clock: &Clock) -> Process {
    Process {
        pid: one.pid,
        name: one.name.clone(),
        parent: one.parent,
        exited_at: one.exited.map(|at| clock.rfc3339(at)),
        threads: threads.iter().filter(|(pid, _)| *pid == one.pid).map(|(_, tid)| *tid).collect(),
    }
}

fn request(one: &TraceRequest, clock: &Clock) -> Request {
    Request {
        pid: one.pid,
        service: one.service.clone(),
        route: one.route.clone(),
        started_at: clock.rfc3339(one.started),
        ended_at: one.ended.map(|at| clock.rfc3339(at)),
        first_byte_at: one.first_byte.map(|at| clock.rfc3339(at)),
        status: one.status,
        failed: one.failed,
    }
}

fn call(one: &TraceCall, clock: &Clock) -> Call {
    Call {
        pid: one.pid,
        kind: one.kind,
        peer: one.peer.clone(),
        started_at: clock.rfc3339(one.started),
        ended_at: clock.rfc3339(one.ended),
        failed: one.failed,
    }
}

fn descriptors(one: &TraceDescriptors, sites: &Sites, clock: &Clock) -> Descriptors {
    Descriptors {
        pid: one.pid,
        kind: one.kind,
        frames: frames(sites, one.site),
        made: one.made,
        live: one.live,
        given_back: one.made.saturating_sub(one.live),
        fds: one.numbers.iter().flatten().copied().collect(),
        first_made_at: clock.rfc3339(one.first_made),
        last_made_at: clock.rfc3339(one.last_made),
        seen_at: clock.rfc3339(one.seen),
        join: one.join,
        // A descriptor has one owner.
        ambiguity: 1,
    }
}

fn stall(one: &TraceStall, sites: &Sites, clock: &Clock) -> Stall {
    Stall {
        pid: one.pid,
        tid: one.tid,
        thread: one.thread.clone(),
        since: clock.rfc3339(one.since),
        until: clock.rfc3339(one.until),
        seconds: one.until.saturating_sub(one.since) as f64 / 1e9,
        syscall: one.syscall.clone(),
        frames: frames(sites, one.site),
        join: one.join,
        ambiguity: 1,
    }
}

fn retransmits(one: &TraceRetransmits, clock: &Clock) -> Retransmits {
    Retransmits {
        pid: one.pid,
        local: one.local.to_string(),
        peer: one.peer.to_string(),
        segments: one.segments,
        first_at: clock.rfc3339(one.first),
        last_at: clock.rfc3339(one.last),
        join: one.join,
        ambiguity: one.ambiguity,
    }
}

fn growth(one: &TraceGrowth, sites: &Sites, clock: &Clock) -> Growth {
    Growth {
        pid: one.pid,
        kind: one.kind,
        frames: beyond_allocator(frames(sites, one.site)),
        bytes: one.bytes,
        seen_at: clock.rfc3339(one.seen),
        join: one.join,
        // Only the last trace that was seen there is known.
        ambiguity: 0,
    }
}
