//! What the engine knows at a moment, for the API. Built off the hot path, about once a second.

use super::{
    Cause, Connections, DownstreamView, HoldingKind, HostView, Incident, Lost, MemoryView, Nanos, Pid, SiteId,
    TasksView, TcpView, TraceId, WaitCall,
};
use serde::{Deserialize, Serialize};

/// The whole picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// When it was taken.
    pub at: Nanos,
    /// Targets, by pid.
    pub targets: Vec<TargetView>,
    /// Open incidents and the last closed ones, newest first.
    pub incidents: Vec<Incident>,
    /// What the targets' threads do, by pid.
    #[serde(default)]
    pub tasks: Vec<TasksView>,
    /// Objectives, in the order of the files.
    pub slos: Vec<SloView>,
    /// Breakers that have acted or would have, by pid.
    pub breakers: Vec<BreakerView>,
    /// Whom the targets call, by pid; only those that told of calls.
    #[serde(default)]
    pub downstream: Vec<DownstreamView>,
    /// What the machine went short of.
    #[serde(default)]
    pub host: Vec<HostView>,
    /// Evidence that never arrived or that a bound made the engine leave out: totals, by probe or bound.
    #[serde(default)]
    pub lost: Vec<Lost>,
}

/// A target at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetView {
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// When it started.
    pub started: Nanos,
    /// Its descriptors.
    pub fds: FdView,
    /// Its TCP connections, as last seen; `None`: nobody looked (yet).
    #[serde(default)]
    pub connections: Option<Connections>,
    /// Anonymous resident memory, bytes.
    pub rss_anon: Option<u64>,
    /// File-backed resident memory, bytes.
    pub rss_file: Option<u64>,
    /// Memory, by kind and by place.
    #[serde(default)]
    pub memory: MemoryView,
    /// What its network namespace and its cgroup went short of.
    #[serde(default)]
    pub host: Vec<HostView>,
    /// Threads.
    pub threads: Option<u64>,
    /// Event loop threads.
    pub loops: Vec<LoopView>,
    /// What its event loops wait on.
    #[serde(default)]
    pub instances: Vec<InstanceView>,
    /// Stalls seen since it became a target.
    pub stalls_total: u64,
    /// Retransmits seen since it became a target.
    pub retransmits_total: u64,
    /// Its TCP connections and listeners.
    #[serde(default)]
    pub tcp: TcpView,
    /// Requests in progress, where the service tells.
    pub in_flight: Option<u32>,
    /// The limit that the service enforces.
    pub limit: Option<u32>,
    /// Requests that ended since it became a target.
    pub requests_total: u64,
    /// Latency to the first byte (else to the end) over the last 15 s window, seconds: p50, p99.
    pub latency_seconds: Option<(f64, f64)>,
    /// How the joint rules that are for it get on.
    #[serde(default)]
    pub rules: Vec<RuleView>,
    /// What may be wrong with it, while no incident has named it.
    #[serde(default)]
    pub suspected: Option<SuspicionView>,
}

/// What may be wrong, if it lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspicionView {
    /// Since when the first of the causes is the first.
    pub since: Nanos,
    /// Likeliest first; the first one may be believed.
    pub causes: Vec<Cause>,
}

/// How a joint rule gets on with a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub state: RuleState,
    /// Samples in a row that satisfied it.
    pub samples: u32,
    /// How many it takes.
    pub needed: u32,
    /// Of its figures, those that are not known, and why.
    pub unknown: Vec<String>,
}

/// Whether a joint rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// It does.
    Holds,
    /// It does not: a figure that is known says so, or too few samples were taken.
    Quiet,
    /// What is known satisfies it, and something is not known.
    Unknown,
}

/// The descriptors of a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FdView {
    /// Open now.
    pub live: u64,
    /// Of these, orphaned.
    pub orphaned: u64,
    /// The limit.
    pub limit: Option<u64>,
    /// Earliest and latest exhaustion, seconds from now, where the growth is significant.
    pub eta_seconds: Option<(f64, f64)>,
    /// Every live descriptor is counted in exactly one site.
    pub sites: Vec<SiteView>,
}

/// Descriptors of one kind, made at one place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteView {
    /// What they are.
    pub kind: HoldingKind,
    /// Where they were made; 0 is unknown.
    pub site: SiteId,
    /// Open now.
    pub live: u64,
    /// Of these, orphaned.
    pub orphaned: u64,
    /// Age of the oldest whose age is known, seconds.
    pub oldest_seconds: f64,
    /// Traces of the orphaned ones; at most 16.
    pub traces: Vec<TraceId>,
    /// How many requests there are to choose from for each of these at most; 1: they are certain.
    #[serde(default)]
    pub ambiguity: u32,
    /// Descriptors of orphaned ones; at most 16.
    #[serde(default)]
    pub orphans: Vec<i32>,
}

/// An event loop thread over the last second or so.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LoopView {
    /// The thread.
    pub tid: Pid,
    /// Share of the time between waits, 0 to 1.
    pub busy_ratio: f64,
    /// Waits that ended, per second.
    pub waits_per_second: f64,
}

/// What event loops wait on: the last second or so, and sums since it was first seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct InstanceView {
    /// How it is waited for.
    pub call: WaitCall,
    /// Its descriptor; -1 where there is none.
    pub instance: i32,
    /// The only thread that waits on it; `None`: several do.
    pub tid: Option<Pid>,
    /// Threads that wait on it.
    pub threads: u32,
    /// Share of the time between waits, 0 to 1, where one thread alone waits on it.
    pub busy_ratio: Option<f64>,
    /// Events that a wait returned, on average; `None`: no wait ended, or the call does not tell.
    pub events_per_wait: Option<f64>,
    /// Share of the waits that returned as many events as they asked for, 0 to 1.
    pub full_ratio: Option<f64>,
    /// How many events a wait asks for at most; 0: no such bound.
    pub batch: u32,
    /// Waits that ended.
    pub waits_total: u64,
    /// Events that they returned.
    pub events_total: u64,
    /// Waits that returned as many events as they asked for.
    pub full_total: u64,
    /// Seconds for which events were ready and nobody came to fetch them.
    pub starved_seconds_total: f64,
}

/// What an objective is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloState {
    /// Too few requests to say.
    InsufficientData,
    /// The last window met the objective.
    Ok,
    /// The last window did not.
    Violated,
    /// Enough windows in a row did not.
    Burning,
}

/// An objective at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SloView {
    /// Its name.
    pub name: String,
    /// The service it is about.
    pub service: String,
    /// Its target, as in 0.99.
    pub target: f64,
    /// Its state.
    pub state: SloState,
    /// Good share of the last complete window.
    pub ratio: Option<f64>,
    /// Requests in the last complete window.
    pub window_requests: u64,
    /// Violated windows in a row.
    pub violations: u32,
    /// Error budget used over the objective's own time window (1 is all of it).
    pub budget_used: Option<f64>,
}

/// A breaker at a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BreakerView {
    /// The process.
    pub pid: Pid,
    /// `closed`, `limited` or `recovering`.
    pub state: String,
    /// The limit it wants.
    pub limit: Option<u32>,
    /// Why.
    pub reason: String,
    /// Only said, not done.
    pub dry_run: bool,
    /// When it ends by itself.
    pub expires: Option<Nanos>,
}
