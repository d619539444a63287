//! From records of the kernel to retransmits with their writers.
//!
//! A retransmit can come before the send that wrote its bytes returns (the acknowledgement is then worked on
//! inside that send). It is held until that send's stamp arrives, for [`PATIENCE`] at most, and told as
//! incomplete after that. Bounded by [`MOST_HELD`]; over it the oldest is told as it is.

use super::address::address;
use crate::wire::{RetransmitRecord, WRITER_FORGOTTEN, WRITER_LATE, WRITER_OPEN, WRITER_UNSURE, WRITERS_NAMED};
use snowshed_engine::model::{Join, Nanos, Pid, Retransmit, TraceId};
use std::collections::VecDeque;

/// How long a retransmit waits for the send that it belongs to.
const PATIENCE: Nanos = 2_000_000_000;
const MOST_HELD: usize = 1024;

/// Retransmits that wait for their writers.
#[derive(Debug, Default)]
pub(super) struct Writers {
    held: VecDeque<Held>,
    /// Until then nobody is named.
    doubtful: Nanos,
}

#[derive(Debug)]
struct Held {
    record: RetransmitRecord,
    pid: Option<Pid>,
    /// Traces that wrote some of the bytes.
    traces: Vec<TraceId>,
    /// Some bytes were written outside of any trace.
    untraced: bool,
}

impl Writers {
    /// Takes a record; what is known now is appended to `out`.
    pub(super) fn take(&mut self, record: &RetransmitRecord, pid: Option<Pid>, out: &mut Vec<Retransmit>) {
        if record.flags & WRITER_LATE != 0 {
            self.late(record, out);
            return;
        }
        let mut held = Held { record: *record, pid, traces: Vec::new(), untraced: false };
        let named = (record.writers as usize).min(WRITERS_NAMED);
        record.traces[..named].iter().for_each(|trace| held.add(trace));
        if record.flags & WRITER_OPEN == 0 {
            out.push(held.told());
            return;
        }
        if self.held.len() >= MOST_HELD
            && let Some(oldest) = self.held.pop_front()
        {
            out.push(oldest.told());
        }
        self.held.push_back(held);
    }

    /// A send returned: the retransmits that waited for its bytes have their writer.
    fn late(&mut self, stamp: &RetransmitRecord, out: &mut Vec<Retransmit>) {
        let unsure = stamp.flags & WRITER_UNSURE;
        let mut index = 0;
        while let Some(held) = self.held.get_mut(index) {
            let record = &mut held.record;
            if record.socket == stamp.socket && before(stamp.seq, record.end) && before(record.seq, stamp.end) {
                let covers = !before(stamp.end, record.end);
                record.flags |= unsure;
                held.add(&stamp.traces[0]);
                if covers && unsure == 0 {
                    held.record.flags &= !(WRITER_OPEN | WRITER_UNSURE);
                    held.record.writers = held.record.writers.max(1);
                    out.extend(self.held.remove(index).map(|held| held.told()));
                    continue;
                }
            }
            index += 1;
        }
    }

    /// Names nobody until then: some writers were not heard.
    pub(super) fn doubt_until(&mut self, time: Nanos) {
        self.doubtful = time;
    }

    /// Takes the names off what was told of a doubtful time.
    pub(super) fn doubt(&self, told: &mut [Retransmit]) {
        for one in told.iter_mut().filter(|one| one.at < self.doubtful) {
            (one.trace, one.join, one.ambiguity, one.complete) = (None, Join::None, 0, false);
            one.candidates.clear();
        }
    }

    /// Tells what has waited too long.
    pub(super) fn rest(&mut self, now: Nanos, out: &mut Vec<Retransmit>) {
        while self.held.front().is_some_and(|held| now.saturating_sub(held.record.at) > PATIENCE) {
            out.extend(self.held.pop_front().map(|held| held.told()));
        }
    }
}

impl Held {
    fn add(&mut self, trace: &[u64; 2]) {
        let [high, low] = trace.map(u64::to_ne_bytes);
        match TraceId::from_bytes(&[high, low].concat()) {
            Some(trace) if !self.traces.contains(&trace) => self.traces.push(trace),
            Some(_) => {}
            None => self.untraced = true,
        }
    }

