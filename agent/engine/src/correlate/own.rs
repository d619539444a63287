//! Whose is what a process holds: every open file is followed from the request that made it until it
//! is given back or nobody's.
//!
//! An owner has ended when its span or the service's own report says so; where neither speaks, when its
//! connection is gone or its later exchanges made the same again. What lies unused for a while after that is
//! orphaned; what was used after it belongs to a pool or a cache, and so may a file that anybody can open by its
//! name until that is opened once more. Invariant: what cannot be decided counts as held. Cost: of what has an owner
//! some 45 bytes (as much again once it was used or its owner ended) and up to eight look-ups a snapshot; what has
//! none, and what is kept on purpose, is only counted.

mod again;

use super::{
    OrphanConfig,
    ends::{Claim, Ends, Fate},
    group::{Groups, Leak, Standing},
    is_kept_on_purpose,
    own::again::Again,
    quick::{Quick, QuickMap},
    requests::Requests,
    sorted::Sorted,
};
use crate::{
    config::Caps,
    model::{Holding, HoldingKind, Holdings, Join, Nanos, Owner, SiteId},
    window::SECOND,
};
use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
};

/// Not yet.
const NEVER: Nanos = Nanos::MAX;
/// A table with this many times the room that it needs is cut down.
const SLACK: usize = 4;

/// One thing held that has an owner. There may be a hundred thousand: keep it small.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// When it was made, or first seen.
    made: Nanos,
    site: SiteId,
    /// Hashes of its use mark and its owner: only whether they change matters.
    use_mark: u32,
    owner: u32,
    /// The snapshot that it was last found in, as far as it matters.
    round: u16,
    kind: HoldingKind,
    join: Join,
    /// There is a [`Past`] of it.
    has_past: bool,
    /// Its maker had it for a request that was seen to run then.
    claimed: bool,
}

/// What has happened to a thing since it was made; of most nothing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Past {
    /// The last change of its use mark fell into this interval; before the first change it ends at 0.
    used: (Nanos, Nanos),
    ended: Nanos,
    /// When its connection was first seen to have gone on to a later exchange.
    overtaken: Nanos,
    /// The same was made again while it lay idle.
    again: bool,
}

impl Past {
    const NONE: Self = Self { used: (0, 0), ended: NEVER, overtaken: NEVER, again: false };

    /// The last use, if that was after the owner's end. A change in an interval that holds the end may have been
    /// before it.
    fn reused(&self) -> Option<(Nanos, Nanos)> {
        Some(self.used).filter(|used| used.1 != 0 && used.0 >= self.ended)
    }

    /// Since when it lies idle, if nobody used it after its owner's end.
    fn idle_since(&self) -> Option<Nanos> {
        (self.ended != NEVER && self.reused().is_none()).then(|| self.used.1.max(self.ended))
    }

    /// Of something whose owner has ended.
    fn standing(&self, item: &Holding, at: Nanos, config: &OrphanConfig) -> Standing {
        let reused = self.reused();
        let unused_since = reused.map_or(self.ended, |used| used.1);
        let patience = config.grace(item, reused.is_some(), self.again);
        let unused = |least: Nanos| at.saturating_sub(unused_since) >= least;
        match (patience, reused) {
            (Some(grace), _) if unused(grace) => Standing::Orphaned,
            (_, Some(_)) => Standing::Reused,
            (Some(grace), None) if unused(grace / 2) => Standing::Idle,
            _ => Standing::Left,
        }
    }
}

