//! `lock_contention`: threads wait for a lock that others hold for too long.
//!
//! Rests on how many threads wait on average, against what is usual: a pool whose idle threads queue for one mutex
//! waits all the time, and that is well. Where they stand tells the lock; who holds it only where the lock itself
//! says so.

use super::{CauseUnit, Scene, shortage};
use crate::{
    loops::StallSite,
    model::{Cause, CauseKind, Evidence, Holder, Join, Layer, LockKind, LockWait, Nanos, SiteId, ThreadRef},
    signs::{LockPlace, Sign, track::Deviation},
    window::{SECOND, seconds},
};

/// Most causes of this kind at once.
const MOST: usize = 3;
/// Threads that pile up do so because of the waiting if that began before, or no later than this.
const TOGETHER: Nanos = 30 * SECOND;
/// Whoever has been in a write for so long stands in it.
const STANDS: Nanos = SECOND;
/// A lock is named if at least this share of the waiting is for it.
const SHARE: f64 = 0.2;

pub(crate) const UNIT: CauseUnit = CauseUnit {
    kind: CauseKind::LockContention,
    needs: shortage::TRIGGERS,
    produces: shortage::TRIGGERS,
    opens: |scene| {
        let found = shortage::presses(scene, Sign::LockWait, false).filter(|found| !may_be_a_write(scene, found))?;
        let detail = format!("{:.1} threads wait for locks on average, {:.1} before", found.after, found.before);
        Some(shortage::finding(scene, CauseKind::LockContention, found, detail))
    },
    propose,
    explains,
};

/// A loop that hangs in `futex` waits for the lock; what piles up behind it are threads, and connections.
fn explains(scene: &Scene<'_>, kind: CauseKind) -> bool {
    match kind {
        CauseKind::EventLoopStall => scene.stalls.sites.first().is_some_and(StallSite::waits_for_a_lock),
        CauseKind::TaskLeak => {
            let since = scene.signs.of(Sign::LockWait).map(|found| found.since);
            let piles = scene.piles.first().map(|pile| pile.rise.since);
            since.zip(piles).is_some_and(|(since, piles)| since <= piles.saturating_add(TOGETHER))
        }
        CauseKind::AcceptQueueOverflow => shortage::drives(scene, Sign::LockWait, Sign::AcceptDrops),
        _ => false,
    }
}

/// Whether it is not suspected, because somebody stands in a write who may hold it: one alone is not far out of the ordinary
/// as soon as all those who wait for the lock are.
fn may_be_a_write(scene: &Scene<'_>, found: &Deviation) -> bool {
    let writes = || scene.signs.all.writes.since(found.since, scene.now);
    scene.signs.early && writes().iter().any(|(_, _, told)| told.longest_ns >= STANDS)
}

fn propose(scene: &Scene<'_>) -> Vec<Cause> {
    let found = scene.signs.of(Sign::LockWait).filter(|found| !may_be_a_write(scene, found));
    let Some(found) = found else { return Vec::new() };
    let places = scene.signs.locks.since(found.since, scene.now);
    let named = places.iter().filter(|(_, share, _)| *share >= SHARE).take(MOST);
    named.map(|(place, share, lock)| cause(scene, found, place, *share, lock)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a count, as evidence")]
fn cause(scene: &Scene<'_>, found: &Deviation, place: &LockPlace, share: f64, lock: &LockWait) -> Cause {
    let title = title(found, share, lock);
    let mut cause = shortage::cause(scene, CauseKind::LockContention, Sign::LockWait, found, title);
    // Of several locks the one that is waited for most is meant.
    cause.confidence *= 0.7 + 0.3 * share.clamp(0.0, 1.0);
    let longest = seconds(lock.longest_ns);
    cause.evidence.push(Evidence {
        n: lock.waits,
        ..shortage::reading(scene, Layer::Application, "lock.longest_wait", longest, "s", found.since)
    });
    if lock.hand_overs > 0 {
        let handed = lock.hand_overs as f64;
        cause.evidence.push(Evidence {
            join: Join::None,
            ..shortage::reading(scene, Layer::Application, "lock.hand_overs", handed, "hand-overs", found.since)
        });
    }
    cause.site = SiteId(place.0);
    cause.thread = held(lock).map(|holder| ThreadRef { tid: holder.tid, name: holder.thread.clone() });
    cause
}

/// Who has had it all the time. Of one that goes from hand to hand the last holder is not at fault.
fn held(lock: &LockWait) -> Option<&Holder> {
    lock.holder.as_ref().filter(|_| lock.hand_overs == 0)
}

fn title(found: &Deviation, share: f64, lock: &LockWait) -> String {
    let of = if share > 0.95 { String::new() } else { format!(", {:.0} % of it for this one", share * 100.0) };
    let holder = match held(lock) {
        Some(holder) => format!("; held by {}", holder.thread),
        None => String::new(),
    };
    // A goroutine's name says what it is.
    let (who, thread) = if lock.kind == LockKind::Goroutine { ("goroutines", "") } else { ("threads", "thread ") };
    format!(
        "{:.1} {who} wait for a lock on average, {:.1} before{of}; the longest wait took {} ({thread}{}){holder}",
        found.after,
        found.before,
        shortage::time(seconds(lock.longest_ns)),
        lock.thread
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_one_of_many_that_had_it_is_not_called_its_holder() {
        let lock = |hand_overs| LockWait {
            pid: 1,
            word: 64,
            kind: LockKind::Word,
            waiters: 2,
            waits: 2,
            wait_ns: SECOND,
            longest_ns: SECOND,
            hand_overs,
            site: SiteId(1),
            thread: "waiter".into(),
            holder: Some(Holder { tid: 9, thread: "holder".into(), site: SiteId(2) }),
            at: SECOND,
        };
        assert_eq!(held(&lock(0)).map(|holder| holder.tid), Some(9));
        assert!(held(&lock(1)).is_none());
    }
}
