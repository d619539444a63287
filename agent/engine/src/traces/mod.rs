//! What is known of the newest traces, each in a small record of bounded size.
//!
//! A record begins with a kernel event (something made, a stall, bytes sent again, pages) and takes in the spans of its
//! trace; of traces without kernel events the span facts alone are kept, in a table of their own, because kernel
//! events are often found after the span. Invariant: over a bound the oldest record goes and is counted, those that hold
//! nothing any more and saw no trouble before the others; what was forgotten for its age is not begun anew by the next
//! look. Cost: one look-up for each thing held that has a trace.

mod events;
mod names;
mod record;
#[cfg(test)]
mod tests;

use crate::{
    correlate::{is_kept_on_purpose, quick::SecretMap, recent::Recent},
    model::{
        Call, Holding, Holdings, Nanos, OpenRequests, Pages, Pid, Request, Retransmit, Stall, TraceCall, TraceId,
        TraceRequest, TraceView, TracesKept,
    },
};
use events::Events;
use names::Names;
use record::Record;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// Records that are looked at for one that may go, oldest first.
const SEARCHED: usize = 64;
/// The longest text that is kept, characters.
const TEXT: usize = 64;
/// Traces that one retransmit is told of.
const CANDIDATES: usize = 16;

/// Who a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) pid: Pid,
    pub(crate) name: &'a str,
    pub(crate) parent: Option<Pid>,
}

/// A trace with kernel events.
#[derive(Debug)]
struct Joined {
    record: Record,
    events: Events,
}

/// The records.
#[derive(Debug)]
pub(crate) struct Traces {
    most: usize,
    most_bare: usize,
    /// With kernel events. Boxed: the table has many times as many places as records.
    joined: SecretMap<TraceId, Box<Joined>>,
    /// These by when they began.
    order: BTreeSet<(Nanos, TraceId)>,
    /// With spans only.
    bare: Recent<TraceId, Record>,
    /// What services, routes and peers are called.
    names: Names,
    /// The last look at each process.
    looks: BTreeMap<Pid, Nanos>,
    /// What began before this has been forgotten.
    horizon: Nanos,
    evicted: u64,
    /// The last of the oldest that may not go first, and how many these are: nothing but a look or an end changes that.
    kept: Option<((Nanos, TraceId), usize)>,
}

impl Traces {
    /// Empty; keeps so many with kernel events, and so many without.
    pub(crate) fn new(most: usize, most_bare: usize) -> Self {
        Self {
            most,
            most_bare,
            joined: SecretMap::default(),
            order: BTreeSet::new(),
            bare: Recent::default(),
            names: Names::default(),
            looks: BTreeMap::new(),
            horizon: 0,
            evicted: 0,
            kept: None,
        }
    }

    /// The events of a trace in which one happened at `at`; none if it is older than what is kept.
    fn touched(&mut self, trace: TraceId, at: Nanos) -> Option<&mut Events> {
        if !self.joined.contains_key(&trace) {
            if self.most == 0 || at <= self.horizon {
                return None;
            }
            while self.order.len() >= self.most {
                self.evict();
            }
            let mut record = self.bare.take(&trace).unwrap_or_else(|| Record::new(at));
            record.born = record.born.min(at);
            self.order.insert((record.born, trace));
            self.joined.insert(trace, Box::new(Joined { record, events: Events::default() }));
        }
        self.joined.get_mut(&trace).map(|joined| &mut joined.events)
    }

    fn evict(&mut self) {
        let mut quiet = None;
        let (from, mut passed) = self.kept.map_or((Bound::Unbounded, 0), |(last, many)| (Bound::Excluded(last), many));
        for one in self.order.range((from, Bound::Unbounded)).take(SEARCHED.saturating_sub(passed)) {
            if self.joined.get(&one.1).is_none_or(|joined| joined.events.is_quiet(&self.looks)) {
                quiet = Some(*one);
                break;
            }
            passed += 1;
            self.kept = Some((*one, passed));
        }
        let Some(oldest) = quiet.or_else(|| self.order.first().copied()) else { return };
        if quiet.is_none() {
            self.horizon = self.horizon.max(oldest.0);
            self.kept = self.kept.map(|(last, many)| (last, many.saturating_sub(1)));
        }
        self.order.remove(&oldest);
        self.joined.remove(&oldest.1);
        self.evicted += 1;
    }

    /// The record of a trace, if there is one.
    fn record(&mut self, trace: &TraceId) -> Option<&mut Record> {
        match self.joined.get_mut(trace) {
            Some(joined) => Some(&mut joined.record),
            None => self.bare.get_mut(trace),
        }
    }

    /// The record of a trace that a span tells of.
    fn spanned(&mut self, trace: TraceId, at: Nanos) -> Option<&mut Record> {
        if self.most_bare == 0 || self.joined.contains_key(&trace) {
            return self.record(&trace);
        }
        // Room for one more, should it be new; who then has to go is not this one.
        if self.bare.len() >= self.most_bare && !self.bare.contains(&trace) {
            self.bare.pop();
        }
        Some(self.bare.entry(trace, || Record::new(at)))
    }

