//! Judging one event-loop thread from look to look. Pure, so that it is tested without a kernel.
//!
//! A thread is stuck if it is neither waiting nor resting, and nothing shows that it moved on: its last wait
//! ended at the same moment, it did not sleep and wake in between, and it works for the same request.

use super::syscalls;
use crate::wire::ThreadRecord;
use snowshed_engine::model::Nanos;

/// Shorter times without coming back are ordinary work.
pub(super) const THRESHOLD: Nanos = 150_000_000;

/// What was seen of a thread at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    at: Nanos,
    record: ThreadRecord,
    /// When the present stretch without coming back began; `None` while it waits or rests.
    since: Option<Nanos>,
    /// It was seen resting outside epoll: its time between waits is not all work.
    pub(super) roams: bool,
    /// Blocked time seen at looks, for threads that roam.
    pub(super) blocked: Nanos,
}

/// What a thread does at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Resting,
    Blocked,
    Running,
}

pub(super) fn doing(record: &ThreadRecord) -> Doing {
    if record.on_cpu != 0 || record.state == 0 {
        return if record.task.wait_since != 0 { Doing::Resting } else { Doing::Running };
    }
    if record.task.wait_since != 0 || syscalls::is_rest(record.syscall) { Doing::Resting } else { Doing::Blocked }
}

/// Takes a look; answers when the stretch began, once it is longer than [`THRESHOLD`].
pub(super) fn look(last: &mut Option<Last>, record: &ThreadRecord, now: Nanos) -> Option<Nanos> {
    let before = last.take();
    let doing = doing(record);
    let elsewhere = doing == Doing::Resting && record.task.wait_since == 0;
    let roams = elsewhere || before.is_some_and(|before| before.roams);
    let since = match (&before, doing) {
        (_, Doing::Resting) => None,
        (Some(before), _) => match before.since {
            Some(since) if same_stretch(&before.record, record, doing) => Some(since),
            // It moved on, or began, after the last look or the last wait, whichever was later.
            _ => Some(record.task.wait_ended.max(before.at)),
        },
        (None, _) => Some(now),
    };
    let step = before.map_or(0, |before| now.saturating_sub(before.at));
    let blocked = before.map_or(0, |before| before.blocked) + if doing == Doing::Blocked { step } else { 0 };
    *last = Some(Last { at: now, record: *record, since, roams, blocked });
    since.filter(|since| now.saturating_sub(*since) >= THRESHOLD)
}

/// Nothing shows that the thread moved on between two looks.
fn same_stretch(before: &ThreadRecord, now: &ThreadRecord, doing: Doing) -> bool {
    let same_wait = before.task.wait_ended == now.task.wait_ended;
    // A blocked thread that has not slept again is in the very same call.
    let same_call = before.sleeps == now.sleeps;
    let same_request = before.context.span == now.context.span && before.context.trace == now.context.trace;
    match doing {
        Doing::Blocked => same_wait && (same_call || (same_request && now.context.trace != [0; 2])),
        _ => same_wait && same_call && same_request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const SLEEP: i64 = 230;
    const FUTEX: i64 = 202;

    fn thread(wait_ended: Nanos, syscall: i64, state: u32, sleeps: u64) -> ThreadRecord {
        let mut record = ThreadRecord { syscall, state, sleeps, ..ThreadRecord::default() };
        record.task.waits = 1;
        record.task.wait_ended = wait_ended;
        record
    }

    #[test]
    fn a_thread_blocked_in_one_call_is_stuck_since_its_last_wait() {
        let mut last = None;
        let mut waiting = thread(0, 232, 1, 1);
        waiting.task.wait_since = 1;
        assert_eq!(look(&mut last, &waiting, 100 * MS), None);
        let blocked = thread(120 * MS, SLEEP, 1, 2);
        assert_eq!(look(&mut last, &blocked, 200 * MS), None);
        assert_eq!(look(&mut last, &blocked, 300 * MS), Some(120 * MS));
        assert_eq!(look(&mut last, &blocked, 400 * MS), Some(120 * MS));
    }

    #[test]
    fn resting_and_moving_on_are_no_stall() {
        let mut last = None;
        for step in 1..20 {
            assert_eq!(look(&mut last, &thread(MS, FUTEX, 1, step), step * 100 * MS), None);
        }
        let mut last = None;
        for step in 1..20 {
            // Comes back to wait between any two looks.
            assert_eq!(look(&mut last, &thread(step * 100 * MS - 5, SLEEP, 1, step), step * 100 * MS), None);
        }
        let mut last = None;
        for step in 1..20 {
            // Works off one request after the other without polling: the context changes.
            let mut busy = thread(MS, -1, 0, 5);
            busy.context.trace = [step, step];
            assert_eq!(look(&mut last, &busy, step * 100 * MS), None);
        }
    }

    #[test]
    fn many_short_blocks_are_no_stall_without_a_request_that_joins_them() {
        let mut last = None;
        for step in 1..20 {
            assert_eq!(look(&mut last, &thread(MS, SLEEP, 1, step), step * 100 * MS), None);
        }
        let mut last = None;
        let mut found = None;
        for step in 1..20 {
            let mut blocked = thread(MS, SLEEP, 1, step);
            blocked.context.trace = [7, 7];
            found = look(&mut last, &blocked, step * 100 * MS).or(found);
        }
        assert!(found.is_some());
    }

    #[test]
    fn computing_without_return_is_a_stall() {
        let mut last = None;
        let mut found = None;
        for step in 1..6 {
            found = look(&mut last, &thread(MS, -1, 0, 5), step * 100 * MS);
        }
        assert_eq!(found, Some(100 * MS));
    }
}
