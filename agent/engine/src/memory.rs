//! What the memory of a target does: does its floor rise, does it stay, and where do pages come in.
//!
//! Allocator retention is told from a leak by two facts together: a floor that rises goes on taking pages
//! at some place; an arena that keeps what it once used stays at its level, and hardly a page comes in.
//! Invariant: growth is said only where the slope's interval lies above zero. Bounded: 300 places.

use crate::{
    forecast::growth,
    model::{
        Level, MemorySite, MemoryTrend, MemoryVerdict, MemoryView, Nanos, PageKind, Pages, Resource, SiteId, TraceId,
    },
    series::Series,
    window::{SECOND, Windows, seconds},
};
use std::collections::BTreeMap;

/// Over how long a floor is judged.
const FIT: Nanos = 90 * SECOND;
/// Fewer windows of two seconds are not enough to say that something stays.
const POINTS: usize = 6;
/// Places that are kept in each generation.
const SITES: usize = 300;
/// Places that are shown.
const SHOWN: usize = 16;
/// Traces that are kept of a place.
const TRACES: usize = 16;
/// Places are summed up over this time and the one before it.
const GENERATION: Nanos = 60 * SECOND;
/// A longer silence means that pages were not counted.
const GAP: Nanos = 5 * SECOND;
/// A rise of less than this is not worth a word.
const LEAST: f64 = 1_048_576.0;
/// Staying means: within this share of the level.
const FLAT: f64 = 0.03;
/// Turning over means: so much of the level comes in each minute.
const TURNOVER: f64 = 0.05;

#[derive(Clone, Debug, Default)]
struct Came {
    bytes: u64,
    traces: Vec<TraceId>,
}

type Places = BTreeMap<(PageKind, SiteId), Came>;

/// One kind of memory.
#[derive(Debug)]
struct Track {
    floor: Series,
    came: Windows<u64>,
    /// When counting began.
    counted: Option<Nanos>,
    /// When it was last told.
    told: Option<Nanos>,
}

impl Track {
    fn new() -> Self {
        Self { floor: Series::new(), came: Windows::new(2 * SECOND, 32), counted: None, told: None }
    }

    /// Bytes a second over the last minute, or since counting began.
    #[expect(clippy::cast_precision_loss, reason = "bytes, for a rate")]
    fn pages_in(&self, now: Nanos) -> Option<f64> {
        self.told.filter(|told| now.saturating_sub(*told) <= 2 * GAP)?;
        let since = self.counted?.max(now.saturating_sub(60 * SECOND));
        let came: u64 = self.came.range(since, now).map(|(_, bytes)| *bytes).sum();
        // Two seconds are the least that the windows tell apart.
        Some(came as f64 / seconds(now.saturating_sub(since)).max(2.0))
    }

    fn trend(&self, kind: PageKind, now: Nanos) -> Option<MemoryTrend> {
        let level = self.floor.level()?;
        let points = self.floor.points(now.saturating_sub(FIT));
        let pages_in = self.pages_in(now);
        let (verdict, growth) = judge(&points, pages_in);
        Some(MemoryTrend { kind, level, verdict, growth, pages_in })
    }
}

/// What can be said of a floor (seconds, bytes; oldest first) into which so many bytes a second come.
fn judge(points: &[(f64, f64)], pages_in: Option<f64>) -> (MemoryVerdict, Option<(f64, f64)>) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return (MemoryVerdict::NotEnough, None) };
    let rise = last.1 - first.1;
    let found = if rise >= LEAST { growth(points) } else { None };
    if let Some(found) = found {
        return (MemoryVerdict::Grows, Some(found.bounds()));
    }
    // How it is now: what rose at the beginning may stay since.
    let recent = points.get(points.len().saturating_sub(2 * POINTS)..).unwrap_or(points);
    let low = recent.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = recent.iter().map(|point| point.1).fold(0.0, f64::max);
    if recent.len() < POINTS || high - low > (FLAT * high).max(LEAST) {
        return (MemoryVerdict::NotEnough, None);
    }
    match pages_in {
        Some(rate) if rate * 60.0 >= (TURNOVER * high).max(LEAST) => (MemoryVerdict::TurnsOver, None),
        // Uncounted, it is at least known that it stays.
        Some(_) | None => (MemoryVerdict::Holds, None),
    }
}

