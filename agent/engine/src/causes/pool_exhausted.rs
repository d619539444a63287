//! `pool_exhausted`: all connections to a peer are in use all the time, and requests wait for one.
//!
//! Rests on the process's own connections: for which share of the time those that are in use wait for an answer, while
//! the peer answers as soon as ever (`signs/pools.rs`). If it answers late, the pool is full because of that, and
//! `downstream_slow` is told. Spans may show the wait where it is felt: the time that slow requests let pass before
//! their call begins; or within the call, where who writes the span counts the waiting in: then the call seems late and
//! the sockets know better.

use super::{CauseUnit, Scene, downstream_slow, shortage};
use crate::{
    model::{Cause, CauseKind, Evidence, Join, Layer, Nanos, Peer},
    signs::{Sign, pools::Full, track::Deviation},
    window::SECOND,
};

/// Demand that rose by this factor is told as the reason.
const ROSE: f64 = 1.2;
/// Looks may end a little before the window of the figure began.
const BEFORE: Nanos = 6 * SECOND;
/// What is left of the doubt if spans show requests wait before their call.
const SPANS: f64 = 0.6;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::PoolExhausted,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let (found, peer, full) = found(scene)?;
        shortage::suffering_since(scene)?;
        Some(shortage::finding(scene, CauseKind::PoolExhausted, found, title(&peer, &full)))
    },
    propose: |scene| {
        let suffers = shortage::suffering_since(scene).is_some();
        let found = found(scene).filter(|_| suffers);
        found.map(|(found, peer, full)| cause(scene, found, &peer, &full)).into_iter().collect()
    },
    explains: |scene, kind| match kind {
        CauseKind::LockContention => shortage::drives(scene, Sign::PoolFull, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::PoolFull, Sign::AcceptDrops),
        // Spans that count the waiting in say that calls are late; those who answer are not.
        CauseKind::DownstreamSlow => downstream_slow::by_spans_alone(scene) && found(scene).is_some(),
        CauseKind::TaskLeak => {
            scene.signs.of(Sign::PoolFull).is_some_and(|found| shortage::piles_follow(scene, found.since))
        }
        _ => false,
    },
};

fn found<'a>(scene: &Scene<'a>) -> Option<(&'a Deviation, Peer, Full)> {
    let found = scene.signs.of(Sign::PoolFull).filter(|found| found.has_past)?;
    let (peer, full) = scene.signs.pools.full(found.since.saturating_sub(BEFORE))?;
    Some((found, peer, full))
}

fn cause(scene: &Scene<'_>, found: &Deviation, peer: &Peer, full: &Full) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::PoolExhausted, Sign::PoolFull, found, title(peer, full));
    let one = |signal: &str, (after, before): (f64, f64), unit: &str, n: u32| Evidence {
        layer: Layer::Application,
        signal: format!("{signal} {peer}"),
        before,
        after,
        unit: unit.to_owned(),
        n: n.into(),
        since: found.since,
        until: scene.now,
        join: Join::Window,
        ambiguity: 1,
    };
    let active = (f64::from(full.active), full.usually_active);
    let told = [
        one("pool.in_use_ratio", full.busy, "ratio", full.connections),
        one("pool.connections_in_use", active, "connections", full.connections),
        one("pool.answer_time", full.answer, "s", full.connections),
        one("pool.answers", full.rate, "answers/s", full.connections),
    ];
    cause.evidence.splice(1..1, told);
    if let Some(behind) = waits_before(scene) {
        cause.confidence = 1.0 - (1.0 - cause.confidence) * SPANS;
        cause.evidence.insert(
            5,
            Evidence {
                signal: format!("calls.wait_before {}", behind.peer),
                ..one("", (behind.after, behind.before), "s", behind.count)
            },
        );
        cause.traces = behind.traces;
    }
    cause
}

/// Where slow requests lose most of their time right before a call, and by how much: as spans tell.
fn waits_before(scene: &Scene<'_>) -> Option<crate::calls::Behind> {
    let calls = scene.target.calls.as_ref()?;
    let slow = scene.signs.of(Sign::Slow).filter(|found| found.has_past)?;
    calls.before(slow.since, scene.now)
}

fn title(peer: &Peer, full: &Full) -> String {
    let all = match (full.active, full.connections) {
        (1, 1) => format!("the only connection to {peer} is"),
        (active, open) if active >= open => format!("all {active} connections to {peer} are"),
        (active, open) => format!("{active} of {open} connections to {peer}, and never another, are"),
    };
    let (after, before) = (shortage::percent(full.busy.0), shortage::percent(full.busy.1));
    let answers = format!("it answers after {} as ever", shortage::time(full.answer.0));
    let why = if full.rate.0 >= ROSE * full.rate.1 {
        format!("; {:.1} questions a second, {:.1} before", full.rate.0, full.rate.1)
    } else {
        String::new()
    };
    format!("{all} in use {after} of the time, {before} before, and requests wait for one; {answers}{why}")
}
