//! The order of causes: likeliest first, symptoms below what explains them.
//!
//! Invariant: at most eight, every confidence finite and within 0 to 1; the order depends on nothing
//! but the causes (ties go to the kind listed first, then to the lower site).

use crate::{
    causes::{self, CauseUnit, Scene},
    model::{Cause, CauseKind, TriggerKind, Verdict},
};

/// Above this the first cause may be believed.
pub(crate) const BAR: f64 = 0.6;
/// Most causes on an incident.
const MOST: usize = 8;
/// What is left of the confidence in a cause that a likelier one explains.
const EXPLAINED: f64 = 0.5;
/// What is left of it in a cause that does not produce the trigger that holds the incident open.
const BESIDE: f64 = 0.7;

/// The trigger that holds an incident open, and for an anomaly what it is of.
type HeldBy = (TriggerKind, Option<CauseKind>);

/// Orders causes and says whether the first may be believed. `held_by` is the incident's own trigger, if
/// that still holds.
pub(crate) fn rank(scene: &Scene<'_>, held_by: Option<HeldBy>, causes: &mut Vec<Cause>) -> Verdict {
    let before: Vec<_> = causes.iter().map(|cause| (cause.kind, cause.confidence)).collect();
    for cause in causes.iter_mut() {
        let explained = before.iter().any(|(kind, confidence)| {
            *kind != cause.kind
                && *confidence >= BAR
                && causes::unit(*kind).is_some_and(|unit| (unit.explains)(scene, cause.kind))
        });
        let unit = causes::unit(cause.kind);
        let beside = held_by.is_some_and(|held| unit.is_some_and(|unit| !produces(scene, unit, held)));
        cause.confidence *= if explained { EXPLAINED } else { 1.0 } * if beside { BESIDE } else { 1.0 };
    }
    let place = |cause: &Cause| causes::ALL.iter().position(|unit| unit.kind == cause.kind);
    causes.sort_by(|a, b| {
        b.confidence.total_cmp(&a.confidence).then_with(|| place(a).cmp(&place(b))).then_with(|| a.site.cmp(&b.site))
    });
    causes.truncate(MOST);
    let believed = causes.first().is_some_and(|cause| cause.confidence >= BAR);
    if believed { Verdict::Named } else { Verdict::Unknown }
}

/// An anomaly is produced by the cause that shows itself in it, and by what explains that one.
fn produces(scene: &Scene<'_>, unit: &CauseUnit, (held, of): HeldBy) -> bool {
    unit.produces.contains(&held) && of.is_none_or(|of| unit.kind == of || (unit.explains)(scene, of))
}
