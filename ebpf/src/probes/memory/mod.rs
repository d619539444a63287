//! `memory`: resident memory by kind, threads and major faults of every target.
//!
//! What: the process's own counters, read once a second through `iter.s/task`; no hook, so nothing is paid
//! between looks.
//! Cost: one record per thread and look.
//! Limits: the kernel's counters lag by at most 64 pages a CPU. Growth sites are not in this version.

mod user;

pub(super) use user::Memory;
