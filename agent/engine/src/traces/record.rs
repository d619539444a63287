//! What spans tell of one trace.
//!
//! Invariant: each list has a bound, and so has what the kernel tells, about 6 KB in all; what is more is counted in `left_out`.
//! What one span tells lies in the record itself: most traces tell no more, and make room for new ones without ever having
//! been asked for.

use super::events::Events;
use crate::model::{Nanos, Pid, TraceCall, TraceId, TraceRequest, TraceView};
use smallvec::SmallVec;
use std::collections::BTreeMap;

const REQUESTS: usize = 4;
const CALLS: usize = 8;

/// One trace.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// When the first of it happened, as far as was known when it was filed.
    pub(super) born: Nanos,
    last: Nanos,
    requests: SmallVec<[TraceRequest; 1]>,
    calls: SmallVec<[TraceCall; 1]>,
    /// Spans that did not fit.
    left_out: u64,
}

impl Record {
    pub(super) fn new(born: Nanos) -> Self {
        Self { born, last: born, requests: SmallVec::new(), calls: SmallVec::new(), left_out: 0 }
    }

    pub(super) fn request(&mut self, told: TraceRequest) {
        self.last = self.last.max(told.ended.unwrap_or(told.started));
        // One that was told as open is completed by its span, whose times are of another clock.
        let known = self.requests.iter().any(|known| known.pid == told.pid);
        let full = self.requests.len() >= REQUESTS;
        let open = self.requests.iter_mut().find(|known| known.pid == told.pid && known.ended.is_none());
        match open {
            Some(open) if told.ended.is_some() => *open = told,
            Some(_) => {}
            None if told.ended.is_none() && known => {}
            None if full => self.left_out += 1,
            None => self.requests.push(told),
        }
    }

    pub(super) fn call(&mut self, told: TraceCall) {
        self.last = self.last.max(told.ended);
        if self.calls.len() >= CALLS {
            self.left_out += 1;
        } else {
            self.calls.push(told);
        }
    }

    /// The whole trace, with what the kernel told.
    pub(super) fn view(&self, trace: TraceId, events: &Events, looks: &BTreeMap<Pid, Nanos>) -> TraceView {
        let started = self.requests.iter().map(|request| request.started).min().unwrap_or(self.born);
        TraceView {
            trace,
            first: self.born.min(started),
            last: self.last.max(events.last),
            processes: events.processes.clone(),
            threads: events.threads.clone(),
            requests: self.requests.to_vec(),
            calls: self.calls.to_vec(),
            descriptors: events.descriptors(looks).collect(),
            stalls: events.stalls.clone(),
            retransmits: events.retransmits.clone(),
            growth: events.growth.clone(),
            left_out: self.left_out + events.left_out,
        }
    }
}
