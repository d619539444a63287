//! What the machine, a network namespace or a cgroup goes short of.

use super::{Nanos, Pid};
use serde::{Deserialize, Serialize};

/// Whose shortage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostScope {
    /// The machine's.
    Machine,
    /// Of the network namespace that the process is in.
    Network,
    /// Of the cgroup that the process is in.
    Cgroup,
}

/// What was short. Drops and overflows are counted; pressure is time in which somebody waited, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSignal {
    /// Received packets that an interface dropped; where [`HostSignal::NicRxMissed`] is known, the others.
    NicRxDropped,
    /// Received packets for which the ring had no room (`rx_missed`).
    NicRxMissed,
    /// Overruns of the receiver's buffer (`rx_fifo`).
    NicRxFifo,
    /// Packets to send that an interface dropped.
    NicTxDropped,
    /// Packets dropped because a CPU's backlog was full.
    SoftnetDropped,
    /// Times that a CPU's packet work ran out of its time or budget.
    SoftnetSqueezed,
    /// Connections refused because a listener's accept queue was full.
    ListenOverflows,
    /// Connections that a listener dropped for any reason.
    ListenDrops,
    /// Processes of the cgroup that the out-of-memory killer ended.
    OomKills,
    /// Some task waited for a CPU.
    CpuSome,
    /// All tasks waited for a CPU.
    CpuFull,
    /// Some task waited for memory.
    MemorySome,
    /// All tasks waited for memory.
    MemoryFull,
    /// Some task waited for a disk.
    IoSome,
    /// All tasks waited for a disk.
    IoFull,
}

impl HostSignal {
    /// Whether its amount is waiting time, not a count.
    #[must_use]
    pub fn is_time(self) -> bool {
        use HostSignal::{CpuFull, CpuSome, IoFull, IoSome, MemoryFull, MemorySome};
        matches!(self, CpuSome | CpuFull | MemorySome | MemoryFull | IoSome | IoFull)
    }
}

/// One look at the counters of a scope: what was added since the look before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostLook {
    /// Whose.
    pub scope: HostScope,
    /// The process whose namespace or cgroup it is; `None` for the machine.
    pub pid: Option<Pid>,
    /// The look before.
    pub since: Nanos,
    /// This look.
    pub until: Nanos,
    /// What could be read, zeros too. What is not listed is unknown.
    pub items: Vec<HostItem>,
}

/// What one counter gained.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostItem {
    /// Which.
    pub signal: HostSignal,
    /// The interface; empty where the scope says it all.
    #[serde(default)]
    pub place: String,
    /// Events, or nanoseconds of waiting.
    pub amount: u64,
}

/// A counter of the machine, a namespace or a cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostView {
    /// Whose.
    pub scope: HostScope,
    /// What was short.
    pub signal: HostSignal,
    /// The interface; empty where the scope says it all.
    pub place: String,
    /// Events, or seconds of waiting, since the agent began to look.
    pub total: f64,
    /// Events a second, or share of the time (0 to 1), over the last look.
    pub rate: f64,
}
