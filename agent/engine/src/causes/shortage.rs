//! What the causes of shortage have in common: something is short, and requests suffer from it.
//!
//! A figure that is out of its ordinary is no incident: a cache is filled, a backup runs, a pool starts. So it opens
//! one only if requests suffer at the same time, or, where nothing is known of requests, if it lasts. Confidence
//! grows with how far the figure lies above what it had to reach, and with what suffers; it falls if requests
//! suffered before it or only long after, and where there is no past to compare with. At the bar, with nobody suffering, it is below the
//! bar of belief: then the verdict is unknown.

use super::Scene;
use crate::{
    detect::Finding,
    model::{Cause, CauseKind, Evidence, Join, Layer, Nanos, Severity, SiteId, TriggerKind},
    signs::{Sign, track::Deviation},
    window::{SECOND, seconds},
};

/// The triggers for which a shortage may be looked into, and which it explains.
pub(super) const TRIGGERS: &[TriggerKind] =
    &[TriggerKind::Anomaly, TriggerKind::SloWindows, TriggerKind::Stall, TriggerKind::JointRule];
/// What began later than the suffering by more than this did not cause it.
const LATER: Nanos = 15 * SECOND;
/// What had gone on for longer than this before anybody suffered does perhaps no harm; the less likely, the longer:
/// after the second time as much is left of the confidence as the share says.
const EARLIER: (Nanos, Nanos, f64) = (30 * SECOND, 90 * SECOND, 0.7);
/// Confidence: at the bar; more, far above it; more, if somebody suffers.
const CONFIDENCE: (f64, f64, f64) = (0.52, 0.28, 0.12);
/// What is left of it if the suffering came first, and without a past.
const DOUBT: (f64, f64) = (0.75, 0.9);

/// When requests began to suffer, as far as anything says so.
pub(super) fn suffering_since(scene: &Scene<'_>) -> Option<Nanos> {
    let signs = scene.signs.suffering().map(|(_, found)| found.since);
    let stalls = scene.stalls.sites.iter().filter(|_| scene.stalls.triggered).map(|site| site.since);
    let burns = scene.burns.iter().map(|burn| burn.since.0);
    signs.chain(stalls).chain(burns).min()
}

/// Whether a shortage opens an incident by itself: the deviation, if so. `harms` says that it harms whether requests
/// are known to suffer or not.
pub(super) fn presses<'a>(scene: &Scene<'a>, sign: Sign, harms: bool) -> Option<&'a Deviation> {
    let found = scene.signs.of(sign)?;
    let lasts = scene.now.saturating_sub(found.since) >= scene.config.signs.alone_seconds.saturating_mul(SECOND);
    let alone = lasts && found.has_past && !scene.signs.hears_of_requests(scene.now);
    (harms || alone || suffering_since(scene).is_some()).then_some(found)
}

/// From which height on something harms by itself, and once it has lasted for how long; first the least, then higher ones
/// that need not last for as long.
pub(super) type Harms = [(f64, Nanos); 2];

/// What is only suspected is so after this.
const EARLY: Nanos = 3 * SECOND;

/// Whether a deviation harms, whether requests are known to suffer or not.
pub(super) fn harms(scene: &Scene<'_>, found: &Deviation, harms: Harms) -> bool {
    let lasted = scene.now.saturating_sub(found.since);
    let long = |long: Nanos| if scene.signs.early { EARLY } else { long };
    found.has_past && harms.iter().any(|(height, least)| found.after >= *height && lasted >= long(*least))
}

/// The finding of a shortage that opens an incident.
pub(super) fn finding(scene: &Scene<'_>, kind: CauseKind, found: &Deviation, detail: String) -> Finding {
    Finding {
        kind: TriggerKind::Anomaly,
        of: Some(kind),
        slo: None,
        detail,
        severity: Severity::Ticket,
        onset: (found.since, found.since.saturating_add(2 * SECOND).min(scene.now)),
    }
}

/// How sure a deviation makes of its cause.
pub(super) fn confidence(scene: &Scene<'_>, found: &Deviation) -> f64 {
    let above = if found.after > 0.0 { (1.0 - found.level / found.after).clamp(0.0, 1.0) } else { 0.0 };
    let since = suffering_since(scene);
    let suffers = if since.is_some() { CONFIDENCE.2 } else { 0.0 };
    let order = match since {
        Some(since) if found.since > since.saturating_add(LATER) => DOUBT.0,
        Some(since) => {
            let idle = seconds(since.saturating_sub(found.since).saturating_sub(EARLIER.0));
            1.0 - (1.0 - EARLIER.2) * (idle / seconds(EARLIER.1 - EARLIER.0)).min(1.0)
        }
        None => 1.0,
    };
    let past = if found.has_past { 1.0 } else { DOUBT.1 };
    ((CONFIDENCE.0 + CONFIDENCE.1 * above + suffers) * order * past).clamp(0.0, 1.0)
}

/// Whether one figure may have driven another: it began no later than [`LATER`] after it, and not long before it.
pub(super) fn drives(scene: &Scene<'_>, one: Sign, other: Sign) -> bool {
    let (Some(one), Some(other)) = (scene.signs.of(one), scene.signs.of(other)) else { return false };
    one.since <= other.since.saturating_add(LATER) && other.since <= one.since.saturating_add(EARLIER.0)
}

/// Whether threads may pile up because of what began then: they began to no earlier than [`EARLIER`] before it.
pub(super) fn piles_follow(scene: &Scene<'_>, since: Nanos) -> bool {
    scene.piles.first().is_some_and(|pile| since <= pile.rise.since.saturating_add(EARLIER.0))
}

/// A deviation as evidence.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an amount that is finite and not negative"
)]
pub(super) fn evidence(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Evidence {
    let (signal, unit, layer) = sign.words();
    Evidence {
        layer,
        signal: signal.to_owned(),
        before: found.before,
        after: found.after,
        unit: unit.to_owned(),
        n: found.amount.round() as u64,
        since: found.since,
        until: scene.now,
        join: Join::Window,
        ambiguity: 1,
    }
}

/// Something that is only known as of now, as evidence.
pub(super) fn reading(scene: &Scene<'_>, layer: Layer, signal: &str, after: f64, unit: &str, since: Nanos) -> Evidence {
    Evidence {
        layer,
        signal: signal.to_owned(),
        before: 0.0,
        after,
        unit: unit.to_owned(),
        n: 1,
        since,
        until: scene.now,
        join: Join::Window,
        ambiguity: 1,
    }
}

/// A cause that rests on a deviation; what suffers is added as evidence.
pub(super) fn cause(scene: &Scene<'_>, kind: CauseKind, sign: Sign, found: &Deviation, title: String) -> Cause {
    let mut all = vec![evidence(scene, sign, found)];
    all.extend(scene.signs.suffering().map(|(sign, found)| evidence(scene, sign, found)));
    all.extend(super::trigger_evidence(scene));
    Cause {
        kind,
        confidence: confidence(scene, found),
        title,
        site: SiteId(0),
        thread: None,
        connection: None,
        traces: Vec::new(),
        evidence: all,
        forecast: None,
    }
}

/// A share in per cent, with as many digits as it needs.
pub(super) fn percent(share: f64) -> String {
    let share = share * 100.0;
    match share {
        small if small < 1.0 => format!("{small:.2} %"),
        small if small < 10.0 => format!("{small:.1} %"),
        large => format!("{large:.0} %"),
    }
}

/// A time in the unit that suits it.
pub(super) fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}
