//! Which requests of a process have ended, by what its spans and its own reports say.
//!
//! Invariant: an end is only told where something observed decides it; otherwise the answer is
//! "unknown", and the caller falls back to the connection or waits. Memory: a bounded number of ended
//! traces (the oldest make room, counted) and the traces of the last report.

use crate::{
    correlate::{quick::Secret, recent::Recent},
    model::{Nanos, OpenRequests, TraceId},
    window::SECOND,
};
use std::collections::HashSet;

/// A report older than this no longer speaks for the present.
const REPORT_FRESH: Nanos = 3 * SECOND;
/// Spans carry wall-clock time; converted, it may be off by so much.
const CLOCK_SLACK: Nanos = SECOND / 10;
/// Open requests taken from one report.
const REPORT_CAP: usize = 4_096;

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// In progress, or about to be decided by the next report.
    Open,
    /// It ended then.
    Ended(Nanos),
    /// Nothing decides; `spans` says that this process's requests do get spans, so one may yet come.
    Unknown {
        /// Spans arrive for this process.
        spans: bool,
    },
}

/// Whether a request may claim what a thread made that only its creator worked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It was seen to run after that was made, and runs.
    Open,
    /// It was seen to run then, and ended at this time.
    Ended(Nanos),
    /// It was not: such a thread may work for anybody by then.
    None,
}

/// Ends of one process's requests.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Start and end; of several requests of one trace those of the last.
    ended: Recent<TraceId, (Nanos, Nanos)>,
    /// Ended traces that made room for newer ones.
    pub(crate) evicted: u64,
    spans: bool,
    report_at: Option<Nanos>,
    report_complete: bool,
    open: HashSet<TraceId, Secret>,
}

impl Ends {
    /// A span told when a request ran.
    pub(crate) fn span(&mut self, trace: TraceId, (started, ended): (Nanos, Nanos), cap: usize) {
        self.spans = true;
        if let Some(known) = self.ended.get_mut(&trace) {
            // One request may tell several spans, one within the other.
            let start = if started <= known.1 { known.0.min(started) } else { started };
            if ended > known.1 {
                *known = (start, ended);
            }
            return;
        }
        while self.ended.len() >= cap.max(1) {
            self.ended.pop();
            self.evicted += 1;
        }
        self.ended.push(trace, (started, ended));
    }

    /// The service told what it is working on.
    pub(crate) fn report(&mut self, report: &OpenRequests, at: Nanos) {
        if self.report_at.is_some_and(|last| at < last) {
            return;
        }
        self.report_at = Some(at);
        self.report_complete = report.complete && report.items.len() <= REPORT_CAP;
        self.open.clear();
        self.open.extend(report.items.iter().take(REPORT_CAP).map(|open| open.trace));
    }

    /// What became of the request that something was made for at `made`.
    pub(crate) fn fate(&self, trace: &TraceId, made: Nanos, now: Nanos) -> Fate {
        let report = self.report_at.filter(|at| now.saturating_sub(*at) <= REPORT_FRESH);
        let span = self.ended.get(trace).map(|known| known.1).filter(|end| end.saturating_add(CLOCK_SLACK) >= made);
        match (report, span) {
            // Several requests of one trace may be handled here: a listed one outlives an ended one.
            (Some(at), span) if self.open.contains(trace) && span.is_none_or(|end| end <= at) => Fate::Open,
            (_, Some(end)) => Fate::Ended(end.max(made)),
            (Some(at), None) if self.report_complete && at > made => Fate::Ended(at),
            (Some(at), None) if at <= made => Fate::Open,
            _ => Fate::Unknown { spans: self.spans },
        }
    }

