//! `blocked_writer`: threads stand in writes because nobody reads what they write.
//!
//! Rests on threads that wait in a write, against what is usual: whoever serves slow clients from threads waits in writes
//! all day. Who does not read, and where the write stands, are those of the longest wait.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{BlockedWrite, Cause, CauseKind, Evidence, Layer, ThreadRef, WriteEnd},
    signs::{Sign, track::Deviation},
    window::seconds,
};

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::BlockedWriter,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::BlockedWrites, false)?;
        Some(shortage::finding(scene, CauseKind::BlockedWriter, found, title(scene, found)))
    },
    propose: |scene| scene.signs.of(Sign::BlockedWrites).map(|found| cause(scene, found)).into_iter().collect(),
    explains: |scene, kind| match kind {
        // Whoever writes a log holds its lock.
        CauseKind::LockContention => shortage::drives(scene, Sign::BlockedWrites, Sign::LockWait),
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::BlockedWrites, Sign::AcceptDrops),
        CauseKind::PoolExhausted => shortage::drives(scene, Sign::BlockedWrites, Sign::PoolFull),
        // The loop's own thread was among those that stood in a write.
        CauseKind::EventLoopStall => {
            let stuck = scene.stalls.sites.first().filter(|site| !site.on_cpu);
            stuck.is_some_and(|site| worst(scene).is_some_and(|worst| worst.tid == site.tid))
        }
        CauseKind::TaskLeak => {
            scene.signs.of(Sign::BlockedWrites).is_some_and(|found| shortage::piles_follow(scene, found.since))
        }
        _ => false,
    },
};

fn worst<'a>(scene: &Scene<'a>) -> Option<&'a BlockedWrite> {
    let found = scene.signs.of(Sign::BlockedWrites)?;
    scene.signs.all.writes.since(found.since, scene.now).first().map(|(_, _, told)| *told)
}

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    let mut cause = shortage::cause(scene, CauseKind::BlockedWriter, Sign::BlockedWrites, found, title(scene, found));
    let Some(worst) = worst(scene) else { return cause };
    let longest = seconds(worst.longest_ns);
    let reading = shortage::reading(scene, Layer::Application, "write.longest_wait", longest, "s", found.since);
    cause.evidence.insert(1, Evidence { n: 1, ..reading });
    (cause.site, cause.thread) = (worst.site, Some(ThreadRef { tid: worst.tid, name: worst.thread.clone() }));
    cause
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let waiting = format!("{:.1} threads stand in a write on average, {:.1} before", found.after, found.before);
    let Some(worst) = worst(scene) else { return waiting };
    let to = match &worst.to {
        WriteEnd::Pipe { reader: Some(pid), name } => {
            format!(" to a pipe that {} (pid {pid}) does not read", name.as_deref().unwrap_or("a process"))
        }
        WriteEnd::Pipe { reader: None, .. } => " to a pipe that nobody reads".to_owned(),
        WriteEnd::Socket { peer: Some(peer) } => format!(" to {peer}, who does not read"),
        WriteEnd::Socket { peer: None } => " to a socket that is not read".to_owned(),
        WriteEnd::Unknown => String::new(),
    };
    let length = shortage::time(seconds(worst.longest_ns));
    format!("{waiting}; the longest took {length} in {}{to} (thread {})", worst.syscall, worst.thread)
}
