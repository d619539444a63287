//! `traffic_surge`: more requests arrive than it was used to, and it does not carry them.
//!
//! Rests on how many requests arrive a second, as its sockets tell (what it answers) or spans (their begin), and on
//! requests that suffer from then on: more traffic that is carried well is nobody's business. What suffered before
//! more arrived did not suffer from that: callers ask again whoever is slow, or fails at once, and then nothing arrives
//! that others had not asked for already. So nothing that is short may have been short before.

use super::{CauseUnit, Scene, downstream_slow, shortage};
use crate::{
    detect::Finding,
    model::{Cause, CauseKind, Nanos},
    signs::{
        Sign,
        track::{Deviation, WINDOW},
    },
    window::SECOND,
};

/// What may be short before it and be the reason why callers ask again.
const REASONS: [Sign; 12] = [
    Sign::Refused,
    Sign::LateAnswers,
    Sign::LockWait,
    Sign::Throttled,
    Sign::CpuDelay,
    Sign::Blocked,
    Sign::NicDrops,
    Sign::PoolFull,
    Sign::DnsFailed,
    Sign::DnsTime,
    Sign::BlockedWrites,
    Sign::Unfinished,
];
/// What is left of the confidence if something was short, or suffered, before.
const BEFORE: f64 = 0.7;
/// As many requests as usual must still be answered without a failure, or it is callers that ask again.
const CARRIED: f64 = 0.9;
/// Threads pile up because of it if they began to no earlier, and within this time.
const TOGETHER: Nanos = 60 * SECOND;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::TrafficSurge,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens,
    propose: |scene| {
        let suffers = shortage::suffering_since(scene).is_some();
        found(scene).filter(|_| suffers).map(|(sign, found)| cause(scene, sign, found)).into_iter().collect()
    },
    explains,
};

/// By how much more arrives; the sockets of the process first, which tell of every request.
fn found<'a>(scene: &Scene<'a>) -> Option<(Sign, &'a Deviation)> {
    let of = |sign| Some((sign, scene.signs.of(sign).filter(|found| found.has_past)?));
    [Sign::Arrivals, Sign::Asked].into_iter().find_map(of)
}

fn opens(scene: &Scene<'_>) -> Option<Finding> {
    let (_, found) = found(scene).filter(|(_, found)| is_first(scene, found))?;
    shortage::suffering_since(scene)?;
    Some(shortage::finding(scene, CauseKind::TrafficSurge, found, title(found)))
}

/// Whether nothing suffered and nothing was short before more arrived, as far as windows tell.
fn is_first(scene: &Scene<'_>, surge: &Deviation) -> bool {
    let before = |since: Nanos| since.saturating_add(WINDOW) < surge.since;
    let suffered = shortage::suffering_since(scene).is_some_and(before);
    let short = REASONS.iter().filter_map(|sign| scene.signs.of(*sign)).any(|found| before(found.since));
    !suffered && !short && carries(scene, surge)
}

/// Whether as many are answered as ever: who fails at once and is asked again has no more to do than before.
fn carries(scene: &Scene<'_>, surge: &Deviation) -> bool {
    let fails = scene.signs.of(Sign::Failed).map_or(0.0, |found| found.after);
    surge.after * (1.0 - fails.clamp(0.0, 1.0)) >= CARRIED * surge.before
}

/// Whether a figure rose with the traffic, or soon after it.
fn drives(scene: &Scene<'_>, other: Sign) -> bool {
    found(scene).is_some_and(|(sign, surge)| {
        let follows = scene.signs.of(other).is_some_and(|other| other.since.saturating_add(WINDOW) >= surge.since);
        follows && shortage::drives(scene, sign, other)
    })
}

/// Whatever has a limit reaches it.
fn explains(scene: &Scene<'_>, kind: CauseKind) -> bool {
    let Some((_, surge)) = found(scene).filter(|(_, surge)| is_first(scene, surge)) else { return false };
    match kind {
        CauseKind::CpuSaturation => drives(scene, Sign::CpuDelay),
        CauseKind::CpuThrottled => drives(scene, Sign::Throttled),
        CauseKind::LockContention => drives(scene, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => drives(scene, Sign::AcceptDrops),
        CauseKind::NicDrops => drives(scene, Sign::NicDrops),
        CauseKind::PoolExhausted => drives(scene, Sign::PoolFull),
        CauseKind::DownstreamSlow => {
            drives(scene, Sign::LateAnswers) || (downstream_slow::by_spans_alone(scene) && drives(scene, Sign::Slow))
        }
        CauseKind::TaskLeak => scene.piles.first().is_some_and(|pile| {
            let since = pile.rise.since;
            since.saturating_add(WINDOW) >= surge.since && since <= surge.since.saturating_add(TOGETHER)
        }),
        // A loop comes back late where there is much to do at every turn; one that blocks has another reason.
        CauseKind::EventLoopStall => scene.stalls.sites.first().is_some_and(|site| {
            site.on_cpu && site.since.saturating_add(WINDOW) >= surge.since && drives(scene, Sign::CpuDelay)
        }),
        _ => false,
    }
}

fn cause(scene: &Scene<'_>, sign: Sign, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::TrafficSurge, sign, found, title(found));
    cause.confidence *= if is_first(scene, found) { 1.0 } else { BEFORE };
    cause
}

fn title(found: &Deviation) -> String {
    let times = found.after / found.before.max(0.1);
    format!("{:.1} requests a second arrive, {:.1} before: {times:.1} times as many", found.after, found.before)
}
