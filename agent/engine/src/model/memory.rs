//! Memory: pages that come in, and what the engine says of the levels.

use super::{Join, Nanos, Pid, SiteId, TraceId};
use serde::{Deserialize, Serialize};

/// What kind of memory a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    /// Heap and stacks.
    Anon,
    /// Shared memory: tmpfs, memfd, System V.
    Shmem,
}

/// Pages of one kind that a process got. What it gave back meanwhile is not taken off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pages {
    /// The process.
    pub pid: Pid,
    /// Of which kind.
    pub kind: PageKind,
    /// Since when.
    pub since: Nanos,
    /// Until when.
    pub until: Nanos,
    /// How much came in, counted.
    pub bytes: u64,
    /// Where, by samples: shares of `bytes`. What no sample stands for is missing.
    pub sites: Vec<PagesAt>,
}

/// Pages that came in at one place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PagesAt {
    /// Where they were touched first.
    pub site: SiteId,
    /// How much, estimated.
    pub bytes: u64,
    /// The last request that was seen to do it.
    pub trace: Option<TraceId>,
    /// How the trace was found.
    pub join: Join,
}

/// A process that the out-of-memory killer chose.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct OomKill {
    /// The process.
    pub pid: Pid,
    /// When.
    pub at: Nanos,
}

/// The memory of a target beyond its resident size, which [`super::TargetView::rss_anon`] and
/// [`super::TargetView::rss_file`] tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MemoryView {
    /// Resident shared memory, bytes.
    pub rss_shmem: Option<u64>,
    /// Own memory in swap, bytes.
    pub swap: Option<u64>,
    /// The most that was ever resident, bytes.
    pub rss_peak: Option<u64>,
    /// Address space, bytes.
    pub address_space: Option<u64>,
    /// The private, writable part of it, bytes.
    pub address_space_data: Option<u64>,
    /// Major faults since the process started.
    pub major_faults: Option<u64>,
    /// Use and limit of the cgroup that leaves least room, bytes.
    pub cgroup: Option<(u64, Option<u64>)>,
    /// Heap in use and its limit, as the process publishes them, bytes.
    #[serde(default)]
    pub heap: Option<(u64, Option<u64>)>,
    /// Garbage collections since the process started, as it publishes them.
    #[serde(default)]
    pub collections: Option<u64>,
    /// Times that the out-of-memory killer chose it.
    pub oom_kills: u64,
    /// What its memory does, by kind.
    pub trends: Vec<MemoryTrend>,
    /// Where pages came in over the last one to two minutes, most first.
    pub sites: Vec<MemorySite>,
}

/// What the memory of a kind does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MemoryTrend {
    /// Heap and stacks with their swapped part, or shared memory.
    pub kind: PageKind,
    /// Now, bytes.
    pub level: u64,
    /// What is said of it.
    pub verdict: MemoryVerdict,
    /// Growth of the level's floor, bytes a second: least and most. Only where it is significant.
    pub growth: Option<(f64, f64)>,
    /// Bytes a second that came in over the last minute, given back or not; `None` if it is not counted.
    pub pages_in: Option<f64>,
}

/// A cautious word on a level of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryVerdict {
    /// Too little was seen, or it moves without a clear direction.
    NotEnough,
    /// Its floor rises.
    Grows,
    /// It stays, and hardly a page comes in: what is held is used again, or kept by the allocator.
    Holds,
    /// It stays, while pages come and go.
    TurnsOver,
    /// It grows or stays high, while the heap that the process says is in use does not grow and is much smaller:
    /// its allocator keeps the rest, or it lies outside that heap.
    Retains,
}

/// Pages that came in at one place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemorySite {
    /// Of which kind.
    pub kind: PageKind,
    /// Where; 0 is unknown.
    pub site: SiteId,
    /// How much, bytes, by samples.
    pub bytes: u64,
    /// Requests that did it; at most 16.
    pub traces: Vec<TraceId>,
}
