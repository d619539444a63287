//! Pages that processes get: counted by kind, and sampled with the stack that asked for them.

use super::{Context, StackRecord};

/// Anonymous memory: heap and stacks. Index into the arrays below.
pub const PAGES_ANON: usize = 0;
/// Shared memory: tmpfs, memfd, System V.
pub const PAGES_SHMEM: usize = 1;

/// What one CPU counted for one process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PageCount {
    /// Pages that came in, by kind.
    pub pages: [u64; 2],
    /// Pages since the last sampling point, by kind.
    pub since: [u64; 2],
    /// Sampling points fall after so many more events.
    pub left: u32,
    /// The distance between the last two; it doubles within a period.
    pub every: u32,
    /// The host's period that these belong to.
    pub period: u32,
    /// Explicit padding.
    pub _pad: u32,
}

/// What the host allows for one process, and what all CPUs share of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PageAllowance {
    /// Resident pages as the last event saw them, by kind: a jump of a whole huge page is one event.
    pub resident: [u64; 2],
    /// Stacks that may still be copied in this period.
    pub tokens: u32,
    /// Number of the period.
    pub period: u32,
}

/// A sampled page with the stack that asked for it. Copies may hold secrets: unwound and dropped at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GrowthRecord {
    /// Pages that it stands for.
    pub pages: u64,
    /// `PAGES_*`.
    pub kind: u32,
    /// How the context was found (`JOIN_*`).
    pub join: u32,
    /// What the thread worked for.
    pub context: Context,
    /// Where.
    pub stack: StackRecord,
}
