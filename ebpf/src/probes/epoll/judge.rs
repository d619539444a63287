//! Judging one event-loop thread from look to look. Pure, so that it is tested without a kernel.
//!
//! A thread is stuck if it is neither waiting nor resting, and nothing shows that it moved on: its last wait
//! ended at the same moment, it did not sleep and wake in between, and it works for the same request. Where it
//! alone serves an instance and events wait there, it is stuck whatever it does instead: also if it sleeps often, or
//! waits for a lock.

use super::syscalls;
use crate::wire::{NO_INSTANCE, ThreadRecord};
use snowshed_engine::model::{Nanos, Spent};

/// Shorter times without coming back are ordinary work.
pub(super) const THRESHOLD: Nanos = 150_000_000;

/// From this age on, where a thread computes is asked, so that a stall is told with its stack.
pub(super) const SUSPECT: Nanos = 75_000_000;

/// A thread that waits for events, not for one answer: on an instance, or for several descriptors at once.
pub(super) fn is_loop(record: &ThreadRecord) -> bool {
    let task = &record.task;
    (task.waits != 0 || task.wait_since != 0) && (task.epoll != NO_INSTANCE || task.width >= 2 || !polls(record))
}

/// It waits by poll or select, where no instance tells whether events are ready.
pub(super) fn polls(record: &ThreadRecord) -> bool {
    matches!(record.task.call, 7 | 23 | 270 | 271)
}

/// What was seen of a thread at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    at: Nanos,
    record: ThreadRecord,
    /// When the present stretch without coming back began; `None` while it waits or rests.
    pub(super) since: Option<Nanos>,
    /// CPU time, time queued, and the time itself, when that stretch began.
    base: (Nanos, Nanos, Nanos),
    /// Time of that stretch in which it had a processor, did not sleep, and yet did not run: the machine itself was away.
    away: Nanos,
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

/// Takes a look; answers when the stretch began, once it is longer than [`THRESHOLD`]. `starved`: the thread alone
/// serves an instance, and events have been waiting there since the look before.
pub(super) fn look(last: &mut Option<Last>, record: &ThreadRecord, starved: bool, now: Nanos) -> Option<Nanos> {
    let before = last.take();
    let elsewhere = doing(record) == Doing::Resting && record.task.wait_since == 0;
    let doing = if elsewhere && starved { Doing::Blocked } else { doing(record) };
    let roams = elsewhere || before.is_some_and(|before| before.roams);
    let returned = (record.task.runtime, record.task.delay, record.task.wait_ended);
    let (since, base) = match (&before, doing) {
        (_, Doing::Resting) => (None, returned),
        (Some(before), _) => match before.since {
            Some(since) if same_stretch(&before.record, record, doing, starved) => (Some(since), before.base),
            _ if starved && record.task.wait_ended != 0 => (Some(record.task.wait_ended), returned),
            // It moved on, or began, after the last look or the last wait, whichever was later.
            _ if record.task.wait_ended >= before.at => (Some(record.task.wait_ended), returned),
            _ => (Some(before.at), (before.record.runtime, before.record.delay, before.at)),
        },
        (None, _) => (Some(now), (record.runtime, record.delay, now)),
    };
    let step = before.map_or(0, |before| now.saturating_sub(before.at));
    let away = before.filter(|before| before.since.is_some() && before.since == since).map_or(0, |before| {
        let ran = doing == Doing::Running && self::doing(&before.record) == Doing::Running;
        let stayed = ran && before.record.sleeps == record.sleeps;
        before.away + if stayed { unaccounted(&before.record, record, step) } else { 0 }
    });
    let blocked = before.map_or(0, |before| before.blocked) + if doing == Doing::Blocked { step } else { 0 };
    *last = Some(Last { at: now, record: *record, since, base, away, roams, blocked });
    since.filter(|since| now.saturating_sub(*since) >= THRESHOLD)
}

/// Where the time of the present stretch went, by the scheduler's own account.
pub(super) fn spent(last: &Last) -> Spent {
    let (runtime, delay, at) = last.base;
    let total = last.at.saturating_sub(at);
    let running = last.record.runtime.saturating_sub(runtime).min(total);
    let queued = last.record.delay.saturating_sub(delay).min(total - running);
    let rest = total - running - queued;
    // As good as queued: another guest of the machine had the processor, or the whole machine stood still.
    let away = last.away.min(rest);
    let (queued, rest) = (queued + away, rest - away);
    // The queue's account grows when the thread gets its CPU: one that waits for it still is not blocked.
    let waits_now = last.record.state == 0 && last.record.on_cpu == 0;
    if waits_now {
        Spent { running, queued: queued + rest, blocked: 0 }
    } else {
        Spent { running, queued, blocked: rest }
    }
}

/// What of the time between two looks is neither CPU time nor time queued.
fn unaccounted(before: &ThreadRecord, now: &ThreadRecord, step: Nanos) -> Nanos {
    let told = now.runtime.saturating_sub(before.runtime) + now.delay.saturating_sub(before.delay);
    step.saturating_sub(told)
}

