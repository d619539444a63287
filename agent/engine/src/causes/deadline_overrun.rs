//! `deadline_overrun`: requests arrive for longer than anybody should wait for one, and no read deadline ends them.
//!
//! A deadline that is looked at before each read never fires while a few bytes come now and then; the thread or the place
//! that the request has stays taken. Rests on accepted connections on which bytes have come for more than six seconds
//! without an answer, against what is usual: whoever takes long uploads has such all day. What is called a request here
//! may be any one-way stream; only that there are many more than before, and that others suffer, makes it one.

use super::{CauseUnit, Scene, shortage};
use crate::{
    model::{Cause, CauseKind, Evidence, Layer, Nanos},
    signs::{Sign, track::Deviation},
    window::SECOND,
};

/// A request counts after this time, and looks are two seconds apart.
const ARRIVING: Nanos = 8 * SECOND;
/// Threads pile up because of it if they began to no earlier than this before it is seen.
const TOGETHER: Nanos = 30 * SECOND;
/// What is left of the confidence where the suffering began before such requests can have come.
const BEFORE: f64 = 0.7;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::DeadlineOverrun,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::Unfinished, false).filter(|found| found.has_past)?;
        Some(shortage::finding(scene, CauseKind::DeadlineOverrun, found, title(scene, found)))
    },
    propose: |scene| {
        let found = scene.signs.of(Sign::Unfinished).filter(|found| found.has_past);
        found.map(|found| cause(scene, found)).into_iter().collect()
    },
    explains: |scene, kind| {
        let Some(found) = scene.signs.of(Sign::Unfinished).filter(|found| found.has_past) else { return false };
        // They were there long before they count.
        let from = found.since.saturating_sub(ARRIVING).saturating_sub(4 * SECOND);
        let follows = |sign: Sign| scene.signs.of(sign).is_some_and(|other| other.since >= from);
        match kind {
            CauseKind::AcceptQueueOverflow => follows(Sign::AcceptDrops),
            CauseKind::PoolExhausted => follows(Sign::PoolFull),
            CauseKind::LockContention => follows(Sign::LockWait),
            CauseKind::TaskLeak => {
                scene.piles.first().is_some_and(|pile| pile.rise.since.saturating_add(TOGETHER) >= from)
            }
            _ => false,
        }
    },
};

fn cause(scene: &Scene<'_>, found: &Deviation) -> Cause {
    // Whatever such requests do they do since they came.
    let came = Deviation { since: found.since.saturating_sub(ARRIVING), ..*found };
    let mut cause = shortage::cause(scene, CauseKind::DeadlineOverrun, Sign::Unfinished, &came, title(scene, found));
    if shortage::suffering_since(scene).is_some_and(|since| since.saturating_add(6 * SECOND) < came.since) {
        cause.confidence *= BEFORE;
    }
    if let Some((_, longest, _)) = worst(scene, found) {
        let reading = shortage::reading(scene, Layer::Network, "tcp.longest_request", longest, "s", came.since);
        cause.evidence.insert(1, Evidence { n: 1, ..reading });
    }
    cause
}

/// Who sends most of them, how long the longest of all has taken, seconds, and how many others send such.
#[expect(clippy::cast_precision_loss, reason = "microseconds, as seconds")]
fn worst(scene: &Scene<'_>, found: &Deviation) -> Option<(std::net::IpAddr, f64, usize)> {
    let all = scene.signs.slow_senders.since(found.since, scene.now);
    let longest = all.iter().map(|(_, _, micros)| **micros).max()?;
    let (address, ..) = all.first()?;
    Some((**address, longest as f64 / 1e6, all.len() - 1))
}

fn title(scene: &Scene<'_>, found: &Deviation) -> String {
    let many = format!("{:.0} requests have been arriving for more than 6 s, {:.0} before", found.after, found.before);
    let Some((address, longest, others)) = worst(scene, found) else { return many };
    let others = match others {
        0 => String::new(),
        1 => " and another".to_owned(),
        more => format!(" and {more} others"),
    };
    let longest = shortage::time(longest);
    format!("{many}, and no deadline ends them: from {address}{others}, the longest for {longest}")
}
