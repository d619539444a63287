//! Things held, counted by kind and by where they were made, and which of these groups leak.
//!
//! Invariant: every live thing is counted in exactly one group. A group leaks when enough orphans of
//! enough owners are in it, it grew lately, and hardly anything from it is ever used again: a pool or a
//! cache fails the last two. Cost: constant per thing held; history only for groups that ever kept
//! something beyond its request.

mod leaks;

pub(crate) use leaks::Leak;

use super::{join::JoinCount, quick::QuickMap};
use crate::{
    model::{Holding, HoldingKind, Nanos, SiteId, TraceId},
    window::{SECOND, Windows},
};

/// Owners of orphans remembered by a group; also the most traces that are named.
pub(crate) const OWNERS: usize = 16;
/// Numbers of orphans remembered by a group.
const ORPHANS: usize = 16;

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

/// When the first of nothing was made, and when its owner ended.
const NOTHING: (Nanos, Nanos) = (Nanos::MAX, Nanos::MAX);

/// How something held is judged at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its owner works, or it has none, or nobody knows.
    Held,
    /// Its owner ended a moment ago, or it may be a cache's.
    Left,
    /// Left, and unused for half as long as makes it an orphan.
    Idle,
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
    /// Those of what is idle.
    idlers: Vec<Known>,
    left: u64,
    idle: u64,
    reused: u64,
    returned: u64,
    /// How the owners of orphans were found; of what is idle.
    joins: [JoinCount; 2],
    /// When the first of the orphans was made and when its owner ended; of what is idle.
    first: [(Nanos, Nanos); 2],
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
            idlers: Vec::new(),
            left: 0,
            idle: 0,
            reused: 0,
            returned: 0,
            joins: Default::default(),
            first: [NOTHING; 2],
            peak: 0,
            peak_at: 0,
            history: None,
            leaking: false,
            most: 0,
        }
    }

    fn begin(&mut self) {
        (self.live, self.orphaned, self.left, self.idle, self.reused) = (0, 0, 0, 0, 0);
        (self.oldest_made, self.joins, self.first) = (None, Default::default(), [NOTHING; 2]);
        self.owners.clear();
        self.idlers.clear();
        self.orphans.clear();
    }

    /// An orphan, or what is idle.
    fn kept(&mut self, item: &Holding, made: Nanos, end: Option<Nanos>, behind: Option<(TraceId, u32)>, idle: bool) {
        let part = usize::from(idle);
        self.joins[part].add(item.owner.join);
        if made < self.first[part].0 {
            self.first[part] = (made, end.unwrap_or(made));
        }
        let key = item.owner.trace.map(OwnerKey::Trace);
        let key = key.or(item.owner.connection.map(|(key, exchange)| OwnerKey::Exchange(key, exchange)));
        if let Some(key) = key {
            let known = Known { made, key, trace: item.owner.trace.map(|trace| (trace, 1)).or(behind) };
            remember(if idle { &mut self.idlers } else { &mut self.owners }, known);
        }
    }

    /// Orphans, or what is suspected to become one as well.
    fn unused(&self, early: bool) -> u64 {
        self.orphaned + if early { self.idle } else { 0 }
    }

    fn close(&mut self, at: Nanos) {
        self.owners.sort_by_key(|known| known.made);
        let kept = self.beyond();
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

    /// What it keeps beyond its requests.
    fn beyond(&self) -> u64 {
        self.left + self.idle + self.orphaned
    }

    /// What it kept beyond its requests `ago`; nothing, if it kept nothing then.
    fn kept_before(&self, at: Nanos, ago: Nanos) -> u64 {
        let Some((history, time)) = self.history.as_ref().zip(at.checked_sub(ago)) else { return 0 };
        history.range(0, time).last().map_or(0, |(_, fewest)| fewest.0)
    }
}

/// Remembers an owner, the newest where there are too many.
fn remember(owners: &mut Vec<Known>, fresh: Known) {
    if let Some(known) = owners.iter_mut().find(|known| known.key == fresh.key) {
        known.made = known.made.max(fresh.made);
        // Of one exchange's things the surest tells whose it was.
        known.trace = [known.trace, fresh.trace].into_iter().flatten().min_by_key(|(_, ambiguity)| *ambiguity);
    } else if owners.len() < OWNERS {
        owners.push(fresh);
    } else if let Some(oldest) = owners.iter_mut().min_by_key(|known| known.made).filter(|one| one.made < fresh.made) {
        *oldest = fresh;
    }
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
            Standing::Idle => {
                group.idle += 1;
                group.kept(item, made, end, behind, true);
            }
            Standing::Orphaned => {
                group.orphaned += 1;
                if group.orphans.len() < ORPHANS {
                    group.orphans.push(item.number);
                }
                group.kept(item, made, end, behind, false);
            }
        }
    }

    /// Counts something with an owner that was given back.
    pub(crate) fn returned(&mut self, kind: HoldingKind, site: SiteId) {
        if let Some(place) = self.index.get(&(kind, site)) {
            self.all[*place].returned += 1;
        }
    }
}
