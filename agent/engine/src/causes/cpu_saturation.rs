//! `cpu_saturation`: its threads are ready and the machine has no processor for them.
//!
//! Rests on the time that threads waited for a processor, of the time that they wanted one. Pressure of the machine,
//! where the kernel tells it, must agree: without it the waiting has another reason. Where threads hardly get a processor,
//! answers need not be as late as counts elsewhere.

use super::{
    CauseUnit, Scene,
    cpu_throttled::{STARVES, wanted_a_processor},
    downstream_slow, shortage,
};
use crate::{
    model::{Cause, CauseKind, HostSignal, Layer, Nanos},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// Less pressure than this (share of the time) is no shortage of processors.
const PRESSURE: f64 = 0.2;
/// Threads starve only where the machine's pressure is this high at least ...
const STARVED: f64 = 0.5;
/// ... and answers take so many times as long as before it, and so many seconds longer: a crowd that is carried well is
/// nobody's business.
const SLOWER: (f64, f64) = (2.0, 0.01);
/// That is suspected after so long, and an incident after so long: so are jobs that come and go.
const LASTS: (Nanos, Nanos) = (10 * SECOND, 20 * SECOND);
/// What it adds to the confidence, as what requests suffer does.
const SURER: f64 = 0.12;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::CpuSaturation,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let starves = scene.signs.of(Sign::CpuDelay).is_some_and(|found| starves(scene, found));
        let found = shortage::presses(scene, Sign::CpuDelay, starves).filter(|_| is_short(scene))?;
        // The limit says more.
        let throttled = scene.signs.of(Sign::Throttled).is_some();
        (!throttled).then(|| shortage::finding(scene, CauseKind::CpuSaturation, found, title(found)))
    },
    propose: |scene| {
        let found = scene.signs.of(Sign::CpuDelay).filter(|_| is_short(scene) && !may_be_a_limit(scene));
        found.map(|found| cause(scene, found)).into_iter().collect()
    },
    explains: |scene, kind| match kind {
        CauseKind::EventLoopStall => scene.stalls.sites.first().is_some_and(wanted_a_processor),
        CauseKind::LockContention => shortage::drives(scene, Sign::CpuDelay, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::CpuDelay, Sign::AcceptDrops),
        // Whom it asks may lack the same processors, and spans are written by the process itself.
        CauseKind::DownstreamSlow => {
            shortage::drives(scene, Sign::CpuDelay, Sign::LateAnswers)
                || (downstream_slow::by_spans_alone(scene) && shortage::drives(scene, Sign::CpuDelay, Sign::Slow))
        }
        _ => false,
    },
};

fn is_short(scene: &Scene<'_>) -> bool {
    scene.signs.pressure(HostSignal::CpuSome, scene.now).is_none_or(|share| share >= PRESSURE)
}

/// Whether its threads hardly get a processor, and have not for a while. No limit may be about to be found: that comes later.
fn starves(scene: &Scene<'_>, found: &Deviation) -> bool {
    let least = if scene.signs.early { LASTS.0 } else { LASTS.1 };
    let is_pressed = || scene.signs.pressure(HostSignal::CpuSome, scene.now).is_some_and(|share| share >= STARVED);
    let slower = |(usual, now): (f64, f64)| now >= SLOWER.0 * usual && now >= usual + SLOWER.1;
    found.has_past
        && found.after >= STARVES
        && scene.now.saturating_sub(found.since) >= least
        && is_pressed()
        && scene.signs.since(Sign::Answer, found.since, scene.now, &scene.config.signs).is_some_and(slower)
        && !may_be_a_limit(scene)
}

/// Whether a limit of its control group is about to be found: whom it holds back waits for a processor, too.
fn may_be_a_limit(scene: &Scene<'_>) -> bool {
    let is_known = scene.signs.of(Sign::Throttled).is_some();
    !is_known && scene.signs.is_high(Sign::Throttled, scene.now, &scene.config.signs)
}

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::CpuSaturation, Sign::CpuDelay, found, title(found));
    match scene.signs.pressure(HostSignal::CpuSome, scene.now) {
        Some(share) => {
            let reading = shortage::reading(scene, Layer::Infrastructure, "cpu.pressure", share, "ratio", found.since);
            cause.evidence.insert(1, reading);
        }
        // Nobody else says so.
        None => cause.confidence *= 0.85,
    }
    if shortage::suffering_since(scene).is_none() && starves(scene, found) {
        cause.confidence = (cause.confidence + SURER).min(1.0);
    }
    cause
}

fn title(found: &Deviation) -> String {
    format!(
        "threads that are ready wait for a processor {} of the time, {} before",
        shortage::percent(found.after),
        shortage::percent(found.before)
    )
}