    /// What a request may say of something that was made at `made` by a thread that was made for it; `claimed`: it was
    /// seen to run after that.
    pub(crate) fn claim(&self, trace: &TraceId, made: Nanos, claimed: bool, now: Nanos) -> Claim {
        let report = self.report_at.filter(|at| now.saturating_sub(*at) <= REPORT_FRESH);
        let span = self.ended.get(trace).filter(|(started, ended)| *started <= made && made <= *ended);
        match (report, span) {
            (Some(at), _) if at >= made && self.open.contains(trace) => Claim::Open,
            (_, Some((_, ended))) => Claim::Ended(*ended),
            (Some(at), None) if claimed && self.report_complete && at > made => Claim::Ended(at),
            _ if claimed => Claim::Open,
            _ => Claim::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OpenRequest;

    fn trace(n: u8) -> TraceId {
        TraceId([n; 16])
    }

    fn report(at: Nanos, complete: bool, open: &[u8]) -> OpenRequests {
        let items = open.iter().map(|n| OpenRequest { trace: trace(*n), route: String::new(), since: 0 }).collect();
        OpenRequests { pid: 1, at, in_flight: 0, limit: None, rejected_total: 0, complete, items }
    }

    #[test]
    fn a_complete_report_decides_and_an_incomplete_one_does_not() {
        let mut ends = Ends::default();
        assert_eq!(ends.fate(&trace(1), 0, 0), Fate::Unknown { spans: false });
        ends.report(&report(2 * SECOND, false, &[2]), 2 * SECOND);
        assert_eq!(ends.fate(&trace(1), SECOND, 2 * SECOND), Fate::Unknown { spans: false });
        assert_eq!(ends.fate(&trace(2), SECOND, 2 * SECOND), Fate::Open);
        ends.report(&report(3 * SECOND, true, &[2]), 3 * SECOND);
        assert_eq!(ends.fate(&trace(1), SECOND, 3 * SECOND), Fate::Ended(3 * SECOND));
        assert_eq!(
            ends.fate(&trace(1), 4 * SECOND, 4 * SECOND),
            Fate::Open,
            "made after the report: wait for the next"
        );
        assert_eq!(ends.fate(&trace(1), SECOND, 60 * SECOND), Fate::Unknown { spans: false }, "the reports stopped");
    }

    #[test]
    fn a_span_that_ended_before_the_thing_was_made_is_another_request_of_the_trace() {
        let mut ends = Ends::default();
        ends.span(trace(1), (4 * SECOND, 5 * SECOND), 8);
        assert_eq!(ends.fate(&trace(1), 4 * SECOND, 6 * SECOND), Fate::Ended(5 * SECOND));
        assert_eq!(ends.fate(&trace(1), 9 * SECOND, 9 * SECOND), Fate::Unknown { spans: true });
        ends.report(&report(6 * SECOND, true, &[1]), 6 * SECOND);
        assert_eq!(ends.fate(&trace(1), 4 * SECOND, 6 * SECOND), Fate::Open, "still listed after that span's end");
    }

    #[test]
    fn a_creators_request_claims_only_what_was_made_while_it_was_seen_to_run() {
        let (mut ends, one) = (Ends::default(), trace(1));
        assert_eq!(ends.claim(&one, SECOND, false, SECOND), Claim::None, "nobody knows");
        ends.report(&report(2 * SECOND, true, &[1]), 2 * SECOND);
        assert_eq!(ends.claim(&one, SECOND, false, 2 * SECOND), Claim::Open);
        assert_eq!(ends.claim(&one, 3 * SECOND, false, 3 * SECOND), Claim::None, "it may have ended meanwhile");
        ends.report(&report(4 * SECOND, true, &[]), 4 * SECOND);
        assert_eq!(ends.claim(&one, SECOND, true, 4 * SECOND), Claim::Ended(4 * SECOND));
        assert_eq!(ends.claim(&one, 3 * SECOND, false, 4 * SECOND), Claim::None, "between two reports");
        ends.span(one, (0, 3 * SECOND), 8);
        assert_eq!(ends.claim(&one, 3 * SECOND, false, 5 * SECOND), Claim::Ended(3 * SECOND), "the span knows better");
        assert_eq!(
            ends.claim(&one, 3 * SECOND + 1, false, 5 * SECOND),
            Claim::None,
            "a nanosecond later it is nobody's"
        );
        // Another request of the same trace has nothing to do with what was made between the two.
        ends.span(one, (6 * SECOND, 9 * SECOND), 8);
        assert_eq!(ends.claim(&one, 5 * SECOND, false, 9 * SECOND), Claim::None);
        // A span within another one does not shorten it.
        ends.span(one, (7 * SECOND, 8 * SECOND), 8);
        assert_eq!(ends.claim(&one, 6 * SECOND, false, 9 * SECOND), Claim::Ended(9 * SECOND));
    }

    #[test]
    fn the_memory_of_ends_is_bounded_and_counts_what_it_forgets() {
        let mut ends = Ends::default();
        (1..=20).for_each(|n| ends.span(trace(n), (0, SECOND), 8));
        assert_eq!((ends.ended.len(), ends.evicted), (8, 12));
        assert_eq!(ends.fate(&trace(1), 0, 0), Fate::Unknown { spans: true });
    }
}
