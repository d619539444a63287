//! Whose is what a process holds: every open file is followed from the request that made it until it
//! is given back or nobody's.
//!
//! An owner has ended when its span or the service's own report says so; where neither speaks, when its
//! connection is gone or its later exchanges made the same again. What lies unused for a while after that is
//! orphaned; what was used after it belongs to a pool or a cache, and so may a file that anybody can open by its
//! name until that is opened once more. Invariant: what cannot be decided counts as held. Cost: up to eight hash
//! look-ups per thing and snapshot; memory is reused.

mod again;

use super::{
    OrphanConfig,
    ends::{Ends, Fate},
    group::{Groups, Leak, Standing},
    is_kept_on_purpose,
    own::again::Again,
};
use crate::{
    config::Caps,
    model::{Holding, HoldingKind, Holdings, Join, Nanos},
    window::SECOND,
};
use std::collections::{HashMap, HashSet};

/// One thing held, with what is known of its use and its owner.
#[derive(Clone, Copy, Debug)]
struct Held {
    item: Holding,
    /// When it was made, or first seen.
    made: Nanos,
    /// The last change of its use mark fell into this interval; `None` before the first change.
    used: Option<(Nanos, Nanos)>,
    ended: Option<Nanos>,
    /// When its connection was first seen to have gone on to a later exchange.
    overtaken: Option<Nanos>,
    /// The same was made again while it lay idle.
    again: bool,
    standing: Standing,
    /// Found again in the next snapshot.
    visited: bool,
}

impl Held {
    /// The last use, if that was after the owner's end. A change in an interval that holds the end may have been
    /// before it.
    fn reused(&self, end: Nanos) -> Option<(Nanos, Nanos)> {
        self.used.filter(|used| used.0 >= end)
    }

    /// Since when it lies idle, if nobody used it after its owner's end.
    fn idle_since(&self) -> Option<Nanos> {
        let end = self.ended?;
        self.reused(end).is_none().then(|| self.used.map_or(end, |used| used.1.max(end)))
    }
}

/// What one process holds, and whose it is.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    held: Vec<Held>,
    next: Vec<Held>,
    again: Again,
    index: HashMap<u64, u32>,
    /// Exchanges begun on each accepted connection of the last snapshot.
    connections: HashMap<u64, u32>,
    /// Connections that the parent process holds: a child works for them without holding them.
    pub(crate) parents: HashSet<u64>,
    pub(crate) groups: Groups,
    pub(crate) leaks: Vec<Leak>,
    pub(crate) live: u64,
    pub(crate) orphaned: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) at: Option<Nanos>,
    /// Things of the last snapshot that were too many to follow.
    pub(crate) unfollowed: u64,
    /// Look-ups done so far: what a test counts instead of time.
    pub(crate) work: u64,
}

impl Ownership {
    /// Takes a complete snapshot; one older than the last is ignored (false).
    pub(crate) fn snapshot(
        &mut self,
        told: &Holdings,
        at: Nanos,
        ends: &Ends,
        config: &OrphanConfig,
        caps: &Caps,
    ) -> bool {
        if self.at.is_some_and(|last| at < last) {
            return false;
        }
        let followed = told.items.len().min(caps.holdings);
        let (items, rest) = told.items.split_at(followed);
        self.limit = told.limit;
        self.unfollowed = rest.len() as u64;
        self.connections.clear();
        let accepted = items.iter().filter(|item| item.kind == HoldingKind::TcpAccepted);
        self.connections.extend(accepted.map(|item| (item.key, item.exchanges)));

        self.groups.begin(caps.groups);
        self.again.clear();
        let mut next = std::mem::take(&mut self.next);
        next.clear();
        for item in items {
            next.push(self.follow(item, at));
            self.again.made_for(item);
        }
        for held in next.iter_mut().filter(|held| !is_kept_on_purpose(held.item.kind)) {
            if held.ended.is_none() {
                held.ended = self.end_of_owner(held, at, ends, config);
            }
            if held.idle_since().is_some() {
                self.again.kept(&held.item, held.made);
            }
        }
        self.orphaned = 0;
        for held in &mut next {
            self.judge(held, at, config);
            self.orphaned += u64::from(held.standing == Standing::Orphaned);
            self.groups.count(&held.item, held.standing, held.made, held.ended, caps.groups);
        }
        self.next = next;
        for item in rest {
            self.groups.count(item, Standing::Held, at, None, caps.groups);
        }
        self.give_back(rest.is_empty());
        self.live = told.items.len() as u64;
        self.leaks = self.groups.close(at, config);
        self.at = Some(at);
        true
    }

