//! What the memory of a target does: does its floor rise, does it stay, and where do pages come in.
//!
//! Allocator retention is told from a leak by two facts together: a floor that rises goes on taking pages
//! at some place; an arena that keeps what it once used stays at its level, and hardly a page comes in. Where
//! the process publishes the heap that is in use, that decides. Invariant: growth is said only where the
//! slope's interval lies above zero.

mod heap;
mod places;

pub(crate) use places::Origin;

use crate::{
    forecast::growth,
    model::{Level, MemoryTrend, MemoryVerdict, MemoryView, Nanos, PageKind, Pages, Resource},
    rise::{GrowthConfig, Rise, rise},
    series::Series,
    window::{SECOND, Windows, seconds},
};
use heap::Heap;
use places::Places;

/// Over how long a floor is judged.
const FIT: Nanos = 90 * SECOND;
/// Fewer windows of two seconds are not enough to say that something stays.
const POINTS: usize = 6;
/// A longer silence means that pages were not counted.
const GAP: Nanos = 5 * SECOND;
/// A rise of less than this is not worth a word.
const LEAST: f64 = 1_048_576.0;
/// Staying means: within this share of the level.
const FLAT: f64 = 0.03;
/// Turning over means: so much of the level comes in each minute.
const TURNOVER: f64 = 0.05;

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

    fn trend(&self, kind: PageKind, now: Nanos, heap: Option<&Heap>) -> Option<MemoryTrend> {
        let level = self.floor.level()?;
        let points = self.floor.points(now.saturating_sub(FIT));
        let pages_in = self.pages_in(now);
        let (mut verdict, growth) = judge(&points, pages_in);
        if let Some(heap) = heap.filter(|heap| heap.is_less_than(level)) {
            let rises = || points.first().is_some_and(|first| heap.has_risen_with(&points, first.0));
            if verdict == MemoryVerdict::Holds || (verdict == MemoryVerdict::Grows && !rises()) {
                verdict = MemoryVerdict::Retains;
            }
        }
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
    heap: Heap,
    places: Places,
    /// Use and limit of the whole machine.
    machine: Option<(u64, u64)>,
    /// Use and limit of what the process may have of its own (`RLIMIT_DATA`).
    data: Option<(u64, u64)>,
    pub(crate) oom_kills: u64,
}

/// Bytes for a person.
pub(crate) fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

/// Memory that grows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Growing {
    pub(crate) kind: PageKind,
    /// Told by the process itself, not by its resident size.
    pub(crate) published: bool,
    pub(crate) rise: Rise,
    /// Where it comes from.
    pub(crate) origin: Option<Origin>,
    /// The limit that leaves least room: which, how much is used of it, and how much there is.
    pub(crate) limit: Option<(Resource, u64, u64)>,
}

impl Growing {
    /// Whether its limit is surely reached within so many seconds.
    pub(crate) fn ends_within(&self, seconds: f64) -> bool {
        self.eta().is_some_and(|eta| eta.1 < seconds)
    }

    /// When the limit is reached: earliest and latest, seconds.
    pub(crate) fn eta(&self) -> Option<(f64, f64)> {
        let (_, level, limit) = self.limit?;
        #[expect(clippy::cast_precision_loss, reason = "bytes, for an estimate")]
        let room = limit.saturating_sub(level) as f64;
        self.rise.seconds_to(room)
    }
}

