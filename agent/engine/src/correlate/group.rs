//! Things held, counted by kind and by where they were made, and which of these groups leak.
//!
//! Invariant: every live thing is counted in exactly one group. A group leaks when enough orphans of
//! enough owners are in it, it grew lately, and hardly anything from it is ever used again: a pool or a
//! cache fails the last two. Cost: constant per thing held; history only for groups that ever kept
//! something beyond its request.

use super::{OrphanConfig, join::JoinCount, quick::QuickMap};
use crate::{
    model::{Holding, HoldingKind, Join, Nanos, SiteId, TraceId},
    window::{SECOND, Windows},
};

/// Owners of orphans remembered by a group; also the most traces that are named.
pub(crate) const OWNERS: usize = 16;
/// Numbers of orphans remembered by a group.
const ORPHANS: usize = 16;
/// A new peak older than this is no growth any more.
const GROWTH_FRESH: Nanos = 10 * SECOND;
/// Growth is so many more than a minute ago, or than five minutes ago.
const GROWTH: [(Nanos, u64); 2] = [(60 * SECOND, 3), (300 * SECOND, 5)];

/// For whom something was made: the trace, else the exchange on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerKey {
    /// By trace.
    Trace(TraceId),
    /// By connection and exchange.
    Exchange(u64, u32),
}

/// An owner of orphans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// When the newest of its orphans was made.
    made: Nanos,
    key: OwnerKey,
    /// The request behind it, and how many there are to choose from.
    trace: Option<(TraceId, u32)>,
}

/// The traces behind some owners, oldest first, and how many there are to choose from for each of them at most. Those
/// that may be others' are left out where there are any that are certain.
pub(crate) fn traces<'a>(owners: impl Iterator<Item = &'a Known> + Clone) -> (Vec<TraceId>, u32) {
    let told = owners.filter_map(|known| known.trace);
    let certain = told.clone().any(|(_, ambiguity)| ambiguity <= 1);
    let mut all: Vec<TraceId> = Vec::new();
    let mut most = 1;
    for (trace, ambiguity) in told.filter(|(_, ambiguity)| !certain || *ambiguity <= 1) {
        most = most.max(ambiguity);
        if !all.contains(&trace) {
            all.push(trace);
        }
    }
    (all, most)
}

#[derive(Clone, Copy, Debug)]
struct Fewest(u64);

impl Default for Fewest {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

/// How something held is judged at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its owner works, or it has none, or nobody knows.
    Held,
    /// Its owner ended a moment ago, or it may be a cache's.
    Left,
    /// Used after its owner's end: a pool or a cache.
    Reused,
    /// Nobody's any more.
    Orphaned,
}

/// Things of one kind, made at one place.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) kind: HoldingKind,
    pub(crate) site: SiteId,
    pub(crate) live: u64,
    pub(crate) orphaned: u64,
    /// Some of the orphaned ones' numbers.
    pub(crate) orphans: Vec<i32>,
    pub(crate) oldest_made: Option<Nanos>,
    pub(crate) owners: Vec<Known>,
    left: u64,
    reused: u64,
    returned: u64,
    joins: JoinCount,
    first_made: Nanos,
    first_ended: Nanos,
    peak: u64,
    peak_at: Nanos,
    history: Option<Windows<Fewest>>,
    /// It was found to leak and still has too many orphans.
    leaking: bool,
    /// Most orphans since it was found to leak.
    most: u64,
}

impl Group {
    fn new(kind: HoldingKind, site: SiteId) -> Self {
        Self {
            kind,
            site,
            live: 0,
            orphaned: 0,
            orphans: Vec::new(),
            oldest_made: None,
            owners: Vec::new(),
            left: 0,
            reused: 0,
            returned: 0,
            joins: JoinCount::default(),
            first_made: Nanos::MAX,
            first_ended: Nanos::MAX,
            peak: 0,
            peak_at: 0,
            history: None,
            leaking: false,
            most: 0,
        }
    }

    fn begin(&mut self) {
        (self.live, self.orphaned, self.left, self.reused) = (0, 0, 0, 0);
        (self.oldest_made, self.joins) = (None, JoinCount::default());
        (self.first_made, self.first_ended) = (Nanos::MAX, Nanos::MAX);
        self.owners.clear();
        self.orphans.clear();
    }

