//! Causes that can be named. One file each, and one line in [`ALL`].
//!
//! A cause declares what it needs (the trigger without which it proposes nothing), what it produces
//! (triggers that it explains), and when it explains another cause away. Invariant: a proposal's
//! confidence is a finite number from 0 to 1 and rests on evidence that it carries.

mod event_loop_stall;
mod fd_leak;
mod memory_growth;
mod task_leak;

use crate::{
    config::EngineConfig,
    correlate::group::Leak,
    loops::StallPicture,
    memory::Growing,
    model::{Cause, CauseKind, Evidence, Forecast, Join, Layer, Nanos, SiteId, TriggerKind},
    slo::state::Burn,
    target::Target,
    tasks::Pile,
};

/// All that is known of one target at a moment.
#[derive(Debug)]
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
}

/// A kind of cause.
#[derive(Debug)]
pub(crate) struct CauseUnit {
    pub(crate) kind: CauseKind,
    /// It proposes nothing unless this trigger holds.
    pub(crate) needs: TriggerKind,
    /// Triggers that it explains.
    pub(crate) produces: &'static [TriggerKind],
    /// What it makes of a scene.
    pub(crate) propose: fn(&Scene<'_>) -> Vec<Cause>,
    /// Whether, if it is right, a cause of another kind is only its symptom.
    pub(crate) explains: fn(&Scene<'_>, CauseKind) -> bool,
}

/// Every cause that this version can name.
pub(crate) const ALL: &[&CauseUnit] =
    &[&fd_leak::UNIT, &event_loop_stall::UNIT, &task_leak::UNIT, &memory_growth::UNIT];

/// The unit of a kind.
pub(crate) fn unit(kind: CauseKind) -> Option<&'static CauseUnit> {
    ALL.iter().copied().find(|unit| unit.kind == kind)
}

/// What makes two proposals the same cause.
pub(crate) type Identity = (CauseKind, SiteId);

/// A cause's identity.
pub(crate) fn identity(cause: &Cause) -> Identity {
    (cause.kind, cause.site)
}

/// What burning objectives add to a cause that would produce them.
pub(crate) fn slo_evidence(scene: &Scene<'_>) -> impl Iterator<Item = Evidence> {
    scene.burns.iter().map(|burn| Evidence {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_listed_once_and_explains_its_own_trigger() {
        for (n, unit) in ALL.iter().enumerate() {
            assert!(ALL[n + 1..].iter().all(|other| other.kind != unit.kind), "{:?} twice", unit.kind);
            assert!(unit.produces.contains(&unit.needs), "{:?} needs a trigger that it does not produce", unit.kind);
        }
        assert_eq!(ALL.len(), 4, "a new kind needs its replay folder");
    }
}
