//! `downstream_slow`: another service, which this one calls, does not answer or answers late.
//!
//! Rests on two views of the same calls. Client spans say how much of the delay of slow requests, against healthy ones
//! of the same route, lies in calls to one peer, and how many of the failed requests had a call to it that failed
//! (`calls/`). The process's own outgoing connections say that connects fail, that answers take longer than is usual
//! for whom it asks or do not come at all, and that round trips got long. Spans are written by the process itself: one that
//! is held back writes long ones, so what holds it back explains them. Where the late one is asked many times as often as
//! ever (a cache that was emptied, retries), that is told with it: it is slow because of those who ask.

use super::{CauseUnit, Scene, shortage};
use crate::{
    calls::Behind,
    detect::Finding,
    model::{Cause, CauseKind, Evidence, Join, Layer, Nanos, Peer},
    signs::{Sign, track::Deviation},
    window::{SECOND, seconds},
};

/// The figures of connections that say so, the plainest first.
const SIGNS: [Sign; 3] = [Sign::Refused, Sign::LateAnswers, Sign::RoundTrip];
/// So many connects a second that fail, where nearly none did, harm once it has lasted so long: nobody connects for
/// nothing, and requests that fail at once look quick from outside.
const HARMS: shortage::Harms = [(2.0, 20 * SECOND), (5.0, 10 * SECOND)];
/// Confidence by spans: with half of the delay in the calls, and what all of it adds; less with few requests.
const BY_SPANS: (f64, f64, f64) = (0.66, 0.28, 0.9);
/// So many requests are not few.
const MANY: u32 = 10;
/// What is left of the doubt if the connections say so too.
const BOTH: f64 = 0.5;
/// What is left of it if the process may have written the long spans itself: less than is believed.
const SEEMS: f64 = 0.6;
/// A stall explains calls that seem late if it is at least this share of what requests were late by.
const STALLED: f64 = 0.5;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::DownstreamSlow,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens,
    propose: |scene| {
        let calls = by_spans(scene);
        let found = SIGNS.iter().find_map(|sign| Some((*sign, scene.signs.of(*sign)?)));
        let cause = match (calls, found) {
            (Some((suffers, behind)), found) => Some(cause_by_spans(scene, suffers, &behind, found)),
            (None, Some((sign, found))) => Some(cause_by_connections(scene, sign, found)),
            (None, None) => None,
        };
        cause.into_iter().collect()
    },
    // Whoever waits for an answer holds what it holds, and comes to accept late.
    explains: |scene, kind| match kind {
        CauseKind::LockContention => shortage::drives(scene, Sign::LateAnswers, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::LateAnswers, Sign::AcceptDrops),
        _ => false,
    },
};

fn opens(scene: &Scene<'_>) -> Option<Finding> {
    let harms = |sign: Sign| {
        let found = scene.signs.of(sign).filter(|_| sign == Sign::Refused);
        found.is_some_and(|found| shortage::harms(scene, found, HARMS))
    };
    let presses = |sign: &Sign| Some((*sign, shortage::presses(scene, *sign, harms(*sign))?));
    if let Some((sign, found)) = SIGNS.iter().find_map(presses) {
        return Some(shortage::finding(scene, CauseKind::DownstreamSlow, found, title(scene, sign, found)));
    }
    let (suffers, behind) = by_spans(scene).filter(|(_, behind)| behind.count >= MANY)?;
    (behind.fails || !seems_late(scene))
        .then(|| shortage::finding(scene, CauseKind::DownstreamSlow, suffers, said(&behind)))
}

/// Who is behind what requests suffer, and since when they do.
fn by_spans<'a>(scene: &Scene<'a>) -> Option<(&'a Deviation, Behind)> {
    let calls = scene.target.calls.as_ref()?;
    let suffering = |sign: Sign| scene.signs.of(sign).filter(|found| found.has_past);
    [(Sign::Slow, false), (Sign::Failed, true)].into_iter().find_map(|(sign, fails)| {
        let found = suffering(sign)?;
        Some((found, calls.behind(fails, found.since, scene.now)?))
    })
}

/// Whether nothing but spans says that calls take long: then whoever holds the process back makes them seem so.
pub(super) fn by_spans_alone(scene: &Scene<'_>) -> bool {
    SIGNS.iter().all(|sign| scene.signs.of(*sign).is_none())
}

/// Whether event loops stood still for so long that calls only seem late.
pub(super) fn is_stalled(scene: &Scene<'_>) -> bool {
    let Some((_, behind)) = by_spans(scene).filter(|_| scene.stalls.triggered && by_spans_alone(scene)) else {
        return false;
    };
    let longest = scene.stalls.sites.iter().map(|site| site.typical).max().unwrap_or(0);
    !behind.fails && seconds(longest) >= STALLED * behind.delay
}

/// Whether a process that is held back writes the long spans itself. Its figures are taken as they are now: whether they
/// are out of their ordinary takes longer to say than whether requests are slow.
fn seems_late(scene: &Scene<'_>) -> bool {
    let bars = &scene.config.signs;
    let is_high = |sign: Sign, bar: f64| scene.signs.height(sign, scene.now).is_some_and(|height| height >= bar);
    is_stalled(scene)
        || is_high(Sign::CpuDelay, bars.cpu_delay_ratio)
        || is_high(Sign::Throttled, bars.throttled_ratio)
        || shortage::drives(scene, Sign::Resent, Sign::Slow)
}

