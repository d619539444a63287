//! `cpu_throttled`: the processor limit of its cgroup holds the process back.
//!
//! Rests on the share of the limit's periods in which it was throttled. Whatever then comes late (loops, holders of
//! locks, threads that are ready) is a symptom.

use super::{CauseUnit, Scene, downstream_slow, shortage};
use crate::{
    loops::StallSite,
    model::{Cause, CauseKind},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// Of a stall, at least this share was spent waiting for a processor, if throttling is its cause.
pub(super) const QUEUED: f64 = 0.4;
/// Threads that spend this share of the time in which they could run waiting for a processor take three times as long for
/// everything, whether or not that is long enough for a request to count as slow.
pub(super) const STARVES: f64 = 0.7;
/// Then it counts by itself, once it has been held back in this share of the periods for so long.
const HARMS: shortage::Harms = [(0.3, 20 * SECOND), (0.8, 10 * SECOND)];

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::CpuThrottled,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let starves = scene.signs.height(Sign::CpuDelay, scene.now).is_some_and(|share| share >= STARVES);
        let harms = |found| starves && shortage::harms(scene, found, HARMS);
        let found = shortage::presses(scene, Sign::Throttled, scene.signs.of(Sign::Throttled).is_some_and(harms))?;
        Some(shortage::finding(scene, CauseKind::CpuThrottled, found, title(found)))
    },
    propose: |scene| scene.signs.of(Sign::Throttled).map(|found| cause(scene, found)).into_iter().collect(),
    explains,
};

/// A loop that blocks in a system call is not held back by a limit.
fn explains(scene: &Scene<'_>, kind: CauseKind) -> bool {
    match kind {
        CauseKind::EventLoopStall => scene.stalls.sites.first().is_some_and(wanted_a_processor),
        CauseKind::LockContention => shortage::drives(scene, Sign::Throttled, Sign::LockWait),
        CauseKind::CpuSaturation => true,
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::Throttled, Sign::AcceptDrops),
        // Whom it asks may lack the same processors, and spans are written by the process itself.
        CauseKind::DownstreamSlow => {
            shortage::drives(scene, Sign::Throttled, Sign::LateAnswers)
                || (downstream_slow::by_spans_alone(scene) && shortage::drives(scene, Sign::Throttled, Sign::Slow))
        }
        _ => false,
    }
}

/// Whether threads that did not come back waited for a processor meanwhile.
pub(super) fn wanted_a_processor(site: &StallSite) -> bool {
    site.queued.map_or(site.on_cpu, |share| share >= QUEUED)
}

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::CpuThrottled, Sign::Throttled, found, title(found));
    if let Some(delay) = scene.signs.height(Sign::CpuDelay, scene.now) {
        let (signal, unit, layer) = Sign::CpuDelay.words();
        cause.evidence.insert(1, shortage::reading(scene, layer, signal, delay, unit, found.since));
    }
    cause
}

fn title(found: &Deviation) -> String {
    format!(
        "its cgroup's processor limit held it back in {} of the periods, {} before",
        shortage::percent(found.after),
        shortage::percent(found.before)
    )
}
