//! The order of causes: likeliest first, symptoms below what explains them.
//!
//! Invariant: at most eight, every confidence finite and within 0 to 1; the order depends on nothing
//! but the causes (ties go to the kind listed first, then to the lower site).

use crate::{
    causes::{self, CauseUnit, Scene},
    detect::Finding,
    model::{Cause, CauseKind, TriggerKind, Verdict},
};
use std::collections::BTreeSet;

/// Above this the first cause may be believed.
pub(crate) const BAR: f64 = 0.6;
/// Most causes on an incident.
const MOST: usize = 8;
/// What is left of the confidence in a cause that a likelier one explains.
const EXPLAINED: f64 = 0.5;
/// What is left of it in a cause that does not produce the trigger that holds the incident open. One that would open an
/// incident by itself is another trouble at the same time: it only stays behind the first of those that do.
const BESIDE: f64 = 0.7;
/// How far it stays behind.
const BEHIND: f64 = 0.01;

/// The trigger that holds an incident open, and for an anomaly what it is of.
type HeldBy = (TriggerKind, Option<CauseKind>);

/// Which kind explains which, as was seen while both were there: one of them may be over first.
pub(crate) type Explained = BTreeSet<(usize, usize)>;

/// Orders causes and says whether the first may be believed. `held_by` is the incident's own trigger, if
/// that still holds, and `findings` all that hold; `explained` is what was seen so far, and is added to.
pub(crate) fn rank(
    scene: &Scene<'_>,
    held_by: Option<HeldBy>,
    findings: &[Finding],
    causes: &mut Vec<Cause>,
    explained: &mut Explained,
) -> Verdict {
    let before: Vec<_> = causes.iter().map(|cause| (cause.kind, cause.confidence)).collect();
    let is_beside = |kind: CauseKind| {
        held_by.is_some_and(|held| causes::unit(kind).is_some_and(|unit| !produces(scene, unit, held)))
    };
    let mut holds = 0.0_f64;
    let mut alone = Vec::new();
    for (at, cause) in causes.iter_mut().enumerate() {
        let mut explains = |kind: CauseKind| {
            let Some((by, of)) = place(kind).zip(place(cause.kind)) else { return false };
            if (causes::ALL[by].explains)(scene, cause.kind) {
                explained.insert((by, of));
            }
            explained.contains(&(by, of))
        };
        let explained =
            before.iter().any(|(kind, confidence)| *kind != cause.kind && *confidence >= BAR && explains(*kind));
        let beside = is_beside(cause.kind);
        if beside && !explained && opens(cause.kind, findings) {
            alone.push((at, cause.confidence));
        }
        cause.confidence *= if explained { EXPLAINED } else { 1.0 } * if beside { BESIDE } else { 1.0 };
        holds = if beside { holds } else { holds.max(cause.confidence) };
    }
    for (at, confidence) in alone {
        causes[at].confidence = causes[at].confidence.max(confidence.min(holds - BEHIND));
    }
    causes.sort_by(|a, b| {
        let by_kind = || place(a.kind).cmp(&place(b.kind));
        b.confidence.total_cmp(&a.confidence).then_with(by_kind).then_with(|| a.site.cmp(&b.site))
    });
    causes.truncate(MOST);
    let believed = causes.first().is_some_and(|cause| cause.confidence >= BAR);
    if believed { Verdict::Named } else { Verdict::Unknown }
}

fn place(kind: CauseKind) -> Option<usize> {
    causes::ALL.iter().position(|unit| unit.kind == kind)
}

/// Whether a cause of this kind would open an incident now, for which no other kind would.
fn opens(kind: CauseKind, findings: &[Finding]) -> bool {
    let only = |held: TriggerKind| {
        let mut needing =
            causes::ALL.iter().filter(|unit| !causes::is_shortage(unit.kind) && unit.needs.contains(&held));
        needing.next().is_some_and(|unit| unit.kind == kind) && needing.next().is_none()
    };
    findings.iter().any(|found| found.of.map_or_else(|| only(found.kind), |of| of == kind))
}

/// An anomaly is produced by the cause that shows itself in it, and by what explains that one. What is short shows
/// itself only because requests suffer, and which of several shortages was seen first says nothing.
fn produces(scene: &Scene<'_>, unit: &CauseUnit, (held, of): HeldBy) -> bool {
    unit.produces.contains(&held)
        && of.is_none_or(|of| causes::is_shortage(of) || unit.kind == of || (unit.explains)(scene, of))
}
