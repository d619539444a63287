//! `cpu_saturation`: its threads are ready and the machine has no processor for them.
//!
//! Rests on the time that threads waited for a processor, of the time that they wanted one. Pressure of the machine,
//! where the kernel tells it, must agree: without it the waiting has another reason.

use super::{CauseUnit, Scene, cpu_throttled::wanted_a_processor, downstream_slow, shortage};
use crate::{
    model::{Cause, CauseKind, HostSignal, Layer},
    signs::{Sign, track::Deviation},
};

/// Less pressure than this (share of the time) is no shortage of processors.
const PRESSURE: f64 = 0.2;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::CpuSaturation,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::CpuDelay, false).filter(|_| is_short(scene))?;
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
    cause
}

fn title(found: &Deviation) -> String {
    format!(
        "threads that are ready wait for a processor {} of the time, {} before",
        shortage::percent(found.after),
        shortage::percent(found.before)
    )
}
