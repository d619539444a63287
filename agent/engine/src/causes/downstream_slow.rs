//! `downstream_slow`: another service, which this one calls, does not answer or answers late.
//!
//! Rests on the process's own outgoing connections: connects that fail, answers that take longer than is usual for whom
//! it asks, and round trips that got long. An answer that never comes counts only once something does.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{Cause, CauseKind, Nanos},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// The figures that say so, the plainest first.
const SIGNS: [Sign; 3] = [Sign::Refused, Sign::LateAnswers, Sign::RoundTrip];

/// So many connects a second that fail, where nearly none did, harm once it has lasted so long: nobody connects for
/// nothing, and requests that fail at once look quick from outside.
const HARMS: (f64, Nanos) = (2.0, 20 * SECOND);

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::DownstreamSlow,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let harms = |sign: Sign| {
            let found = scene.signs.of(sign).filter(|found| sign == Sign::Refused && found.has_past);
            found.is_some_and(|found| found.after >= HARMS.0 && scene.now.saturating_sub(found.since) >= HARMS.1)
        };
        let presses = |sign: &Sign| Some((*sign, shortage::presses(scene, *sign, harms(*sign))?));
        let (sign, found) = SIGNS.iter().find_map(presses)?;
        Some(shortage::finding(scene, CauseKind::DownstreamSlow, found, title(scene, sign, found)))
    },
    propose: |scene| {
        let found = SIGNS.iter().find_map(|sign| Some((*sign, scene.signs.of(*sign)?)));
        found.map(|(sign, found)| cause(scene, sign, found)).into_iter().collect()
    },
    // Whoever waits for an answer holds what it holds, and comes to accept late.
    explains: |scene, kind| match kind {
        CauseKind::LockContention => shortage::drives(scene, Sign::LateAnswers, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::LateAnswers, Sign::AcceptDrops),
        _ => false,
    },
};

fn cause(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::DownstreamSlow, sign, found, title(scene, sign, found));
    let other =
        SIGNS.into_iter().filter(|other| *other != sign).filter_map(|other| Some((other, scene.signs.of(other)?)));
    for (other, found) in other {
        cause.evidence.insert(1, shortage::evidence(scene, other, found));
    }
    // A path may be long for other reasons than who answers at its end.
    cause.confidence *= if sign == Sign::RoundTrip { 0.85 } else { 1.0 };
    cause
}

fn title(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> String {
    if sign == Sign::Refused {
        let all = scene.signs.failures.since(found.since, scene.now);
        let Some(((peer, errno), ..)) = all.first() else {
            return format!("{:.1} connects a second fail", found.after);
        };
        let rate = format!("{:.1} connects a second to {peer} fail", found.after);
        return format!("{rate} ({}), {:.1} before", reason(*errno), found.before);
    }
    if sign == Sign::LateAnswers {
        let all = scene.signs.late.since(found.since, scene.now);
        let Some((peer, _, mean)) = all.first() else { return "answers of others take long".to_owned() };
        let usual = scene.signs.answers.usual(peer).unwrap_or(0.0);
        return format!("{peer} answers after {}, {} is usual", shortage::time(**mean), shortage::time(usual));
    }
    let all = scene.signs.trips.since(found.since, scene.now);
    let (after, before) = (shortage::time(found.after), shortage::time(found.before));
    let peer = all.iter().max_by(|a, b| a.2.total_cmp(b.2)).map(|(peer, ..)| *peer);
    let peer = peer.map_or_else(String::new, |peer| format!(" to {peer}"));
    format!("a round trip{peer} takes {after}, {before} before")
}

/// What an errno of a failed connect means.
fn reason(errno: u32) -> String {
    match errno {
        0 => "given up before an answer, or refused on this host".to_owned(),
        101 => "network unreachable".to_owned(),
        104 => "reset".to_owned(),
        110 => "no answer".to_owned(),
        111 => "refused".to_owned(),
        113 => "host unreachable".to_owned(),
        other => format!("error {other}"),
    }
}
