//! The narrow waist: all that the agent learns is an [`Observation`], all that it decides an [`Output`].
//!
//! Times are nanoseconds of `CLOCK_MONOTONIC` ([`Nanos`]); wall-clock time exists only at the API.
//! Process ids are those of the agent's own pid namespace. Code locations are opaque [`SiteId`]s:
//! names are looked up at the API and never decide anything.

mod connections;
mod dns;
mod host;
mod ids;
mod incident;
mod loops;
mod memory;
mod observation;
mod output;
mod setup;
mod tasks;
mod tcp;
mod trace;
mod view;

pub use connections::{ConnectionCounts, ConnectionSeen, Connections, IDLE, TROUBLE, TcpState};
pub use dns::{DnsLook, Resolver};
pub use host::{HostItem, HostLook, HostScope, HostSignal, HostView};
pub use ids::{Caller, Join, Nanos, Owner, Pid, SiteId, SpanId, TraceId};
pub use incident::{
    ActionTaken, Cause, CauseKind, Connection, Evidence, Forecast, Incident, IncidentId, Layer, Severity, ThreadRef,
    Times, Trigger, TriggerKind, Verdict,
};
pub use loops::{LoopInstance, LoopTime, Spent, Stall, WaitCall};
pub use memory::{MemorySite, MemoryTrend, MemoryVerdict, MemoryView, OomKill, PageKind, Pages, PagesAt};
pub use observation::{
    Acted, Holding, HoldingKind, Holdings, Level, Lost, Observation, OpenRequest, OpenRequests, ProcessExit,
    ProcessSeen, Request, Resource, Retransmit,
};
pub use output::{Act, ActuatorKind, Ask, Change, Output};
pub use setup::{Limit, Setup};
pub use tasks::{
    Blocked, BlockedView, BlockedWrite, CpuTime, Holder, LockKind, LockView, LockWait, TaskGroup, TaskGroups,
    TasksView, ThreadGroup, Threads, Throttled, WriteEnd,
};
pub use tcp::{Peer, TcpListener, TcpLook, TcpPeer, TcpView};
pub use trace::{
    Call, CallKind, DownstreamPeer, DownstreamView, TraceCall, TraceDescriptors, TraceGrowth, TraceProcess,
    TraceRequest, TraceRetransmits, TraceStall, TraceView, TracesKept,
};
pub use view::{
    BreakerView, FdView, InstanceView, LoopView, RuleState, RuleView, SiteView, SloState, SloView, SuspicionView,
    TargetView, View,
};