/// What one process holds, and whose it is.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    held: Sorted<Held>,
    past: QuickMap<u64, Past>,
    /// Places in the snapshot of what lost its owner; kept for its room.
    ended: Vec<usize>,
    again: Again,
    round: u16,
    /// Exchanges begun on each accepted connection of the last snapshot.
    connections: QuickMap<u64, u32>,
    /// Connections that the parent process holds: a child works for them without holding them.
    pub(crate) parents: HashSet<u64>,
    pub(crate) groups: Groups,
    pub(crate) leaks: Vec<Leak>,
    /// Where nothing leaks: what will, if it stays as it is.
    pub(crate) suspected: Vec<Leak>,
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
        (ends, requests): (&Ends, &Requests),
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
        self.round = self.round.wrapping_add(1);
        self.again.clear();
        items.iter().for_each(|item| self.again.made_for(item));
        let mut ended = std::mem::take(&mut self.ended);
        ended.clear();
        for (place, item) in items.iter().enumerate() {
            let made = item.made.unwrap_or(at).min(at);
            if !has_owner(&item.owner) || is_kept_on_purpose(item.kind) {
                self.groups.count(item, Standing::Held, (made, None), None, caps.groups);
                continue;
            }
            let (made, past) = self.follow(item, made, at, ends, config);
            if past.ended == NEVER {
                self.groups.count(item, Standing::Held, (made, None), None, caps.groups);
                continue;
            }
            if past.idle_since().is_some() {
                self.again.kept(item, made);
            }
            ended.push(place);
        }
        self.orphaned = 0;
        for item in ended.iter().map(|place| &items[*place]) {
            let (standing, made, ended) = self.judge(item, at, config);
            self.orphaned += u64::from(standing == Standing::Orphaned);
            let is_unused = matches!(standing, Standing::Orphaned | Standing::Idle);
            let behind = if is_unused { requests.behind(item.key, at) } else { None };
            self.groups.count(item, standing, (made, ended), behind, caps.groups);
        }
        self.ended = ended;
        for item in rest {
            self.groups.count(item, Standing::Held, (at, None), None, caps.groups);
        }
        self.give_back(rest.is_empty());
        self.live = told.items.len() as u64;
        (self.leaks, self.suspected) = self.groups.close(at, config);
        self.at = Some(at);
        true
    }

    /// The connections of the last snapshot.
    pub(crate) fn connections(&self) -> impl Iterator<Item = u64> {
        self.connections.keys().copied()
    }

    /// What is known of an item from the last snapshot, brought up to date: when it was made, and what happened to it.
    /// Duplicated descriptors share one open file, and so one entry.
    fn follow(&mut self, item: &Holding, made: Nanos, at: Nanos, ends: &Ends, config: &OrphanConfig) -> (Nanos, Past) {
        self.work += 1;
        let since = self.at.unwrap_or(at);
        let (use_mark, owner) = (short(item.use_mark), identity(&item.owner));
        let (site, kind, join, round) = (item.site, item.kind, item.owner.join, self.round);
        let fresh = Held { made, site, use_mark, owner, round, kind, join, has_past: false, claimed: false };
        let held = self.held.get_or_insert(item.key, fresh);
        let before = if held.has_past { self.past.get(&item.key).copied() } else { None }.unwrap_or(Past::NONE);
        let mut past = before;
        if held.use_mark != use_mark {
            (past.used, past.again) = ((since, at), false);
        }
        if held.owner != owner {
            // It works for another request now: the last one's end no longer counts.
            (past.ended, past.overtaken) = (NEVER, NEVER);
        }
        let made = held.made;
        *held = Held { made, has_past: held.has_past, claimed: held.claimed && held.owner == owner, ..fresh };
        let lent = item.owner.trace.filter(|_| item.owner.lent);
        if let Some(trace) = lent.filter(|_| past.ended == NEVER) {
            self.work += 2;
            match ends.claim(&trace, made, held.claimed, at) {
                Claim::Open => held.claimed = true,
                Claim::Ended(end) => past.ended = end.min(at),
                // Nobody knows, or it was made after the request: nobody's.
                Claim::None => {}
            }
        } else if past.ended == NEVER {
            self.work += 2;
            let known = (&self.connections, &self.parents, self.unfollowed == 0, &self.again);
            past.ended = end_of_owner(item, (made, &mut past.overtaken), at, ends, config, known).unwrap_or(NEVER);
        }
        if past != before {
            self.work += 1;
            held.has_past = past != Past::NONE;
            if held.has_past {
                self.past.insert(item.key, past);
            } else {
                self.past.remove(&item.key);
            }
        }
        (made, past)
    }

    /// The standing of something whose owner has ended, when it was made, and that end.
    fn judge(&mut self, item: &Holding, at: Nanos, config: &OrphanConfig) -> (Standing, Nanos, Option<Nanos>) {
        self.work += 2;
        let (Some(held), Some(past)) = (self.held.get(item.key), self.past.get_mut(&item.key)) else {
            return (Standing::Held, at, None);
        };
        past.again = past.again || past.idle_since().is_some_and(|idle| self.again.was_made_after(item, idle));
        (past.standing(item, at, config), held.made, Some(past.ended))
    }

    /// Counts what is no longer there, and forgets it.
    fn give_back(&mut self, complete: bool) {
        let Self { held, past, groups, round, work, connections, .. } = self;
        held.settle(|key, held| {
            *work += 1;
            if held.round == *round {
                return true;
            }
            if held.has_past {
                past.remove(&key);
            }
            if complete && held.join != Join::None {
                groups.returned(held.kind, held.site);
            }
            false
        });
        shrink(past);
        shrink(connections);
        self.ended.shrink_to(SLACK * self.ended.len().max(64));
    }
}

