//! Which request made a thing of which only the connection is known: its span tells when it ran and on which connection.
//!
//! Invariant: the number of requests to choose from is never told too low. It is 1 only where the thread works for the
//! connection alone and the span names its other end, or where no other request ran at that moment: then every request
//! that did has told its span, as far as connections show. Where spans say that they are sampled, that is never so;
//! where they are left out without a word or lost, a request whose connection has closed cannot be seen.
//! Memory: so many recent spans, things and connections, the rest is counted. Cost: nothing until a span arrives; then
//! a look-up for each thing of a connection at a snapshot, and for each span the things made while it ran, within a
//! budget for each snapshot.

mod links;

use crate::{
    correlate::quick::QuickMap,
    model::{Holding, HoldingKind, Nanos, Request, TraceId},
    window::SECOND,
};
use links::Links;
use std::collections::{BTreeSet, VecDeque};

/// Spans that are remembered for things which no snapshot has shown yet.
const RECENT: usize = 4_096;
/// For so long.
const REMEMBERED: Nanos = 30 * SECOND;
/// Things whose maker is looked for.
const THINGS: usize = 8_192;
/// Comparisons of spans with things between two snapshots.
const BUDGET: usize = 1 << 20;
/// What is younger is mostly gone at the next look.
const YOUNG: Nanos = 2 * SECOND;
/// Spans carry wall-clock time; converted, it may be off by so much.
const SLACK: Nanos = SECOND / 500;
/// From its end on a span takes at most so long to arrive: exporters wait five seconds at most, if nobody changed that.
const SETTLED: Nanos = 10 * SECOND;

/// A request that ended.
#[derive(Clone, Copy, Debug)]
struct Ran {
    trace: TraceId,
    started: Nanos,
    ended: Nanos,
    /// The other end of its connection; 0: unknown.
    peer: u32,
    /// That is sure.
    certain: bool,
    /// The connection carries one request at a time.
    serial: bool,
}

/// Something that was made for a connection, and the requests that may have made it.
#[derive(Clone, Copy, Debug)]
struct Thing {
    made: Nanos,
    /// The snapshot that it was first looked at in.
    seen: Nanos,
    peer: u32,
    alone: bool,
    round: u16,
    /// A request of this connection that ran then, and how many there are.
    own: Option<TraceId>,
    owns: u32,
    /// Each of them was alone on the connection.
    serial: bool,
    /// A request of an unknown connection that ran then.
    other: Option<TraceId>,
    /// Requests that ran then and did not say that they are of this connection.
    others: u32,
    /// Some span was not compared with it.
    missed: bool,
}

impl Thing {
    fn compare(&mut self, ran: &Ran) {
        if ran.started > self.made.saturating_add(SLACK) || ran.ended.saturating_add(SLACK) < self.made {
            return;
        }
        if self.peer != 0 && ran.peer == self.peer {
            if self.own != Some(ran.trace) {
                self.owns = self.owns.saturating_add(1);
            }
            self.serial = ran.serial && (self.serial || self.own.is_none());
            self.own.get_or_insert(ran.trace);
        } else if self.other != Some(ran.trace) {
            self.others = self.others.saturating_add(1);
            if ran.peer == 0 || !ran.certain {
                self.other.get_or_insert(ran.trace);
            }
        }
    }
}

/// Spans of one process, and the things that it made for connections.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    recent: VecDeque<Ran>,
    /// Spans that ended before this may have been forgotten: what no snapshot had shown misses them.
    forgotten: Nanos,
    /// Whatever was made before this may miss one that came when the budget was spent.
    skipped: Nanos,
    /// The latest end that was told.
    told: Nanos,
    things: QuickMap<u64, Thing>,
    by_time: BTreeSet<(Nanos, u64)>,
    links: Links,
    /// Some requests tell no span on purpose.
    sampled: bool,
    round: u16,
    work: usize,
    /// Things that were too many to look for their makers.
    pub(crate) left_out: u64,
}