    /// Takes a snapshot of what a process holds; `behind` tells the likeliest trace of what names none itself, and of how many.
    pub(crate) fn holdings(
        &mut self,
        told: &Holdings,
        at: Nanos,
        who: Who<'_>,
        most: usize,
        behind: impl Fn(&Holding) -> Option<(TraceId, u32)>,
    ) {
        let before = self.looks.get(&who.pid).copied();
        if before.is_some_and(|before| at < before) {
            return;
        }
        let made = |item: &Holding| item.made.unwrap_or(at).min(at);
        // The known ones first: then it is clear which of them hold nothing any more, and may go for new ones.
        let mut new = Vec::new();
        for item in told.items.iter().take(most) {
            let Some((trace, of)) = item.owner.trace.map(|trace| (trace, 1)).or_else(|| behind(item)) else { continue };
            match self.joined.get_mut(&trace) {
                Some(joined) => joined.events.holding((item, of), made(item), (at, before), who),
                // A connection is served for one request after the other: it adds to what is known, and begins nothing.
                None if is_kept_on_purpose(item.kind) => {}
                None => new.push((trace, (item, of))),
            }
        }
        self.looks.insert(who.pid, at);
        self.kept = None;
        for (trace, (item, of)) in new {
            if let Some(events) = self.touched(trace, made(item)) {
                events.holding((item, of), made(item), (at, before), who);
            }
        }
    }

    /// A process has ended: it holds nothing any more.
    pub(crate) fn exit(&mut self, pid: Pid, at: Nanos) {
        self.looks.remove(&pid);
        self.kept = None;
        self.joined.values_mut().for_each(|joined| joined.events.exit(pid, at));
    }

    /// Takes a stall.
    pub(crate) fn stall(&mut self, told: &Stall, until: Nanos, who: Who<'_>) {
        if let Some(trace) = told.trace
            && let Some(events) = self.touched(trace, told.since.min(until))
        {
            events.stall(told, until, who);
        }
    }

    /// Takes segments that were sent again.
    pub(crate) fn retransmit(&mut self, told: &Retransmit, at: Nanos, who: Option<Who<'_>>) {
        let others = told.candidates.iter().filter(|trace| Some(**trace) != told.trace).copied();
        for trace in told.trace.into_iter().chain(others).take(CANDIDATES) {
            if let Some(events) = self.touched(trace, at) {
                events.retransmit(told, at, who);
            }
        }
    }

    /// Takes pages.
    pub(crate) fn pages(&mut self, told: &Pages, until: Nanos, who: Who<'_>) {
        for site in &told.sites {
            if let Some(trace) = site.trace
                && let Some(events) = self.touched(trace, until)
            {
                events.pages(told.kind, site, until, who);
            }
        }
    }

    /// Takes a request that ended.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos) {
        let started = told.started.min(ended);
        let (service, route) = (self.names.of(&told.service), self.names.of(&told.route));
        if let Some(record) = self.spanned(told.trace, started) {
            record.request(TraceRequest {
                pid: told.pid,
                service,
                route,
                started,
                ended: Some(ended),
                first_byte: told.first_byte,
                status: told.status,
                failed: told.failed,
            });
        }
    }

    /// Takes the service's own list of open requests; it begins no record.
    pub(crate) fn open_requests(&mut self, told: &OpenRequests, at: Nanos, name: &str) {
        for open in &told.items {
            let (service, route) = (self.names.of(name), self.names.of(&open.route));
            if let Some(record) = self.record(&open.trace) {
                record.request(TraceRequest {
                    pid: Some(told.pid),
                    service,
                    route,
                    started: open.since.min(at),
                    ended: None,
                    first_byte: None,
                    status: None,
                    failed: false,
                });
            }
        }
    }

    /// Takes a call that ended.
    pub(crate) fn call(&mut self, told: &Call, ended: Nanos) {
        let started = told.started.min(ended);
        let peer = self.names.of(&told.peer);
        if let Some(record) = self.spanned(told.trace, started) {
            record.call(TraceCall { pid: told.pid, kind: told.kind, peer, started, ended, failed: told.failed });
        }
    }

    /// One trace.
    pub(crate) fn view(&self, trace: &TraceId) -> Option<TraceView> {
        if let Some(Joined { record, events }) = self.joined.get(trace).map(AsRef::as_ref) {
            return Some(record.view(*trace, events, &self.looks));
        }
        self.bare.get(trace).map(|record| record.view(*trace, &Events::default(), &self.looks))
    }

    /// How many are kept, and since when.
    pub(crate) fn kept(&self) -> TracesKept {
        TracesKept {
            kept: self.order.len(),
            most: self.most,
            oldest: self.order.first().map(|(born, _)| *born),
            evicted: self.evicted,
        }
    }
}
