//! The public record of a trace: its spans, and the kernel's events across threads and child processes.
//!
//! Every kernel event says how it was joined to the trace and how many traces could be meant (`ambiguity`; 1: this one,
//! 0: unknown how many).

use super::{
    Sites,
    allocators::beyond_allocator,
    frames,
    timeline::{Group, arguments, word},
};
use crate::clock::Clock;
use serde::{Deserialize, Serialize};
use snowshed_engine::model::{
    CallKind, HoldingKind, Join, PageKind, Pid, SiteId, TraceCall, TraceDescriptors, TraceGrowth, TraceId,
    TraceProcess, TraceRequest, TraceRetransmits, TraceStall, TraceView,
};

/// A trace.
#[derive(Debug, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
struct Process {
    pid: Pid,
    name: String,
    parent: Option<Pid>,
    exited_at: Option<String>,
    threads: Vec<Pid>,
}

#[derive(Debug, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
struct Call {
    pid: Option<Pid>,
    kind: CallKind,
    peer: String,
    started_at: String,
    ended_at: String,
    failed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
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

impl Record {
    /// Draws its spans, and beneath them the kernel's events.
    pub(super) fn draw(&self, group: &mut Group<'_>) {
        let of = |pid: Option<Pid>| pid.map_or("unknown process".to_owned(), |pid| format!("pid {pid}"));
        let place = |frames: &[String]| frames.first().map_or(String::new(), |frame| format!(" at {frame}"));
        for one in &self.requests {
            let name = match one.status {
                Some(status) => format!("{} {status}", one.route),
                None => one.route.to_string(),
            };
            let end = one.ended_at.as_ref().unwrap_or(&self.last_at);
            let row = format!("requests, {}", of(one.pid));
            group.slice(&row, name, (&one.started_at, end), arguments(one));
            if let Some(at) = &one.first_byte_at {
                group.moment(&format!("first bytes, {}", of(one.pid)), "first byte", at, Default::default());
            }
        }
        for one in &self.calls {
            let name = format!("{} {}", word(&one.kind), one.peer);
            group.slice(&format!("calls, {}", of(one.pid)), name, (&one.started_at, &one.ended_at), arguments(one));
        }
        for one in &self.descriptors {
            let name = format!("{} {} made, {} held{}", one.made, word(&one.kind), one.live, place(&one.frames));
            let held = if one.live > 0 { &one.seen_at } else { &one.last_made_at };
            group.slice(&format!("descriptors, pid {}", one.pid), name, (&one.first_made_at, held), arguments(one));
        }
        for one in &self.stalls {
            let call = one.syscall.as_ref().map_or(String::new(), |call| format!(" in {call}"));
            let name = format!("blocked{call}{}", place(&one.frames));
            let row = format!("thread {} ({}), pid {}", one.thread, one.tid, one.pid);
            group.slice(&row, name, (&one.since, &one.until), arguments(one));
        }
        for one in &self.retransmits {
            let name = format!("{} segments sent again to {}", one.segments, one.peer);
            group.slice(&format!("retransmits, {}", of(one.pid)), name, (&one.first_at, &one.last_at), arguments(one));
        }
        for one in &self.growth {
            let name = format!("{} bytes of {}{}", one.bytes, word(&one.kind), place(&one.frames));
            group.moment(&format!("memory, pid {}", one.pid), &name, &one.seen_at, arguments(one));
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
        service: one.service.to_string(),
        route: one.route.to_string(),
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
        peer: one.peer.to_string(),
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
        ambiguity: one.ambiguity,
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