impl Requests {
    /// A span told of a request.
    pub(crate) fn span(&mut self, told: &Request, ended: Nanos) {
        let (peer, certain) = told.peer.map_or((0, false), |peer| (peer.number, peer.certain));
        let (trace, started, serial) = (told.trace, told.started.min(ended), told.serial);
        let ran = Ran { trace, started, ended, peer, certain, serial };
        self.told = self.told.max(ended);
        self.sampled |= told.weight > 1.0;
        self.links.span(&ran);
        let from = started.saturating_sub(SLACK);
        for (_, key) in self.by_time.range((from, 0)..=(ended.saturating_add(SLACK), u64::MAX)) {
            let Some(thing) = self.things.get_mut(key) else { continue };
            self.work += 1;
            if self.work > BUDGET {
                self.skipped = self.skipped.max(ended.saturating_add(SLACK));
                break;
            }
            thing.compare(&ran);
        }
        while self.recent.len() >= RECENT
            || self.recent.front().is_some_and(|first| first.ended.saturating_add(REMEMBERED) < ended)
        {
            if let Some(first) = self.recent.pop_front() {
                self.forgotten = self.forgotten.max(first.ended.saturating_add(SLACK));
            }
        }
        self.recent.push_back(ran);
    }

    /// Takes a complete snapshot; does nothing for a process that has never told a span.
    pub(crate) fn look(&mut self, items: &[Holding], at: Nanos) {
        if self.told == 0 {
            return;
        }
        self.round = self.round.wrapping_add(1);
        (self.work, self.left_out) = (0, 0);
        for item in items {
            if item.kind == HoldingKind::TcpAccepted {
                self.links.see(item, (self.round, at), &self.recent);
            } else if item.owner.trace.is_none() && item.owner.connection.is_some() {
                self.see(item, at);
            }
        }
        self.links.close(self.round, at);
        let Self { things, by_time, round, .. } = self;
        things.retain(|key, thing| {
            let stays = thing.round == *round;
            if !stays {
                by_time.remove(&(thing.made, *key));
            }
            stays
        });
        if things.capacity() > 4 * things.len().max(64) {
            things.shrink_to(2 * things.len());
        }
    }

    fn see(&mut self, item: &Holding, at: Nanos) {
        if let Some(thing) = self.things.get_mut(&item.key) {
            thing.round = self.round;
            return;
        }
        let Some(made) = item.made.filter(|made| made.saturating_add(YOUNG) <= at) else { return };
        if self.things.len() >= THINGS || self.work > BUDGET {
            self.left_out += 1;
            return;
        }
        let (peer, alone, round) = (item.owner.peer, item.owner.alone, self.round);
        let mut thing = Thing {
            made,
            seen: at,
            peer,
            alone,
            round,
            own: None,
            owns: 0,
            serial: false,
            other: None,
            others: 0,
            missed: made <= self.forgotten,
        };
        self.work += self.recent.len();
        self.recent.iter().for_each(|ran| thing.compare(ran));
        self.things.insert(item.key, thing);
        self.by_time.insert((made, item.key));
    }

    /// The likeliest request behind a thing held, and how many there are to choose from; 1 is certain.
    pub(crate) fn behind(&self, key: u64, at: Nanos) -> Option<(TraceId, u32)> {
        let thing = self.things.get(&key)?;
        let trace = thing.own.or(thing.other)?;
        let missed = u32::from(thing.missed || thing.made <= self.skipped);
        let more = if thing.alone && thing.own.is_some() {
            thing.owns - 1 + u32::from(!thing.serial && self.links.has(thing.peer))
        } else {
            // A request whose connection nobody has seen was over before the next look, and its span comes with those of
            // others that ended then.
            let settled = self.told > thing.seen || at >= thing.made.saturating_add(SETTLED);
            let told = thing.owns.saturating_add(thing.others).saturating_sub(1);
            let unsure = u32::from(!settled) + u32::from(self.sampled);
            told.saturating_add(self.links.untold(thing.made)).saturating_add(unsure)
        };
        Some((trace, more.saturating_add(missed).saturating_add(1)))
    }

    /// The same once it stays so: it is certain, or all spans that there are have come.
    pub(crate) fn settled(&self, item: &Holding, at: Nanos) -> Option<(TraceId, u32)> {
        item.owner.connection?;
        let late = |made: Nanos| at >= made.saturating_add(SETTLED);
        self.behind(item.key, at).filter(|(_, of)| *of == 1 || item.made.is_some_and(late))
    }
}

#[cfg(test)]
mod tests;