fn cause_by_spans(
    scene: &Scene<'_>,
    suffers: &Deviation,
    behind: &Behind,
    connections: Option<(Sign, &Deviation)>,
) -> Cause {
    let half = 2.0 * (behind.share - 0.5).clamp(0.0, 0.5);
    let few = if behind.count < MANY { BY_SPANS.2 } else { 1.0 };
    let sign = if behind.fails { Sign::Failed } else { Sign::Slow };
    let mut cause = shortage::cause(scene, CauseKind::DownstreamSlow, sign, suffers, said(behind));
    let late = if !behind.fails && by_spans_alone(scene) && seems_late(scene) { SEEMS } else { 1.0 };
    cause.confidence = ((BY_SPANS.0 + BY_SPANS.1 * half) * few * late).clamp(0.0, 1.0);
    // What requests suffer is there already, as evidence of those who suffer.
    cause.evidence.remove(0);
    let all = evidence(behind, suffers.since, scene.now);
    cause.evidence.splice(0..0, all);
    if let Some((sign, found)) = connections {
        let by_connections = shortage::confidence(scene, found);
        cause.confidence = 1.0 - (1.0 - cause.confidence.max(by_connections)) * BOTH;
        cause.title = format!("{}; {}", cause.title, title(scene, sign, found));
        cause.evidence.insert(2, shortage::evidence(scene, sign, found));
        add_demand(scene, sign, found, &mut cause);
    }
    cause.traces.clone_from(&behind.traces);
    cause
}

fn cause_by_connections(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::DownstreamSlow, sign, found, title(scene, sign, found));
    let other =
        SIGNS.into_iter().filter(|other| *other != sign).filter_map(|other| Some((other, scene.signs.of(other)?)));
    for (other, found) in other {
        cause.evidence.insert(1, shortage::evidence(scene, other, found));
    }
    add_demand(scene, sign, found, &mut cause);
    // A path may be long for other reasons than who answers at its end.
    cause.confidence *= if sign == Sign::RoundTrip { 0.85 } else { 1.0 };
    cause
}

/// The peer that is latest, and how many answers a second it gives and used to give, if it is asked many times as often.
fn demand(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Option<(Peer, (f64, f64))> {
    let all = scene.signs.late.since(found.since, scene.now);
    let peer = all.first().map(|(peer, ..)| **peer).filter(|_| sign == Sign::LateAnswers)?;
    Some((peer, scene.signs.answers.asked_more(&peer)?))
}

fn add_demand(scene: &Scene<'_>, sign: Sign, found: &Deviation, cause: &mut Cause) {
    let Some((peer, (after, before))) = demand(scene, sign, found) else { return };
    let signal = format!("calls.rate {peer}");
    let one = shortage::reading(scene, Layer::Application, &signal, after, "answers/s", found.since);
    cause.evidence.push(Evidence { before, ..one });
}

/// What spans say, in a sentence.
fn said(behind: &Behind) -> String {
    let share = shortage::percent(behind.share);
    if behind.fails {
        let before = shortage::percent(behind.before);
        return format!("{share} of the failed requests had a call to {} that failed, {before} of others", behind.peer);
    }
    let (after, before) = (shortage::time(behind.after), shortage::time(behind.before));
    format!("calls to {} take {after} of a slow request, {before} of others: {share} of the delay", behind.peer)
}

fn evidence(behind: &Behind, since: Nanos, until: Nanos) -> [Evidence; 2] {
    let one = |signal: &str, before: f64, after: f64, unit: &str| Evidence {
        layer: Layer::Application,
        signal: format!("{signal} {}", behind.peer),
        before,
        after,
        unit: unit.to_owned(),
        n: behind.count.into(),
        since,
        until: until.max(since.saturating_add(SECOND)),
        join: Join::Window,
        ambiguity: 1,
    };
    let unit = if behind.fails { "ratio" } else { "s" };
    let what = if behind.fails { "calls.failed_ratio" } else { "calls.time" };
    let of = if behind.fails { "calls.share_of_failures" } else { "calls.share_of_delay" };
    [one(what, behind.before, behind.after, unit), one(of, 0.0, behind.share, "ratio")]
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
        let Some((peer, _, late)) = all.first() else { return "answers of others take long".to_owned() };
        let usual = shortage::time(scene.signs.answers.usual(peer).unwrap_or(0.0));
        let time = shortage::time(late.time);
        let late = match late.awaited {
            0 => format!("{peer} answers after {time}, {usual} is usual"),
            1 => format!("{peer} has not answered for {time}, {usual} is usual"),
            all => format!("{peer} has not answered {all} questions for up to {time}, {usual} is usual"),
        };
        let more = |(_, (after, before))| format!("; it gives {after:.1} answers a second, {before:.1} before");
        return late + &demand(scene, sign, found).map_or_else(String::new, more);
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
