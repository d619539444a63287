//! All scenarios. Adding one is a file and its line here.

mod accept_queue_overflow;
mod blocked_writer;
mod cascade;
mod cpu_saturation;
mod cpu_throttled;
mod deadline_overrun;
mod disk_stall;
mod dns_failure;
mod downstream_slow;
mod event_loop_stall;
mod fd_leak;
mod healthy;
mod lock_contention;
mod memory_growth;
mod nginx;
mod oom_kill;
mod outside;
mod pool_exhausted;
mod postgres;
mod redis;
mod slow_leak;
mod task_leak;
mod tcp_retransmits;
mod traffic_surge;

use super::stage::Scenario;

/// Services of ours by what is wrong with them, servers of others, what nobody can name, and what is healthy.
pub(super) const ALL: &[&[Scenario]] = &[
    &cpu_saturation::ALL,
    &lock_contention::ALL,
    &tcp_retransmits::ALL,
    &accept_queue_overflow::ALL,
    &fd_leak::ALL,
    &event_loop_stall::ALL,
    &memory_growth::ALL,
    &task_leak::ALL,
    &downstream_slow::ALL,
    &disk_stall::ALL,
    &cpu_throttled::ALL,
    &oom_kill::ALL,
    &traffic_surge::ALL,
    &pool_exhausted::ALL,
    &dns_failure::ALL,
    &blocked_writer::ALL,
    &deadline_overrun::ALL,
    &cascade::ALL,
    &nginx::ALL,
    &redis::ALL,
    &postgres::ALL,
    &outside::ALL,
    &slow_leak::ALL,
    &healthy::ALL,
];
