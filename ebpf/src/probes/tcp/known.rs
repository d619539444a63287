//! A connection from look to look: what it counted last, and whether a request on it waits.
//!
//! Between two looks a request and its answer may both have come, so a time told is right to within a look.

use crate::wire::SocketRecord;
use snowshed_engine::model::{Nanos, Pid};

/// A request that has been arriving for longer than this is told.
const ARRIVING: Nanos = 6_000_000_000;
/// It does not arrive any more if nothing came for so long: then it is worked on.
const PAUSE: Nanos = 10_000_000_000;
/// A request waits for its answer once it has for so long.
const WAITING: Nanos = 2_000_000_000;
/// A connection takes turns that has given so many answers, and to one request in so many sent anything more.
const TURNS: (u32, u32) = (8, 50);

/// Answers, and what was sent besides: of a connection, or of all that were accepted at a port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    given: u64,
    pushed: u64,
}

impl Turns {
    /// What came between these two looks at a connection.
    pub(super) fn add(&mut self, record: &SocketRecord, before: &SocketRecord) {
        self.given = self.given.saturating_add(record.given.wrapping_sub(before.given).into());
        self.pushed = self.pushed.saturating_add(record.pushed.wrapping_sub(before.pushed).into());
    }

    fn are_taken(self) -> bool {
        self.given >= TURNS.0.into() && self.pushed.saturating_mul(TURNS.1.into()) <= self.given
    }
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) pid: Pid,
    pub(super) last: SocketRecord,
    /// The look that saw it last.
    pub(super) look: u64,
    /// Since when bytes have come without an answer, and when the last of them did, as looks saw it.
    asked: Option<(Nanos, Nanos)>,
}

impl Known {
    pub(super) fn new(pid: Pid, last: SocketRecord, look: u64) -> Self {
        // Whether what came before the first look was answered is known only where nothing was answered at all.
        let asked = (last.reads > 0 && last.given == 0).then_some((last.at, last.at));
        Self { pid, last, look, asked }
    }

    /// Takes what a look saw next.
    pub(super) fn renew(&mut self, record: &SocketRecord) {
        let answered = record.given != self.last.given;
        let came = record.reads != self.last.reads;
        self.asked = match self.asked.filter(|_| !answered) {
            Some((since, _)) if came => Some((since, record.at)),
            None if came && !answered => Some((record.at, record.at)),
            known => known,
        };
        self.last = *record;
    }

    /// Nobody heard what was sent on it: it is not known whether what came was answered.
    pub(super) fn doubt(&mut self) {
        self.asked = None;
    }

    /// For how long a request has been arriving that still does, where that is long.
    pub(super) fn arrives(&self) -> Option<Nanos> {
        let (since, latest) = self.asked?;
        let long = latest.saturating_sub(since);
        (long >= ARRIVING && self.last.at.saturating_sub(latest) < PAUSE).then_some(long)
    }

    /// A request has waited for its answer for a while; a tick is so long. The kernel knows whose turn it is, which is as
    /// much as that somebody waits where turns are taken; else the looks tell, if bytes and answers are not of the same.
    /// Of a connection that is too young to tell, the others at its port do. Whose turn it was before sends were `heard` is
    /// not known.
    pub(super) fn waits(&self, tick: Nanos, others: Turns, heard: Nanos) -> bool {
        let SocketRecord { owes, given, pushed, at, .. } = self.last;
        let own = Turns { given: given.into(), pushed: pushed.into() };
        let takes_turns = own.are_taken() || (given < TURNS.0 && pushed == 0 && others.are_taken());
        let owes = tick.saturating_mul(owes.into());
        takes_turns && owes >= WAITING && at.saturating_sub(owes) >= heard
            || self.asked.is_some_and(|(since, _)| at.saturating_sub(since) >= WAITING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    const TICK: Nanos = 4_000_000;
    const NONE: Turns = Turns { given: 0, pushed: 0 };

    /// A connection on which so much had come and gone at each look, two seconds apart.
    fn known(looks: u32, counts: impl Fn(u32) -> (u32, u32)) -> Known {
        let record = |look: u32| {
            let (reads, given) = counts(look);
            SocketRecord { at: u64::from(look) * 2 * SECOND, reads, given, ..SocketRecord::default() }
        };
        let mut known = Known::new(1, record(0), 0);
        (1..=looks).for_each(|look| known.renew(&record(look)));
        known
    }

    #[test]
    fn a_request_that_trickles_in_is_told_after_six_seconds() {
        let trickling = |look: u32| (1 + look, 0);
        assert_eq!(known(2, trickling).arrives(), None);
        assert_eq!(known(3, trickling).arrives(), Some(6 * SECOND));
        assert_eq!(known(15, trickling).arrives(), Some(30 * SECOND));
        assert_eq!(known(15, |look| (1 + look, u32::from(look > 13))).arrives(), None, "answered at last");
        assert_eq!(known(15, |look| (look.min(9), look.min(9))).arrives(), None, "idle");
        let late = |look: u32| (5 + look.saturating_sub(3), 5);
        assert_eq!(known(15, late).arrives(), Some(22 * SECOND), "the second request on a connection");
    }

    #[test]
    fn a_request_that_is_worked_on_waits_and_does_not_arrive() {
        let worked_on = known(15, |look| (1 + look.min(2), 0));
        assert!(worked_on.waits(TICK, NONE, 0) && worked_on.arrives().is_none());
        assert!(known(1, |_| (1, 0)).waits(TICK, NONE, 0), "since the look that saw it first");
        assert!(!known(0, |_| (1, 0)).waits(TICK, NONE, 0) && !known(9, |look| (look, look)).waits(TICK, NONE, 0));
        assert!(!known(9, |_| (7, 3)).waits(TICK, NONE, 0), "an idle connection that was in use before the first look");
    }

    #[test]
    fn whose_turn_it_is_counts_where_turns_are_taken() {
        let owing_among = |others, seconds: u32, given, pushed| {
            let mut known = known(3, |look| (9 + look, 9 + look));
            known.last = SocketRecord { owes: seconds * 250, given, pushed, ..known.last };
            known.waits(TICK, others, 0)
        };
        let owing = |seconds, given, pushed| owing_among(NONE, seconds, given, pushed);
        assert!(owing(2, 400, 3) && !owing(1, 400, 3));
        assert!(!owing(5, 400, 200), "each answer is acknowledged by a frame of its own");
        assert!(!owing(5, 2, 0), "too few to tell");
        let http = Turns { given: 900, pushed: 2 };
        assert!(owing_among(http, 5, 2, 0) && !owing_among(http, 1, 2, 0), "the others at its port take turns");
        assert!(!owing_among(http, 5, 2, 1) && !owing_among(http, 5, 400, 200), "but it does not");
        assert!(!owing_among(Turns { given: 900, pushed: 300 }, 5, 2, 0), "they do not");
    }
}