    fn remember(&mut self, made: Nanos, key: OwnerKey, trace: Option<(TraceId, u32)>) {
        let fresh = Known { made, key, trace };
        if let Some(known) = self.owners.iter_mut().find(|known| known.key == key) {
            known.made = known.made.max(made);
            // Of one exchange's things the surest tells whose it was.
            known.trace = [known.trace, trace].into_iter().flatten().min_by_key(|(_, ambiguity)| *ambiguity);
        } else if self.owners.len() < OWNERS {
            self.owners.push(fresh);
        } else if let Some(oldest) =
            self.owners.iter_mut().min_by_key(|known| known.made).filter(|known| known.made < made)
        {
            *oldest = fresh;
        }
    }

    fn close(&mut self, at: Nanos) {
        self.owners.sort_by_key(|known| known.made);
        let kept = self.left + self.orphaned;
        if kept == 0 && self.history.is_none() {
            return;
        }
        if kept > self.peak {
            (self.peak, self.peak_at) = (kept, at);
        } else if kept < self.peak / 2 {
            self.peak = kept;
        }
        let history = self.history.get_or_insert_with(|| Windows::new(5 * SECOND, 64));
        if let Some(fewest) = history.at(at) {
            fewest.0 = fewest.0.min(kept);
        }
    }

    /// What it kept beyond its requests `ago`; nothing, if it kept nothing then.
    fn kept_before(&self, at: Nanos, ago: Nanos) -> u64 {
        let Some((history, time)) = self.history.as_ref().zip(at.checked_sub(ago)) else { return 0 };
        history.range(0, time).last().map_or(0, |(_, fewest)| fewest.0)
    }
}

/// Groups that leak together: one site, with those of its kind whose site was not sampled.
#[derive(Clone, Debug)]
pub(crate) struct Leak {
    pub(crate) kind: HoldingKind,
    pub(crate) site: SiteId,
    pub(crate) orphaned: u64,
    /// Most orphans at once since it was found.
    pub(crate) most: u64,
    pub(crate) reused: u64,
    pub(crate) returned: u64,
    pub(crate) growing: bool,
    pub(crate) join: Join,
    /// When the first of the orphans was made, and when its owner ended.
    pub(crate) onset: (Nanos, Nanos),
    /// Traces, newest last.
    pub(crate) traces: Vec<TraceId>,
    /// How many requests there are to choose from for each of them at most; 1: they are certain.
    pub(crate) ambiguity: u32,
}

/// All groups of one process.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    all: Vec<Group>,
    index: QuickMap<(HoldingKind, SiteId), usize>,
    /// Where the last thing was counted: neighbours mostly come from one site.
    last: Option<(HoldingKind, SiteId, usize)>,
    /// Sites that fell into their kind's unknown site for want of room.
    pub(crate) folded: u64,
}