/// Nothing shows that the thread moved on between two looks.
fn same_stretch(before: &ThreadRecord, now: &ThreadRecord, doing: Doing, starved: bool) -> bool {
    let same_wait = before.task.wait_ended == now.task.wait_ended;
    if starved {
        return same_wait;
    }
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
        assert_eq!(look(&mut last, &waiting, false, 100 * MS), None);
        let blocked = thread(120 * MS, SLEEP, 1, 2);
        assert_eq!(look(&mut last, &blocked, false, 200 * MS), None);
        assert_eq!(look(&mut last, &blocked, false, 300 * MS), Some(120 * MS));
        assert_eq!(look(&mut last, &blocked, false, 400 * MS), Some(120 * MS));
    }

    #[test]
    fn resting_and_moving_on_are_no_stall() {
        let mut last = None;
        for step in 1..20 {
            assert_eq!(look(&mut last, &thread(MS, FUTEX, 1, step), false, step * 100 * MS), None);
        }
        let mut last = None;
        for step in 1..20 {
            // Comes back to wait between any two looks.
            assert_eq!(look(&mut last, &thread(step * 100 * MS - 5, SLEEP, 1, step), false, step * 100 * MS), None);
        }
        let mut last = None;
        for step in 1..20 {
            // Works off one request after the other without polling: the context changes.
            let mut busy = thread(MS, -1, 0, 5);
            busy.context.trace = [step, step];
            assert_eq!(look(&mut last, &busy, false, step * 100 * MS), None);
        }
    }

    #[test]
    fn many_short_blocks_are_no_stall_without_a_request_that_joins_them() {
        let mut last = None;
        for step in 1..20 {
            assert_eq!(look(&mut last, &thread(MS, SLEEP, 1, step), false, step * 100 * MS), None);
        }
        let mut last = None;
        let mut found = None;
        for step in 1..20 {
            let mut blocked = thread(MS, SLEEP, 1, step);
            blocked.context.trace = [7, 7];
            found = look(&mut last, &blocked, false, step * 100 * MS).or(found);
        }
        assert!(found.is_some());
    }

    #[test]
    fn computing_without_return_is_a_stall() {
        let mut last = None;
        let mut found = None;
        for step in 1..6 {
            found = look(&mut last, &thread(MS, -1, 0, 5), false, step * 100 * MS);
        }
        assert_eq!(found, Some(100 * MS));
    }

    #[test]
    fn who_alone_lets_events_wait_is_stuck_whatever_it_does_instead() {
        let (mut last, mut found) = (None, None);
        look(&mut last, &thread(20 * MS, FUTEX, 1, 0), false, 50 * MS);
        for step in 1..6 {
            found = look(&mut last, &thread(20 * MS, FUTEX, 1, step), true, step * 100 * MS).or(found);
        }
        assert_eq!(found, Some(20 * MS));
    }

    #[test]
    fn a_machine_that_is_away_does_not_block_who_has_a_processor() {
        let running = |runtime: u64, sleeps: u64| ThreadRecord { runtime, on_cpu: 1, ..thread(MS, -1, 0, sleeps) };
        let spent_after = |last_sleeps: u64| {
            let mut last = None;
            look(&mut last, &running(0, 5), false, 100 * MS);
            look(&mut last, &running(10 * MS, 5), false, 200 * MS);
            look(&mut last, &running(20 * MS, last_sleeps), false, 400 * MS);
            spent(last.as_ref().unwrap())
        };
        assert_eq!(spent_after(5), Spent { running: 20 * MS, queued: 280 * MS, blocked: 0 });
        // One that did sleep began another stretch, in which nothing is known of where it was.
        assert!(spent_after(6).blocked > 0);
    }

    #[test]
    fn time_goes_to_the_cpu_the_queue_or_to_blocking() {
        let mut last = None;
        let record = |runtime: u64, delay: u64, state: u32, on_cpu: u32| {
            let mut record = ThreadRecord { runtime, delay, on_cpu, ..thread(100 * MS, -1, state, 5) };
            (record.task.runtime, record.task.delay) = (7 * MS, MS);
            record
        };
        assert_eq!(look(&mut last, &record(7 * MS, MS, 0, 1), false, 100 * MS), None);
        look(&mut last, &record(57 * MS, 11 * MS, 0, 1), false, 200 * MS);
        look(&mut last, &record(107 * MS, 21 * MS, 1, 0), false, 300 * MS);
        let told = spent(last.as_ref().unwrap());
        // Of the first tenth of a second, in which it stayed on its processor, nothing was blocked.
        assert_eq!(told, Spent { running: 100 * MS, queued: 60 * MS, blocked: 40 * MS });
        look(&mut last, &record(107 * MS, 21 * MS, 0, 0), false, 400 * MS);
        let told = spent(last.as_ref().unwrap());
        assert_eq!((told.queued, told.blocked), (200 * MS, 0), "runnable, not blocked: {told:?}");
    }
}