    fn told(self) -> Retransmit {
        let record = &self.record;
        let doubt = WRITER_OPEN | WRITER_UNSURE | WRITER_FORGOTTEN;
        let complete = record.flags & doubt == 0 && record.writers as usize <= WRITERS_NAMED;
        let only = match self.traces.as_slice() {
            [trace] if complete && !self.untraced => Some(*trace),
            _ => None,
        };
        let beyond = record.writers.saturating_sub(WRITERS_NAMED as u32);
        Retransmit {
            pid: self.pid,
            local: address(record.family, &record.local, record.ports[0]),
            peer: address(record.family, &record.peer, record.ports[1]),
            at: record.at,
            trace: only,
            join: if self.traces.is_empty() { Join::None } else { Join::Socket },
            ambiguity: self.traces.len() as u32 + u32::from(self.untraced && !self.traces.is_empty()) + beyond,
            candidates: if only.is_some() { Vec::new() } else { self.traces },
            complete,
            sequence: (record.seq, record.end),
            segments: record.segments.max(1),
        }
    }
}

/// Whether one sequence number is before another.
fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u32, seq: u32, end: u32, traces: &[u64]) -> RetransmitRecord {
        let mut record = RetransmitRecord { socket: 9, flags, seq, end, family: 2, ..RetransmitRecord::default() };
        record.writers = traces.len() as u32;
        for (slot, trace) in record.traces.iter_mut().zip(traces) {
            *slot = [*trace, 0];
        }
        record
    }

    fn told(records: &[RetransmitRecord]) -> Vec<Retransmit> {
        let (mut writers, mut out) = (Writers::default(), Vec::new());
        records.iter().for_each(|record| writers.take(record, Some(7), &mut out));
        writers.rest(PATIENCE + 1, &mut out);
        out
    }

    #[test]
    fn one_writer_is_named_and_several_are_candidates() {
        let one = told(&[record(0, 10, 20, &[5, 5])]).remove(0);
        assert!(one.trace.is_some() && one.complete && one.ambiguity == 1 && one.candidates.is_empty());
        let two = told(&[record(0, 10, 20, &[5, 6])]).remove(0);
        assert!(two.trace.is_none() && two.complete && two.ambiguity == 2 && two.candidates.len() == 2);
        let mixed = told(&[record(0, 10, 20, &[5, 0])]).remove(0);
        assert!(mixed.trace.is_none() && mixed.complete && mixed.ambiguity == 2 && mixed.candidates.len() == 1);
    }

    #[test]
    fn whatever_is_in_doubt_is_marked_as_incomplete() {
        for flag in [WRITER_UNSURE, WRITER_FORGOTTEN, WRITER_OPEN] {
            let one = told(&[record(flag, 10, 20, &[5])]).remove(0);
            assert!(one.trace.is_none() && !one.complete && one.candidates.len() == 1, "{flag}");
        }
        let many = told(&[record(0, 10, 20, &[1, 2, 3, 4, 5, 6, 7, 8, 9])]).remove(0);
        assert!(!many.complete && many.candidates.len() == 8 && many.ambiguity == 9);
    }

    #[test]
    fn in_doubtful_times_nobody_is_named() {
        let at = |at| {
            let mut told = told(&[RetransmitRecord { at, ..record(0, 10, 20, &[5]) }]);
            let mut writers = Writers::default();
            writers.doubt_until(100);
            writers.doubt(&mut told);
            told.remove(0)
        };
        let (before, after) = (at(99), at(100));
        assert_eq!((before.trace, before.join, before.complete), (None, Join::None, false));
        assert!(after.trace.is_some() && after.complete);
    }

    #[test]
    fn a_retransmit_waits_for_the_send_that_has_not_returned() {
        let open = record(WRITER_OPEN, u32::MAX - 5, 20, &[5]);
        let named = told(&[open, record(WRITER_LATE, 5, 40, &[6])]).remove(0);
        assert!(named.complete && named.candidates.len() == 2, "{named:?}");
        let only = told(&[record(WRITER_OPEN, 10, 20, &[]), record(WRITER_LATE, 5, 40, &[6])]).remove(0);
        assert!(only.complete && only.trace.is_some(), "{only:?}");
        let doubtful = told(&[record(WRITER_OPEN, 10, 20, &[]), record(WRITER_LATE | WRITER_UNSURE, 5, 40, &[6])]);
        assert!(!doubtful[0].complete && doubtful[0].candidates.len() == 1, "{doubtful:?}");
        let mut other = record(WRITER_LATE, 5, 40, &[6]);
        other.socket = 10;
        assert!(!told(&[record(WRITER_OPEN, 10, 20, &[]), other])[0].complete);
    }

    #[test]
    fn no_more_are_held_than_allowed() {
        let (mut writers, mut out) = (Writers::default(), Vec::new());
        for seq in 0..2000 {
            writers.take(&record(WRITER_OPEN, seq, seq + 1, &[]), None, &mut out);
        }
        assert_eq!((writers.held.len(), out.len()), (MOST_HELD, 2000 - MOST_HELD));
    }
}
