//! Server connections, and which of them may be at work on a request whose span has not come yet.
//!
//! Invariant: a connection counts as possibly at work from when it was made, or from the start of its last request
//! that told a span, until every exchange on it has told one (HTTP/1), or until it has been gone for long enough.
//! What does several requests at once proves nothing by its spans.

use super::{Ran, SETTLED};
use crate::model::{Holding, Nanos};
use std::collections::{HashMap, VecDeque};

/// Connections that are followed.
const MOST: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Link {
    key: u64,
    made: Nanos,
    /// Exchanges begun at the last snapshot; as many as possible if some were before anybody looked.
    exchanges: u32,
    /// Requests that told their spans, one after the other.
    told: u32,
    /// When the last of these started and ended.
    started: Nanos,
    ended: Nanos,
    /// All of them said that they were alone on it.
    serial: bool,
    gone: Option<Nanos>,
    round: u16,
}

impl Link {
    fn count(&mut self, ran: &Ran) {
        self.serial = ran.serial && (self.serial || self.told == 0);
        // A span within another is of the same request.
        if ran.started >= self.made && ran.started >= self.ended {
            self.told = self.told.saturating_add(1);
            (self.started, self.ended) = (ran.started, ran.ended);
        } else if ran.ended > self.ended {
            self.ended = ran.ended;
        }
    }

    /// From when on a request may be at work that has not told its span.
    fn untold_since(&self) -> Option<Nanos> {
        if !self.serial || self.told == 0 {
            return Some(self.made);
        }
        (self.told < self.exchanges).then_some(self.made.max(self.started))
    }
}

/// By the number of who is at the other end.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: HashMap<u32, Link>,
    /// From when on each of them may be at work on something untold, in order.
    untold: Vec<Nanos>,
    /// Connections that could not be followed, or whose other end is unknown.
    unknown: u32,
    /// Closed ones whose other end has connected anew since: from when on they count, and when that was.
    replaced: VecDeque<(Nanos, Nanos)>,
}

impl Links {
    /// A span of this connection, if it is one.
    pub(super) fn span(&mut self, ran: &Ran) {
        if let Some(link) = self.all.get_mut(&ran.peer).filter(|_| ran.peer != 0) {
            link.count(ran);
        }
    }

    /// A connection is there.
    pub(super) fn see(&mut self, item: &Holding, (round, at): (u16, Nanos), recent: &VecDeque<Ran>) {
        let peer = item.owner.peer;
        let exchanges = if item.made.is_some() { item.exchanges } else { u32::MAX };
        let full = self.all.len() >= MOST && !self.all.contains_key(&peer);
        let known = self.all.get_mut(&peer);
        if let Some(link) = known.filter(|link| link.key == item.key) {
            (link.exchanges, link.round, link.gone) = (exchanges, round, None);
            return;
        }
        // What is in the way is another one by accident, or is closed and has had the same other end.
        let in_the_way = self.all.get(&peer);
        if peer == 0 || full || in_the_way.is_some_and(|link| link.round == round) {
            self.unknown = self.unknown.saturating_add(1);
            return;
        }
        if let Some(since) = in_the_way.and_then(Link::untold_since) {
            // At most one for each connection of a snapshot, of which there are not many within ten seconds.
            if self.replaced.len() >= MOST {
                self.unknown = self.unknown.saturating_add(1);
                self.replaced.pop_front();
            }
            self.replaced.push_back((since, at));
        }
        let (key, made) = (item.key, item.made.unwrap_or(0));
        let mut link = Link { key, made, exchanges, told: 0, started: 0, ended: 0, serial: false, gone: None, round };
        recent.iter().filter(|ran| ran.peer == peer && ran.started >= made).for_each(|ran| link.count(ran));
        self.all.insert(peer, link);
    }

    /// After a snapshot.
    pub(super) fn close(&mut self, round: u16, at: Nanos) {
        let unknown = std::mem::take(&mut self.unknown);
        self.all.retain(|_, link| {
            if link.round != round {
                let gone = *link.gone.get_or_insert(at);
                return at < gone.saturating_add(SETTLED);
            }
            true
        });
        self.untold.clear();
        self.untold.extend(self.all.values().filter_map(Link::untold_since));
        self.untold.extend((0..unknown).map(|_| 0));
        while self.replaced.front().is_some_and(|(_, then)| at >= then.saturating_add(SETTLED)) {
            self.replaced.pop_front();
        }
        self.untold.extend(self.replaced.iter().map(|(since, _)| *since));
        self.untold.sort_unstable();
    }

    /// How many may have been at work, at that moment, on a request that has not told its span.
    pub(super) fn untold(&self, made: Nanos) -> u32 {
        u32::try_from(self.untold.partition_point(|since| *since <= made)).unwrap_or(u32::MAX)
    }

    /// Whether the connection is there, or was lately.
    pub(super) fn has(&self, peer: u32) -> bool {
        self.all.contains_key(&peer)
    }
}