impl Memory {
    /// Of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            told: MemoryView::default(),
            own: Track::new(),
            shared: Track::new(),
            heap: Heap::default(),
            places: Places::default(),
            machine: None,
            data: None,
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
            Resource::AddressSpaceData => {
                self.told.address_space_data = value;
                self.data = told.limit.map(|limit| (told.value, limit));
            }
            Resource::HostMemory => self.machine = told.limit.map(|limit| (told.value, limit)),
            Resource::HeapInUse => {
                self.told.heap = Some((told.value, told.limit));
                self.heap.level(told, at);
            }
            Resource::Collections => {
                self.told.collections = value;
                self.heap.collections(told.value, at);
            }
            Resource::MajorFaults => self.told.major_faults = value,
            Resource::CgroupMemory => self.told.cgroup = Some((told.value, told.limit)),
            Resource::Fds | Resource::RssFile | Resource::Threads | Resource::Tasks => {}
        }
    }

    /// Takes pages that came in.
    pub(crate) fn pages(&mut self, told: &Pages, until: Nanos) {
        let track = if told.kind == PageKind::Anon { &mut self.own } else { &mut self.shared };
        // After a gap the minute before is not known: counting begins anew.
        let gap = track.told.is_none_or(|told_until| told.since > told_until.saturating_add(GAP));
        if gap {
            track.counted = Some(told.since.min(until));
            self.places.begin(told.kind, told.since.min(until));
            track.came = Windows::new(2 * SECOND, 32);
        }
        track.told = Some(until);
        if let Some(sum) = track.came.at(until) {
            *sum = sum.saturating_add(told.bytes);
        }
        self.places.take(told, until);
    }

    /// The growth that its memory is in, if it is one. Where the process publishes its heap, what grows outside
    /// of it is its allocator's.
    pub(crate) fn growing(
        &self,
        now: Nanos,
        config: &GrowthConfig,
        work: impl Fn(Nanos, Nanos) -> Option<f64> + Copy,
    ) -> Option<Growing> {
        let rising = |series: &Series| rise(series, config.least_bytes, config, work);
        let (kind, published, rise) = if self.heap.is_fresh(now) {
            let told = rising(&self.heap.floor).filter(|found| self.heap.was_collected(found.since));
            let own =
                || {
                    let found = rising(&self.own.floor)?;
                    let points = [(seconds(found.since), found.from), (seconds(now), found.to)];
                    (self.heap.has_risen_with(&points, points[0].0) && self.heap.was_collected(found.since))
                        .then_some((PageKind::Anon, false, found))
                };
            told.map(|found| (PageKind::Anon, true, found)).or_else(own)
        } else {
            rising(&self.own.floor).map(|found| (PageKind::Anon, false, found))
        }
        .or_else(|| rising(&self.shared.floor).map(|found| (PageKind::Shmem, false, found)))?;
        let origin = self.places.origin(kind, rise.since, now);
        Some(Growing { kind, published, rise, origin, limit: self.limit(now, published) })
    }

    /// Where pages came in more since a moment than before.
    pub(crate) fn origin(&self, since: Nanos, now: Nanos) -> Option<Origin> {
        self.places.origin(PageKind::Anon, since, now)
    }

    /// How much more there is of its own than at a moment, bytes.
    #[expect(clippy::cast_precision_loss, reason = "bytes, for a comparison")]
    pub(crate) fn kept_since(&self, since: Nanos) -> f64 {
        let (then, now) = (self.own.floor.before(since), self.own.floor.level());
        then.zip(now).map_or(0.0, |(then, now)| now as f64 - then as f64)
    }

    /// The limit beyond which the kernel kills, of cgroup or machine, that leaves least room: which, how much is used
    /// of it, and how much there is.
    pub(crate) fn nearest_limit(&self) -> Option<(Resource, u64, u64)> {
        let cgroup = self.told.cgroup.and_then(|(used, limit)| Some((Resource::CgroupMemory, used, limit?)));
        let machine = self.machine.map(|(used, limit)| (Resource::HostMemory, used, limit));
        cgroup.into_iter().chain(machine).min_by_key(|(_, used, limit)| limit.saturating_sub(*used))
    }

    /// The limit that leaves least room; `None` where none is known.
    fn limit(&self, now: Nanos, published: bool) -> Option<(Resource, u64, u64)> {
        let cgroup = self.told.cgroup.and_then(|(used, limit)| Some((Resource::CgroupMemory, used, limit?)));
        let data = self.data.map(|(used, limit)| (Resource::AddressSpaceData, used, limit));
        let machine = self.machine.map(|(used, limit)| (Resource::HostMemory, used, limit));
        let heap = self.told.heap.filter(|_| published && self.heap.is_fresh(now));
        let heap = heap.and_then(|(used, limit)| Some((Resource::HeapInUse, used, limit?)));
        let all = [cgroup, data, machine, heap];
        all.into_iter().flatten().min_by_key(|(_, used, limit)| limit.saturating_sub(*used))
    }

    /// The picture.
    pub(crate) fn view(&self, now: Nanos) -> MemoryView {
        let own = self.own.trend(PageKind::Anon, now, Some(&self.heap).filter(|heap| heap.is_fresh(now)));
        let shared = self.shared.trend(PageKind::Shmem, now, None).filter(|trend| trend.level > 0);
        MemoryView {
            oom_kills: self.oom_kills,
            trends: own.into_iter().chain(shared).collect(),
            sites: self.places.view(now),
            // What is told no more is not known any more.
            heap: self.told.heap.filter(|_| self.heap.is_fresh(now)),
            ..self.told.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Join, PagesAt, SiteId};

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
    fn what_an_allocator_keeps_is_told_by_the_heap_that_is_in_use() {
        let heap = |value, level: fn(u64) -> u64| {
            let mut memory = minute(level, 4096);
            let at = 60 * SECOND;
            memory.level(&Level { pid: 1, resource: Resource::HeapInUse, value, limit: None, at }, at);
            memory
        };
        assert_eq!(verdict(&heap(2 * MIB, |_| 170 * MIB)), MemoryVerdict::Retains);
        assert_eq!(verdict(&heap(160 * MIB, |_| 170 * MIB)), MemoryVerdict::Holds);
        assert_eq!(verdict(&heap(2 * MIB, |second| (50 + second) * MIB)), MemoryVerdict::Retains);
        let later = heap(2 * MIB, |_| 170 * MIB).view(120 * SECOND);
        assert_eq!((later.heap, later.trends[0].verdict), (None, MemoryVerdict::Holds), "it is told no more");
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
}