/// Gives back room that is no longer needed.
fn shrink<V>(table: &mut QuickMap<u64, V>) {
    if table.capacity() > SLACK * table.len().max(64) {
        table.shrink_to(2 * table.len());
    }
}

/// When the request ended for which something was made; last come the connections of this process and of its parent,
/// whether they are all, and what else was made for them.
fn end_of_owner(
    item: &Holding,
    (made, overtaken): (Nanos, &mut Nanos),
    at: Nanos,
    ends: &Ends,
    config: &OrphanConfig,
    (connections, parents, complete, again): (&QuickMap<u64, u32>, &HashSet<u64>, bool, &Again),
) -> Option<Nanos> {
    let fate = item.owner.trace.map_or(Fate::Unknown { spans: false }, |trace| ends.fate(&trace, made, at));
    let wait = match fate {
        Fate::Open => return None,
        Fate::Ended(end) => return Some(end.min(at)),
        Fate::Unknown { spans } => spans,
    };
    let (key, exchange) = item.owner.connection?;
    match connections.get(&key) {
        // What was not followed is not gone, and a child inherits the owner but not always the connection.
        None if !complete || item.owner.join == Join::Inherited => None,
        None if parents.contains(&key) => None,
        None => Some(at),
        Some(begun) if *begun > exchange.saturating_add(1) && again.was_made_by_later_exchanges(item) => {
            *overtaken = (*overtaken).min(at);
            let patience = if wait { config.span_wait_seconds.saturating_mul(SECOND) } else { 0 };
            (at.saturating_sub(*overtaken) >= patience).then_some(*overtaken)
        }
        Some(_) => None,
    }
}

/// Whether anybody is told as the owner.
fn has_owner(owner: &Owner) -> bool {
    owner.trace.is_some() || owner.connection.is_some() || owner.join != Join::None
}

fn identity(owner: &Owner) -> u32 {
    let mut hash = Quick::default();
    if let Some(trace) = owner.trace {
        hash.write(&trace.0);
    }
    if let Some((key, exchange)) = owner.connection {
        (key, exchange).hash(&mut hash);
    }
    hash.word(u64::from(owner.join as u8) + 1 + (u64::from(owner.lent) << 8));
    short(hash.finish())
}

/// A number cut to half its length, to which all of it contributes.
fn short(number: u64) -> u32 {
    let mut hash = Quick::default();
    hash.word(number);
    u32::try_from(hash.finish() >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests;
