//! What is told to people: one incident, with its causes in order, likeliest first.

use super::{ActuatorKind, Join, Nanos, Pid, Resource, SiteId, TraceId};
use serde::{Deserialize, Serialize};

/// Counts up from 1; the API gives each a UUIDv7.
pub type IncidentId = u64;

/// A deviation of one target, from its onset to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// Other processes of the same service in which the same goes on, and of which nothing is told apart; at most 16.
    #[serde(default)]
    pub also: Vec<Pid>,
    /// How urgent.
    pub severity: Severity,
    /// What made it open.
    pub trigger: Trigger,
    /// When it opened.
    pub opened: Nanos,
    /// When it last changed.
    pub updated: Nanos,
    /// When it closed.
    pub closed: Option<Nanos>,
    /// The clock of the response.
    pub times: Times,
    /// What is different since the onset or from the instance before, one line each; at most twelve. Not causes.
    #[serde(default)]
    pub what_changed: Vec<String>,
    /// Named, or honestly unknown.
    pub verdict: Verdict,
    /// Likeliest first; at most eight.
    pub causes: Vec<Cause>,
    /// What was done about it, oldest first; at most 64.
    pub actions: Vec<ActionTaken>,
}

/// How urgent an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look this week.
    Ticket,
    /// Somebody should look now.
    Page,
}

/// What opened an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its kind.
    pub kind: TriggerKind,
    /// The SLO, if one did.
    pub slo: Option<String>,
    /// One sentence.
    pub detail: String,
}

/// The kinds of trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// Things still held after their request ended.
    Orphans,
    /// An event loop did not come back.
    Stall,
    /// A resource is running out.
    Exhaustion,
    /// Something grows steadily that should not, or is short while requests suffer, or they alone do.
    Anomaly,
    /// Violated windows in a row.
    SloWindows,
    /// Several figures that are bad together, as the operator's rule says.
    JointRule,
    /// A process died in the middle of an incident, or was killed for lack of memory.
    ProcessExit,
}

/// When things happened; the spread between them is what an operator is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The interval in which it began.
    pub onset: (Nanos, Nanos),
    /// When it was detected.
    pub detected: Nanos,
    /// Since when the cause that was first named had been suspected, before anything was found to be an incident.
    #[serde(default)]
    pub suspected: Option<Nanos>,
    /// When a cause was first named.
    pub named: Option<Nanos>,
    /// When an action first took effect.
    pub mitigated: Option<Nanos>,
    /// When the deviation ended.
    pub recovered: Option<Nanos>,
}

/// Whether the first cause may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first cause is above the confidence bar.
    Named,
    /// No cause is.
    Unknown,
}

/// The kinds of cause that this version can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// File descriptors kept after their request ended.
    FdLeak,
    /// A thread of an event loop that blocks or computes too long.
    EventLoopStall,
    /// Memory that only grows.
    MemoryGrowth,
    /// Threads, async tasks or goroutines that only grow in number.
    TaskLeak,
    /// Segments that get lost and are sent again.
    TcpRetransmits,
    /// Threads that wait for a lock.
    LockContention,
    /// The processor limit of its cgroup.
    CpuThrottled,
    /// Too few processors for what is ready to run.
    CpuSaturation,
    /// Connections dropped because nobody accepts them in time.
    AcceptQueueOverflow,
    /// A disk that does not answer.
    DiskStall,
    /// Ended by the kernel for lack of memory.
    OomKill,
    /// Packets for which interfaces or backlogs had no room.
    NicDrops,
    /// Another service that this one calls.
    DownstreamSlow,
    /// All connections to a peer are in use, and requests wait for one.
    PoolExhausted,
    /// More requests arrive than it was used to, and it does not carry them.
    TrafficSurge,
    /// Names are not resolved, or late.
    DnsFailure,
    /// Threads stand in writes because nobody reads what they write.
    BlockedWriter,
    /// Requests arrive for longer than anybody should wait for one, and no deadline ends them.
    DeadlineOverrun,
}

impl CauseKind {
    /// Whether it lies at a place in the code; what is short does not.
    #[must_use]
    pub fn has_place(self) -> bool {
        match self {
            Self::FdLeak
            | Self::EventLoopStall
            | Self::MemoryGrowth
            | Self::TaskLeak
            | Self::LockContention
            | Self::DiskStall => true,
            Self::TcpRetransmits
            | Self::CpuThrottled
            | Self::CpuSaturation
            | Self::AcceptQueueOverflow
            | Self::OomKill
            | Self::NicDrops
            | Self::DownstreamSlow
            | Self::PoolExhausted
            | Self::TrafficSurge
            | Self::DnsFailure
            | Self::BlockedWriter
            | Self::DeadlineOverrun => false,
        }
    }
}

/// A possible culprit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Its kind.
    pub kind: CauseKind,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence, for a person.
    pub title: String,
    /// Where in the code.
    pub site: SiteId,
    /// Which thread.
    pub thread: Option<ThreadRef>,
    /// Which connection.
    pub connection: Option<Connection>,
    /// Requests behind it, newest last; at most 16.
    pub traces: Vec<TraceId>,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// What is running out, and when.
    pub forecast: Option<Forecast>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadRef {
    /// Its id.
    pub tid: Pid,
    /// Its name.
    pub name: String,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// This side.
    pub local: std::net::SocketAddr,
    /// The other side.
    pub peer: std::net::SocketAddr,
}

/// Where a signal was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// In the service.
    Application,
    /// On its connections.
    Network,
    /// Below it.
    Infrastructure,
}

/// One measured difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was measured.
    pub layer: Layer,
    /// What was measured, as in `fd.orphaned`.
    pub signal: String,
    /// Its value before the onset.
    pub before: f64,
    /// Its value since.
    pub after: f64,
    /// The unit, as in `fds` or `s`.
    pub unit: String,
    /// How many events it rests on.
    pub n: u64,
    /// From when.
    pub since: Nanos,
    /// Until when.
    pub until: Nanos,
    /// How it was joined to requests.
    pub join: Join,
    /// How many requests could be meant (1: exact).
    pub ambiguity: u32,
}

/// When a resource will be used up, at the present rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Which.
    pub resource: Resource,
    /// How much is used.
    pub level: u64,
    /// How much there is.
    pub limit: u64,
    /// Earliest and latest, seconds from the incident's last update.
    pub eta_seconds: (f64, f64),
}

/// Something that was done, or would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionTaken {
    /// When.
    pub at: Nanos,
    /// By whom.
    pub actuator: ActuatorKind,
    /// What, as in `limit 200 -> 60`.
    pub change: String,
    /// Why.
    pub reason: String,
    /// It was only said, not done.
    pub dry_run: bool,
    /// When it ends by itself.
    pub expires: Option<Nanos>,
}
