//! Causes that can be named. One file each, and one line in [`ALL`].
//!
//! A cause declares what it needs (triggers without which it proposes nothing), what it produces
//! (triggers that it explains), when it opens an incident by itself, and when it explains another cause away.
//! Invariant: a proposal's confidence is a finite number from 0 to 1 and rests on evidence that it carries.

mod accept_queue_overflow;
mod blocked_writer;
mod cpu_saturation;
mod cpu_throttled;
mod deadline_overrun;
mod disk_stall;
mod dns_failure;
mod downstream_slow;
mod event_loop_stall;
mod fd_leak;
mod lock_contention;
mod memory_growth;
mod nic_drops;
mod oom_kill;
mod pool_exhausted;
mod shortage;
mod task_leak;
mod tcp_retransmits;
mod traffic_surge;

use crate::{
    config::EngineConfig,
    correlate::group::Leak,
    detect::Finding,
    loops::StallPicture,
    memory::Growing,
    model::{Cause, CauseKind, Evidence, Forecast, Join, Layer, Nanos, SiteId, TriggerKind},
    rules::Watch,
    signs::Shown,
    slo::state::Burn,
    target::Target,
    tasks::Pile,
};

/// All that is known of one target at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) now: Nanos,
    pub(crate) target: &'a Target,
    pub(crate) config: &'a EngineConfig,
    /// The breaker limits it already.
    pub(crate) limited: bool,
    pub(crate) leaks: &'a [Leak],
    pub(crate) stalls: &'a StallPicture,
    pub(crate) burns: &'a [Burn],
    /// For descriptors, where their growth is significant.
    pub(crate) fds: Option<Forecast>,
    /// Memory that grows.
    pub(crate) memory: Option<&'a Growing>,
    /// Threads and tasks that pile up, most first.
    pub(crate) piles: &'a [Pile],
    /// What is short or slow.
    pub(crate) signs: Shown<'a>,
    /// What the operator's rules make of it.
    pub(crate) rules: &'a Watch,
}

/// A kind of cause.
#[derive(Debug)]
pub(crate) struct CauseUnit {
    pub(crate) kind: CauseKind,
    /// It proposes nothing unless one of these triggers holds.
    pub(crate) needs: &'static [TriggerKind],
    /// Triggers that it explains.
    pub(crate) produces: &'static [TriggerKind],
    /// What of a scene opens an incident of the kind [`TriggerKind::Anomaly`] by itself.
    pub(crate) opens: fn(&Scene<'_>) -> Option<Finding>,
    /// What it makes of a scene.
    pub(crate) propose: fn(&Scene<'_>) -> Vec<Cause>,
    /// Whether, if it is right, a cause of another kind is only its symptom.
    pub(crate) explains: fn(&Scene<'_>, CauseKind) -> bool,
}

/// Every cause that this version can name. Of two that are equally likely the first is told first: what is closer to
/// the code, and what explains the other.
pub(crate) const ALL: &[&CauseUnit] = &[
    &fd_leak::UNIT,
    &event_loop_stall::UNIT,
    &task_leak::UNIT,
    &memory_growth::UNIT,
    &cpu_throttled::UNIT,
    &disk_stall::UNIT,
    &lock_contention::UNIT,
    &cpu_saturation::UNIT,
    &nic_drops::UNIT,
    &tcp_retransmits::UNIT,
    &dns_failure::UNIT,
    &blocked_writer::UNIT,
    &deadline_overrun::UNIT,
    &downstream_slow::UNIT,
    &accept_queue_overflow::UNIT,
    &pool_exhausted::UNIT,
    &traffic_surge::UNIT,
    &oom_kill::UNIT,
];

/// The unit of a kind.
pub(crate) fn unit(kind: CauseKind) -> Option<&'static CauseUnit> {
    ALL.iter().copied().find(|unit| unit.kind == kind)
}

/// Whether it rests on a figure that may be back to what is usual while the trouble goes on.
pub(crate) fn is_shortage(kind: CauseKind) -> bool {
    unit(kind).is_some_and(|unit| unit.needs == shortage::TRIGGERS)
}

/// What makes two proposals the same cause.
pub(crate) type Identity = (CauseKind, SiteId);

/// A cause's identity.
pub(crate) fn identity(cause: &Cause) -> Identity {
    (cause.kind, cause.site)
}

/// What burning objectives and joint rules that hold add to a cause that would produce them.
pub(crate) fn trigger_evidence(scene: &Scene<'_>) -> impl Iterator<Item = Evidence> {
    let burns = scene.burns.iter().map(|burn| Evidence {
        layer: Layer::Application,
        signal: format!("slo.good_ratio {}", burn.name),
        before: burn.ratio_before,
        after: burn.ratio,
        unit: "ratio".to_owned(),
        n: burn.requests,
        since: burn.since.0,
        until: scene.now,
        join: Join::Window,
        ambiguity: 1,
    });
    burns.chain(scene.rules.evidence(scene.now, &scene.config.rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_listed_once_and_explains_its_own_trigger() {
        for (n, unit) in ALL.iter().enumerate() {
            assert!(ALL[n + 1..].iter().all(|other| other.kind != unit.kind), "{:?} twice", unit.kind);
            let produced = unit.needs.iter().all(|needed| unit.produces.contains(needed));
            assert!(produced && !unit.needs.is_empty(), "{:?} needs a trigger that it does not produce", unit.kind);
        }
        assert_eq!(ALL.len(), 18, "a new kind needs its replay folder");
    }
}