/// All that is known of a target's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    told: MemoryView,
    own: Track,
    shared: Track,
    places: (Places, Places),
    generation: Nanos,
    pub(crate) oom_kills: u64,
}

impl Memory {
    /// Of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            told: MemoryView::default(),
            own: Track::new(),
            shared: Track::new(),
            places: Default::default(),
            generation: 0,
            oom_kills: 0,
        }
    }

    /// Takes a level. What is swapped out is still the process's own.
    pub(crate) fn level(&mut self, told: &Level, at: Nanos) {
        let value = Some(told.value);
        match told.resource {
            Resource::RssAnon => self.own.floor.record(at, told.value.saturating_add(self.told.swap.unwrap_or(0))),
            Resource::RssShmem => {
                self.told.rss_shmem = value;
                self.shared.floor.record(at, told.value);
            }
            Resource::Swap => self.told.swap = value,
            Resource::RssPeak => self.told.rss_peak = value,
            Resource::AddressSpace => self.told.address_space = value,
            Resource::AddressSpaceData => self.told.address_space_data = value,
            Resource::MajorFaults => self.told.major_faults = value,
            Resource::CgroupMemory => self.told.cgroup = Some((told.value, told.limit)),
            Resource::Fds | Resource::RssFile | Resource::Threads => {}
        }
    }

    /// Takes pages that came in.
    pub(crate) fn pages(&mut self, told: &Pages, until: Nanos) {
        let track = if told.kind == PageKind::Anon { &mut self.own } else { &mut self.shared };
        // After a gap the minute before is not known: counting begins anew.
        let gap = track.told.is_none_or(|told_until| told.since > told_until.saturating_add(GAP));
        if gap {
            track.counted = Some(told.since.min(until));
            track.came = Windows::new(2 * SECOND, 32);
        }
        track.told = Some(until);
        if let Some(sum) = track.came.at(until) {
            *sum = sum.saturating_add(told.bytes);
        }
        if until.saturating_sub(self.generation) >= GENERATION {
            self.generation = until;
            self.places.1 = std::mem::take(&mut self.places.0);
        }
        for place in &told.sites {
            let key = (told.kind, place.site);
            // What does not fit is counted as unknown.
            let full = self.places.0.len() >= SITES && !self.places.0.contains_key(&key);
            let key = if full { (told.kind, SiteId(0)) } else { key };
            let came = self.places.0.entry(key).or_default();
            came.bytes = came.bytes.saturating_add(place.bytes);
            if let Some(trace) = place.trace.filter(|trace| came.traces.len() < TRACES && !came.traces.contains(trace))
            {
                came.traces.push(trace);
            }
        }
    }

    fn sites(&self) -> Vec<MemorySite> {
        let mut all = self.places.1.clone();
        for (key, came) in &self.places.0 {
            let sum = all.entry(*key).or_default();
            sum.bytes = sum.bytes.saturating_add(came.bytes);
            let new = came.traces.iter().filter(|trace| !sum.traces.contains(trace)).copied().collect::<Vec<_>>();
            sum.traces.extend(new);
            sum.traces.truncate(TRACES);
        }
        let show = |((kind, site), came): ((PageKind, SiteId), Came)| MemorySite {
            kind,
            site,
            bytes: came.bytes,
            traces: came.traces,
        };
        let mut sites: Vec<MemorySite> = all.into_iter().map(show).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.bytes));
        sites.truncate(SHOWN);
        sites
    }

    /// The picture.
    pub(crate) fn view(&self, now: Nanos) -> MemoryView {
        let own = self.own.trend(PageKind::Anon, now);
        let shared = self.shared.trend(PageKind::Shmem, now).filter(|trend| trend.level > 0);
        MemoryView {
            oom_kills: self.oom_kills,
            trends: own.into_iter().chain(shared).collect(),
            sites: self.sites(),
            ..self.told.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Join, PagesAt};

    const MIB: u64 = 1 << 20;

    /// A minute at one value a second, with pages of two places coming in.
    fn minute(level: impl Fn(u64) -> u64, came: u64) -> Memory {
        let mut memory = Memory::new();
        for second in 1..=60 {
            let at = second * SECOND;
            let value = level(second);
            memory.level(&Level { pid: 1, resource: Resource::RssAnon, value, limit: None, at }, at);
            let place = |site, bytes| PagesAt { site: SiteId(site), bytes, trace: None, join: Join::None };
            let sites = vec![place(7, came * 3 / 4), place(8, came / 4)];
            let told = Pages { pid: 1, kind: PageKind::Anon, since: at - SECOND, until: at, bytes: came, sites };
            memory.pages(&told, at);
        }
        memory
    }

    fn verdict(memory: &Memory) -> MemoryVerdict {
        memory.view(60 * SECOND).trends[0].verdict
    }

    #[test]
    fn a_floor_that_rises_grows_and_its_place_comes_first() {
        let memory = minute(|second| 50 * MIB + second * MIB, MIB);
        let view = memory.view(60 * SECOND);
        let trend = view.trends[0];
        assert_eq!(trend.verdict, MemoryVerdict::Grows);
        let (low, high) = trend.growth.unwrap();
        assert!(low <= 1_048_577.0 && high >= 1_048_575.0 && high < 2.0 * low, "{low} {high}");
        assert_eq!(view.sites[0].site, SiteId(7));
        assert!((trend.pages_in.unwrap() / 1_048_576.0 - 1.0).abs() < 0.1, "{trend:?}");
    }

    #[test]
    fn an_arena_at_its_high_water_mark_holds() {
        assert_eq!(verdict(&minute(|second| 170 * MIB - (second % 3) * 4096, 8192)), MemoryVerdict::Holds);
        assert_eq!(verdict(&minute(|second| (second * 20).min(170) * MIB, 4096)), MemoryVerdict::Holds);
    }

    #[test]
    fn while_pages_are_not_counted_nothing_is_said_of_them() {
        let mut memory = minute(|_| 50 * MIB, MIB);
        assert!(memory.view(60 * SECOND).trends[0].pages_in > Some(900_000.0));
        assert_eq!(memory.view(90 * SECOND).trends[0].pages_in, None);
        let at = 100 * SECOND;
        let told =
            Pages { pid: 1, kind: PageKind::Anon, since: at - SECOND, until: at, bytes: 3 * MIB, sites: Vec::new() };
        memory.pages(&told, at);
        let rate = memory.view(at + SECOND).trends[0].pages_in.unwrap();
        assert!((rate / 1_048_576.0 - 1.5).abs() < 0.1, "{rate}: the gap is not taken for silence");
    }

    #[test]
    fn what_comes_and_goes_at_one_level_turns_over() {
        assert_eq!(verdict(&minute(|second| (50 + second % 2 * 30) * MIB, 30 * MIB)), MemoryVerdict::TurnsOver);
    }

    #[test]
    fn little_seen_and_odd_movement_say_nothing() {
        let mut memory = Memory::new();
        for second in 1..8 {
            let at = second * SECOND;
            memory.level(&Level { pid: 1, resource: Resource::RssAnon, value: MIB, limit: None, at }, at);
        }
        let trend = memory.view(8 * SECOND).trends[0];
        assert_eq!((trend.verdict, trend.pages_in), (MemoryVerdict::NotEnough, None));
        let odd = minute(|second| (50 + (second / 4) * 7919 % 60) * MIB, MIB);
        assert_eq!(verdict(&odd), MemoryVerdict::NotEnough);
        assert!(Memory::new().view(SECOND).trends.is_empty());
    }

    #[test]
    fn places_without_end_are_bounded_and_old_ones_fade() {
        let mut memory = Memory::new();
        for number in 1..2000 {
            let sites = vec![PagesAt { site: SiteId(number), bytes: 10, trace: None, join: Join::None }];
            let told = Pages { pid: 1, kind: PageKind::Shmem, since: 0, until: SECOND, bytes: 10, sites };
            memory.pages(&told, SECOND);
        }
        assert!(memory.places.0.len() <= SITES + 1);
        assert_eq!(memory.view(SECOND).sites[0].site, SiteId(0), "the rest is counted as unknown");
        for at in [70 * SECOND, 140 * SECOND] {
            memory.pages(&Pages { pid: 1, kind: PageKind::Anon, since: 0, until: at, bytes: 0, sites: Vec::new() }, at);
        }
        assert!(memory.view(140 * SECOND).sites.is_empty());
    }
}