impl Groups {
    /// All groups, in the order they were first seen.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.all.iter()
    }

    /// Before a snapshot. Groups that hold nothing make room when it is scarce.
    pub(crate) fn begin(&mut self, cap: usize) {
        if self.all.len() >= cap {
            self.all.retain(|group| group.live > 0);
            self.index = self.all.iter().enumerate().map(|(n, group)| ((group.kind, group.site), n)).collect();
        }
        self.last = None;
        self.all.iter_mut().for_each(Group::begin);
    }

    fn place(&mut self, kind: HoldingKind, mut site: SiteId, cap: usize) -> usize {
        if let Some((_, _, place)) = self.last.filter(|last| (last.0, last.1) == (kind, site)) {
            return place;
        }
        if self.all.len() >= cap && site != SiteId(0) && !self.index.contains_key(&(kind, site)) {
            self.folded += 1;
            site = SiteId(0);
        }
        let place = *self.index.entry((kind, site)).or_insert_with(|| {
            self.all.push(Group::new(kind, site));
            self.all.len() - 1
        });
        self.last = Some((kind, site, place));
        place
    }

    /// Counts one thing held; `end` is its owner's end where that is known, `behind` the request whose span says that
    /// it made it, and how many there are to choose from.
    pub(crate) fn count(
        &mut self,
        item: &Holding,
        standing: Standing,
        (made, end): (Nanos, Option<Nanos>),
        behind: Option<(TraceId, u32)>,
        cap: usize,
    ) {
        let place = self.place(item.kind, item.site, cap);
        let group = &mut self.all[place];
        group.live += 1;
        if let Some(made) = item.made {
            group.oldest_made = Some(group.oldest_made.map_or(made, |oldest| oldest.min(made)));
        }
        match standing {
            Standing::Held => {}
            Standing::Left => group.left += 1,
            Standing::Reused => group.reused += 1,
            Standing::Orphaned => {
                group.orphaned += 1;
                if group.orphans.len() < ORPHANS {
                    group.orphans.push(item.number);
                }
                group.joins.add(item.owner.join);
                if made < group.first_made {
                    (group.first_made, group.first_ended) = (made, end.unwrap_or(made));
                }
                let key = item.owner.trace.map(OwnerKey::Trace);
                let key = key.or(item.owner.connection.map(|(key, exchange)| OwnerKey::Exchange(key, exchange)));
                if let Some(key) = key {
                    group.remember(made, key, item.owner.trace.map(|trace| (trace, 1)).or(behind));
                }
            }
        }
    }

    /// Counts something with an owner that was given back.
    pub(crate) fn returned(&mut self, kind: HoldingKind, site: SiteId) {
        if let Some(place) = self.index.get(&(kind, site)) {
            self.all[*place].returned += 1;
        }
    }

    /// After a snapshot: the groups that leak.
    pub(crate) fn close(&mut self, at: Nanos, config: &OrphanConfig) -> Vec<Leak> {
        self.all.iter_mut().for_each(|group| group.close(at));
        let mut leaks = Vec::new();
        for members in self.candidates() {
            let leak = self.leak(&members, at, config);
            for member in &members {
                let group = &mut self.all[*member];
                group.leaking = leak.is_some();
                group.most = if group.leaking { group.most.max(group.orphaned) } else { 0 };
                if group.orphaned == 0 {
                    group.returned = 0;
                }
            }
            leaks.extend(leak);
        }
        leaks.sort_by_key(|leak| std::cmp::Reverse(leak.orphaned));
        leaks
    }

    /// Which groups are judged together. Stacks are sampled, so things of one kind without a site join
    /// the site that at least four in five of their kind's sited orphans come from.
    fn candidates(&self) -> Vec<Vec<usize>> {
        let mut sets: Vec<Vec<usize>> = (0..self.all.len())
            .filter(|n| self.all[*n].orphaned > 0 || self.all[*n].leaking)
            .map(|n| vec![n])
            .collect();
        for unknown in 0..self.all.len() {
            let kind = self.all[unknown].kind;
            if self.all[unknown].site != SiteId(0) || self.all[unknown].orphaned == 0 {
                continue;
            }
            let sited =
                || self.all.iter().enumerate().filter(|(_, group)| group.kind == kind && group.site != SiteId(0));
            let total: u64 = sited().map(|(_, group)| group.orphaned).sum();
            let Some((main, orphaned)) = sited().map(|(n, group)| (n, group.orphaned)).max_by_key(|(_, count)| *count)
            else {
                continue;
            };
            if orphaned >= 2 && orphaned.saturating_mul(5) >= total.saturating_mul(4) {
                sets.retain(|set| set[..] != [unknown]);
                if let Some(set) = sets.iter_mut().find(|set| set[..] == [main]) {
                    set.push(unknown);
                }
            }
        }
        sets
    }

    fn leak(&self, members: &[usize], at: Nanos, config: &OrphanConfig) -> Option<Leak> {
        let groups = || members.iter().map(|n| &self.all[*n]);
        let first = groups().next()?;
        let sum = |count: fn(&Group) -> u64| groups().map(count).sum::<u64>();
        let (orphaned, reused) = (sum(|group| group.orphaned), sum(|group| group.reused));
        let mut owners: Vec<Known> = Vec::new();
        for known in groups().flat_map(|group| group.owners.iter().copied()) {
            if owners.iter().all(|other| other.key != known.key) {
                owners.push(known);
            }
        }
        owners.sort_by_key(|known| known.made);
        let kept = sum(|group| group.left + group.orphaned);
        let fresh = groups().any(|group| group.peak > 0 && at.saturating_sub(group.peak_at) <= GROWTH_FRESH);
        let growing = fresh
            && GROWTH.iter().any(|(ago, more)| {
                kept >= groups().map(|group| group.kept_before(at, *ago)).sum::<u64>().saturating_add(*more)
            });
        let enough = orphaned >= u64::from(config.count) && owners.len() as u64 >= u64::from(config.owners);
        let leaking = groups().any(|group| group.leaking) || (growing && reused.saturating_mul(3) <= orphaned);
        if !enough || !leaking {
            return None;
        }
        let mut joins = JoinCount::default();
        groups().for_each(|group| joins.merge(&group.joins));
        let onset = groups().map(|group| (group.first_made, group.first_ended)).min().unwrap_or_default();
        let (traces, ambiguity) = traces(owners[owners.len().saturating_sub(OWNERS)..].iter());
        Some(Leak {
            kind: first.kind,
            site: first.site,
            orphaned,
            most: sum(|group| group.most.max(group.orphaned)),
            reused,
            returned: sum(|group| group.returned),
            growing,
            join: joins.commonest(),
            onset,
            traces,
            ambiguity,
        })
    }
}
