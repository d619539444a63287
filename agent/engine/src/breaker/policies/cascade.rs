//! `cascade`: shed while a named cause is at work and will take the service down.
//!
//! Quicker than waiting for an objective to burn: the kernel's evidence already proves the cause. A slow
//! leak, or a stall now and then, is no reason to refuse anybody.

use super::Policy;
use crate::{
    causes::Scene,
    model::{Cause, CauseKind, Incident, Verdict},
    window::seconds,
};

pub(super) const POLICY: Policy = Policy { name: "cascade", reason };

fn reason(scene: &Scene<'_>, incident: &Incident) -> Option<String> {
    let cause = incident.causes.first().filter(|_| incident.verdict == Verdict::Named)?;
    let pressing = match cause.kind {
        CauseKind::FdLeak => leak_presses(scene, cause),
        CauseKind::EventLoopStall => stall_presses(scene),
        CauseKind::MemoryGrowth => growth_presses(scene),
        CauseKind::TaskLeak => growth_presses(scene),
        // Fewer requests do not mend these, or how far is not known: an objective that burns is reason enough.
        CauseKind::TcpRetransmits
        | CauseKind::LockContention
        | CauseKind::CpuThrottled
        | CauseKind::CpuSaturation
        | CauseKind::AcceptQueueOverflow
        | CauseKind::DiskStall
        | CauseKind::OomKill
        | CauseKind::NicDrops
        | CauseKind::DownstreamSlow
        | CauseKind::PoolExhausted
        | CauseKind::TrafficSurge
        | CauseKind::DnsFailure
        | CauseKind::BlockedWriter
        | CauseKind::DeadlineOverrun => false,
    };
    pressing.then(|| cause.title.clone())
}

fn leak_presses(scene: &Scene<'_>, cause: &Cause) -> bool {
    let growing = scene.leaks.iter().any(|leak| leak.growing);
    let soon = cause.forecast.is_some_and(|told| told.eta_seconds.0 <= scene.config.breaker.leak_within_seconds);
    let own = &scene.target.own;
    let nearly_full = own.limit.is_some_and(|limit| own.live.saturating_mul(10) >= limit.saturating_mul(9));
    // Once limited, a leak is slower: growth alone keeps the limit, or it would come and go.
    growing && (soon || nearly_full || scene.limited)
}

/// What grows takes the service down when memory runs out: fewer requests let it grow more slowly.
fn growth_presses(scene: &Scene<'_>) -> bool {
    let soon = |eta: (f64, f64)| eta.0 <= scene.config.breaker.leak_within_seconds;
    scene.memory.is_some_and(|memory| memory.eta().is_some_and(soon) || scene.limited)
}

fn stall_presses(scene: &Scene<'_>) -> bool {
    let window = f64::from(u32::try_from(scene.config.stalls.window_seconds).unwrap_or(u32::MAX)).max(1.0);
    scene.stalls.triggered && seconds(scene.stalls.total) / window >= scene.config.breaker.stall_share
}