    /// The connections of the last snapshot.
    pub(crate) fn connections(&self) -> impl Iterator<Item = u64> {
        self.connections.keys().copied()
    }

    /// What is known of an item from the last snapshot, brought up to date.
    fn follow(&mut self, item: &Holding, at: Nanos) -> Held {
        self.work += 1;
        let since = self.at.unwrap_or(at);
        let made = item.made.unwrap_or(at).min(at);
        let new = Held {
            item: *item,
            made,
            used: None,
            ended: None,
            overtaken: None,
            again: false,
            standing: Standing::Held,
            visited: false,
        };
        let Some(old) = self.index.get(&item.key).and_then(|place| self.held.get_mut(*place as usize)) else {
            return new;
        };
        old.visited = true;
        let mut held = Held { item: *item, visited: false, ..*old };
        if old.item.use_mark != item.use_mark {
            (held.used, held.again) = (Some((since, at)), false);
        }
        if old.item.owner != item.owner {
            // It works for another request now: the last one's end no longer counts.
            (held.ended, held.overtaken) = (None, None);
        }
        held
    }

    fn judge(&mut self, held: &mut Held, at: Nanos, config: &OrphanConfig) {
        held.standing = Standing::Held;
        let Some(end) = held.ended else { return };
        held.again = held.again || held.idle_since().is_some_and(|idle| self.again.was_made_after(&held.item, idle));
        let reused = held.reused(end);
        let unused_since = reused.map_or(end, |used| used.1);
        let patience = config.grace(&held.item, reused.is_some(), held.again);
        held.standing = match (patience.is_some_and(|grace| at.saturating_sub(unused_since) >= grace), reused) {
            (true, _) => Standing::Orphaned,
            (false, Some(_)) => Standing::Reused,
            (false, None) => Standing::Left,
        };
    }

    fn end_of_owner(&mut self, held: &mut Held, at: Nanos, ends: &Ends, config: &OrphanConfig) -> Option<Nanos> {
        self.work += 2;
        let fate =
            held.item.owner.trace.map_or(Fate::Unknown { spans: false }, |trace| ends.fate(&trace, held.made, at));
        let wait = match fate {
            Fate::Open => return None,
            Fate::Ended(end) => return Some(end.min(at)),
            Fate::Unknown { spans } => spans,
        };
        let (key, exchange) = held.item.owner.connection?;
        match self.connections.get(&key) {
            // What was not followed is not gone, and a child inherits the owner but not always the connection.
            None if self.unfollowed > 0 || held.item.owner.join == Join::Inherited => None,
            None if self.parents.contains(&key) => None,
            None => Some(at),
            Some(begun)
                if *begun > exchange.saturating_add(1) && self.again.was_made_by_later_exchanges(&held.item) =>
            {
                let overtaken = *held.overtaken.get_or_insert(at);
                let patience = if wait { config.span_wait_seconds.saturating_mul(SECOND) } else { 0 };
                (at.saturating_sub(overtaken) >= patience).then_some(overtaken)
            }
            Some(_) => None,
        }
    }

    /// Counts what is no longer there, and makes the new snapshot the last one.
    fn give_back(&mut self, complete: bool) {
        if complete {
            let gone = self.held.iter().filter(|held| !held.visited && held.item.owner.join != Join::None);
            for held in gone {
                self.groups.returned(held.item.kind, held.item.site);
            }
        }
        std::mem::swap(&mut self.held, &mut self.next);
        self.index.clear();
        for place in 0..self.held.len() {
            self.work += 1;
            let Ok(number) = u32::try_from(place) else { break };
            // Duplicated descriptors share one open file: all are counted, the last speaks when it is gone.
            if let Some(twin) = self.index.insert(self.held[place].item.key, number) {
                self.held[twin as usize].visited = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
