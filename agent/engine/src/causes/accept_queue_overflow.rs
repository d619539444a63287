//! `accept_queue_overflow`: connections are dropped because nobody accepts them in time.
//!
//! Rests on what the process's own listeners dropped, and on a queue that is full or is said to have overflowed: packets
//! that a listener has no use for count as dropped too. Mostly it is a symptom: of a loop that does not come back, of
//! threads that wait, or of descriptors that have run out; on its own it is more than the backlog was made for.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{Cause, CauseKind, Evidence, Layer, Nanos, TcpListener},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// An overflow was lately if it was within this time.
const LATELY: Nanos = 10 * SECOND;
/// What may keep somebody from accepting, and takes longer to say for certain than that connections are dropped.
const REASONS: [Sign; 6] =
    [Sign::LateAnswers, Sign::LockWait, Sign::Throttled, Sign::CpuDelay, Sign::Blocked, Sign::BlockedWrites];
/// More may be asked than ever: then a crowd fills the queue, whatever keeps others from accepting.
const CROWDS: [Sign; 2] = [Sign::Arrivals, Sign::Asked];
/// Where one of them is high it is waited for it, for so long.
const PATIENCE: Nanos = 16 * SECOND;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::AcceptQueueOverflow,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        // Whoever is dropped suffers, and is not among the requests that are known.
        shortage::presses(scene, Sign::AcceptDrops, true)?;
        let found = found(scene)?;
        if !overflows(scene, found) || a_reason_may_follow(scene, found) {
            return None;
        }
        Some(shortage::finding(scene, CauseKind::AcceptQueueOverflow, found, title(scene, found)))
    },
    propose: |scene| found(scene).map(|found| cause(scene, found)).into_iter().collect(),
    explains: |_, _| false,
};

/// What is dropped out of the ordinary; it is not suspected while its reason may be about to be.
fn found<'a>(scene: &Scene<'a>) -> Option<&'a Deviation> {
    scene.signs.of(Sign::AcceptDrops).filter(|found| !(scene.signs.early && a_reason_may_follow(scene, found)))
}

/// Whether something else is about to be named of which this would be a symptom.
fn a_reason_may_follow(scene: &Scene<'_>, found: &Deviation) -> bool {
    let is_high = |sign: &Sign| {
        let least = sign.bar(&scene.config.signs).least;
        scene.signs.height(*sign, scene.now).is_some_and(|height| height >= least)
    };
    let crowds = |sign: &Sign| scene.signs.is_high(*sign, scene.now, &scene.config.signs);
    let is_early = scene.now.saturating_sub(found.since) < PATIENCE;
    is_early && (REASONS.iter().any(is_high) || CROWDS.iter().any(crowds))
}

/// Whether a queue is full, or some queue of the namespace overflowed lately.
fn overflows(scene: &Scene<'_>, found: &Deviation) -> bool {
    let full = worst(scene, found).is_some_and(|one| one.limit > 0 && one.queue >= one.limit);
    full || scene.signs.overflowed.is_some_and(|at| scene.now.saturating_sub(at) <= LATELY)
}

fn worst(scene: &Scene<'_>, found: &Deviation) -> Option<TcpListener> {
    let all = scene.signs.listeners.since(found.since, scene.now);
    all.first().map(|(_, _, listener)| **listener)
}

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let kind = CauseKind::AcceptQueueOverflow;
    let mut cause = shortage::cause(scene, kind, Sign::AcceptDrops, found, title(scene, found));
    let Some(listener) = worst(scene, found) else { return cause };
    // A full queue says why they were dropped; what is dropped beside an empty one may have had another reason.
    let queue = f64::from(listener.queue);
    let sure = if overflows(scene, found) { cause.confidence + 0.12 } else { cause.confidence * 0.6 };
    cause.confidence = sure.clamp(0.0, 1.0);
    let reading = shortage::reading(scene, Layer::Network, "tcp.accept_queue", queue, "connections", found.since);
    cause.evidence.push(Evidence { n: listener.limit.into(), ..reading });
    cause
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let dropped = format!("{:.1} connections a second are dropped, {:.1} before", found.after, found.before);
    match worst(scene, found) {
        Some(one) => format!("{dropped}: {} of {} wait to be accepted at {}", one.queue, one.limit, one.address),
        None => dropped,
    }
}
