//! `disk_stall`: threads wait for a disk that does not answer.
//!
//! Rests on threads blocked where no signal reaches them, against what is usual: a backup that nobody waits for is
//! none. Device and place are those of the longest wait, where they could be told without touching its file system.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{Blocked, Cause, CauseKind, Evidence, HostSignal, Layer, ThreadRef},
    signs::{Sign, track::Deviation},
    window::seconds,
};

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::DiskStall,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::Blocked, false)?;
        Some(shortage::finding(scene, CauseKind::DiskStall, found, title(scene, found)))
    },
    propose: |scene| scene.signs.of(Sign::Blocked).map(|found| cause(scene, found)).into_iter().collect(),
    explains: |scene, kind| match kind {
        // The loop's own thread was among those that waited, or waits for a process that was.
        CauseKind::EventLoopStall => {
            let stuck = scene.stalls.sites.first().filter(|site| !site.on_cpu);
            stuck.zip(worst(scene)).is_some_and(|(site, worst)| {
                worst.tid == site.tid || (worst.pid != scene.target.pid && site.waits_for_a_lock())
            })
        }
        CauseKind::LockContention => shortage::drives(scene, Sign::Blocked, Sign::LockWait),
        _ => false,
    },
};

fn worst<'a>(scene: &Scene<'a>) -> Option<&'a Blocked> {
    let found = scene.signs.of(Sign::Blocked)?;
    scene.signs.all.blocked.since(found.since, scene.now).first().map(|(_, _, told)| *told)
}

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::DiskStall, Sign::Blocked, found, title(scene, found));
    if let Some(share) = scene.signs.pressure(HostSignal::IoSome, scene.now) {
        let reading = shortage::reading(scene, Layer::Infrastructure, "disk.pressure", share, "ratio", found.since);
        cause.evidence.insert(1, reading);
    }
    let Some(worst) = worst(scene) else { return cause };
    // Other things than disks block without a signal too; with a device there is no doubt.
    cause.confidence *= if worst.device.is_some() { 1.0 } else { 0.85 };
    let longest = seconds(worst.longest_ns);
    let reading = shortage::reading(scene, Layer::Infrastructure, "disk.longest_wait", longest, "s", found.since);
    cause.evidence.push(Evidence { n: 1, ..reading });
    (cause.site, cause.thread) = (worst.site, Some(ThreadRef { tid: worst.tid, name: worst.thread.clone() }));
    cause
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let waiting = format!("{:.1} threads wait for a disk on average, {:.1} before", found.after, found.before);
    let Some(worst) = worst(scene) else { return waiting };
    let device = worst.device.as_ref().map_or_else(String::new, |device| format!(" for {device}"));
    let call = if worst.syscall.is_empty() { "a page fault" } else { &worst.syscall };
    // A wait that was seen once may have been of any length.
    let took = match seconds(worst.longest_ns) {
        unknown if unknown < 1e-3 => "one wait was".to_owned(),
        longest => format!("the longest wait took {}", shortage::time(longest)),
    };
    format!("{waiting}; {took} in {call}{device} (thread {})", worst.thread)
}
