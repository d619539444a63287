//! Threads and tasks that only become more, by origin.
//!
//! A pool grows to its size and a server has a thread or two for each connection; neither is a pile. So an origin
//! counts only while it rises steadily, and by more than twice what the load rose meanwhile. An origin that comes
//! up while others are told had nothing alive until then; as a pool is made just so, a thread with each of its
//! first tasks, it must at first rise above what pools have. Invariant: threads are counted by the kernel, tasks
//! by the process itself, and the two are never added up. Bounded: 96 origins.

use crate::{
    model::{Nanos, SiteId, TaskGroup, ThreadGroup, TraceId},
    rise::{GrowthConfig, Rise, rise},
    series::Series,
    window::SECOND,
};
use std::collections::BTreeMap;

/// Origins that are followed.
const MOST: usize = 96;
/// An origin that has had nothing alive for so long is forgotten.
const FORGET: Nanos = 60 * SECOND;
/// The rise of a connection or request explains so many threads or tasks.
const EACH: f64 = 2.0;
/// Pools are seldom larger: up to here a new origin is believed to pile up only once it has risen for as long as
/// whatever rises from the start on.
pub(super) const POOL: f64 = 64.0;
/// The same for a suspicion.
pub(super) const SUSPECT: f64 = 32.0;

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    /// Threads, by the kernel.
    Threads,
    /// Tasks of its own scheduler, by the process.
    Tasks,
}

/// An origin that piles up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pile {
    pub(crate) counted: Counted,
    /// Where they are made; 0: not known.
    pub(crate) site: SiteId,
    /// Name of the threads, or what most of the tasks do; empty: not known.
    pub(crate) name: String,
    pub(crate) live: u64,
    pub(crate) rise: Rise,
    /// Requests that their creators worked for, newest last.
    pub(crate) traces: Vec<TraceId>,
}

impl Pile {
    /// What they are.
    pub(crate) fn noun(&self) -> &'static str {
        if self.counted == Counted::Threads { "threads" } else { "tasks" }
    }
}

#[derive(Debug)]
struct Origin {
    floor: Series,
    alive: Nanos,
    /// It had nothing alive before.
    new: bool,
    name: String,
    traces: Vec<TraceId>,
}

type Key = (Counted, SiteId, String);

/// All origins of a target.
#[derive(Debug, Default)]
pub(super) struct Piles {
    origins: BTreeMap<Key, Origin>,
    /// Of threads and of tasks by origin: the first and last of the looks that told of all of them.
    whole: [Option<(Nanos, Nanos)>; 2],
}

impl Piles {
    /// Takes the threads of a moment; `left_out`: there are more.
    pub(super) fn threads(&mut self, groups: &[ThreadGroup], left_out: bool, at: Nanos) {
        self.absent(Counted::Threads, at, |key| groups.iter().any(|group| is_of(key, group)));
        for group in groups {
            let name = if group.site.0 == 0 { group.name.clone() } else { String::new() };
            let key = (Counted::Threads, group.site, name);
            let newest_last = group.traces.iter().rev();
            self.live(key, group.live.into(), &group.name, newest_last, at);
        }
        self.looked(Counted::Threads, left_out, at);
    }

    /// Takes the tasks of a moment; `left_out`: there are more.
    pub(super) fn tasks(&mut self, groups: &[TaskGroup], left_out: bool, at: Nanos) {
        self.absent(Counted::Tasks, at, |key| key.1.0 == 0 || groups.iter().any(|group| group.site == key.1));
        for group in groups.iter().filter(|group| group.site.0 != 0) {
            self.live((Counted::Tasks, group.site, String::new()), group.live, &group.state, [].iter(), at);
        }
        self.looked(Counted::Tasks, left_out, at);
    }

    /// Takes how many tasks there are in all.
    pub(super) fn all_tasks(&mut self, live: u64, at: Nanos) {
        self.live((Counted::Tasks, SiteId(0), String::new()), live, "", [].iter(), at);
    }

    fn live<'a>(&mut self, key: Key, live: u64, name: &str, traces: impl Iterator<Item = &'a TraceId>, at: Nanos) {
        if self.origins.len() >= MOST && !self.origins.contains_key(&key) {
            self.origins.retain(|_, origin| at.saturating_sub(origin.alive) < FORGET);
            if self.origins.len() >= MOST {
                self.whole[usize::from(key.0 == Counted::Tasks)] = None;
                return;
            }
        }
        // The sum of all tasks is told apart from the groups: when it is new, nothing is known of what was before.
        let whole = self.whole[usize::from(key.0 == Counted::Tasks)];
        let whole = whole.filter(|_| key.0 == Counted::Threads || key.1.0 != 0);
        let origin = self.origins.entry(key).or_insert_with(|| Origin::new(whole, at));
        origin.floor.record(at, live);
        origin.alive = at;
        name.clone_into(&mut origin.name);
        for trace in traces.filter(|_| live > 0) {
            origin.traces.retain(|known| known != trace);
            origin.traces.push(*trace);
            let more = origin.traces.len().saturating_sub(16);
            origin.traces.drain(..more);
        }
    }

    fn looked(&mut self, counted: Counted, left_out: bool, at: Nanos) {
        let whole = &mut self.whole[usize::from(counted == Counted::Tasks)];
        *whole = (!left_out).then_some((whole.map_or(at, |(first, _)| first), at));
    }

    /// Origins that are not told of any more have nothing alive.
    fn absent(&mut self, counted: Counted, at: Nanos, is_told: impl Fn(&Key) -> bool) {
        for (_, origin) in self.origins.iter_mut().filter(|(key, _)| key.0 == counted && !is_told(key)) {
            origin.floor.record(at, 0);
        }
        self.origins.retain(|_, origin| at.saturating_sub(origin.alive) < FORGET);
    }

    /// Those that pile up, largest first, new ones only above `pool`; `load` tells how many requests and connections
    /// came to it since a time.
    pub(super) fn growing(
        &self,
        config: &GrowthConfig,
        pool: f64,
        work: impl Fn(Nanos, Nanos) -> Option<f64> + Copy,
        load: impl Fn(Nanos) -> f64,
    ) -> Vec<Pile> {
        let pile = |(key, origin): (&Key, &Origin)| {
            let rise = rise(&origin.floor, config.least_tasks, config, work)?;
            let explained = rise.amount() <= EACH * load(rise.since).max(0.0);
            let lasted = origin.alive.saturating_sub(rise.since) >= config.from_start_seconds.saturating_mul(SECOND);
            if origin.new && !lasted && rise.amount() < pool {
                return None;
            }
            let live = origin.floor.level().unwrap_or(0);
            let (name, traces) = (origin.name.clone(), origin.traces.clone());
            (!explained).then_some(Pile { counted: key.0, site: key.1, name, live, rise, traces })
        };
        let mut piles: Vec<Pile> = self.origins.iter().filter_map(pile).collect();
        // Who tells of tasks by origin need not be told that there are more in all.
        if piles.iter().any(|pile| pile.counted == Counted::Tasks && pile.site.0 != 0) {
            piles.retain(|pile| pile.counted != Counted::Tasks || pile.site.0 != 0);
        }
        piles.sort_by(|a, b| b.rise.amount().total_cmp(&a.rise.amount()));
        piles
    }
}

impl Origin {
    /// One that is told of for the first time, and was not among all those that were told of meanwhile.
    fn new(whole: Option<(Nanos, Nanos)>, at: Nanos) -> Self {
        let mut floor = Series::new();
        let Some((first, last)) = whole else {
            return Self { floor, alive: at, new: false, name: String::new(), traces: Vec::new() };
        };
        // For so long it was not there, else it would not have been forgotten.
        let mut empty = first.max(at.saturating_sub(FORGET));
        while empty < last {
            floor.record(empty, 0);
            empty = empty.saturating_add(2 * SECOND);
        }
        floor.record(last, 0);
        Self { floor, alive: at, new: true, name: String::new(), traces: Vec::new() }
    }
}

fn is_of(key: &Key, group: &ThreadGroup) -> bool {
    key.1 == group.site && (group.site.0 != 0 || key.2 == group.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Join;

    fn threads(site: u64, name: &str, live: u32) -> ThreadGroup {
        ThreadGroup {
            name: name.into(),
            site: SiteId(site),
            live,
            sampled: live,
            running: 0,
            oldest: 1,
            newest: 1,
            cpu_ns: 0,
            traces: vec![TraceId([u8::try_from(live % 250 + 1).unwrap(); 16])],
            join: Join::Inherited,
        }
    }

    /// Two minutes, one look a second.
    fn piles(live: impl Fn(u32) -> u32, load: f64) -> Vec<Pile> {
        let mut piles = Piles::default();
        for second in 1..=120_u32 {
            let groups = [threads(7, "w", live(second)), threads(0, "main", 1)];
            piles.threads(&groups, false, u64::from(second) * SECOND);
        }
        piles.growing(&GrowthConfig::default(), POOL, |_, _| Some(1.0), |_| load)
    }

    #[test]
    fn threads_that_only_become_more_pile_up_at_their_place() {
        let found = piles(|second| 4 + second.saturating_sub(40), 0.0);
        let [pile] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((pile.counted, pile.site, pile.name.as_str(), pile.live), (Counted::Threads, SiteId(7), "w", 84));
        assert_eq!((pile.traces.len(), pile.traces.last()), (16, Some(&TraceId([85; 16]))));
        assert_eq!(piles(|second| 4 + second.saturating_sub(40), 50.0), [], "a thread or two for each connection");
        assert_eq!(piles(|second| 4 + (second.saturating_sub(40) * 4).min(64), 0.0), [], "a pool");
    }

    /// An origin that comes up in the second minute, with so many alive so many seconds after; looked at once a second.
    fn comes_up(left_out: bool, until: u64, live: impl Fn(u64) -> u64) -> Vec<Pile> {
        let mut piles = Piles::default();
        for second in 1..=until {
            let (mut groups, mut tasks) = (vec![threads(0, "main", 3)], Vec::new());
            let live = live(second.saturating_sub(60));
            if live > 0 {
                groups.push(threads(7, "main", u32::try_from(live).unwrap()));
                tasks.push(TaskGroup { site: SiteId(9), live, state: "chan receive".into() });
            }
            piles.threads(&groups, left_out, second * SECOND);
            piles.tasks(&tasks, left_out, second * SECOND);
        }
        piles.growing(&GrowthConfig::default(), POOL, |_, _| Some(1.0), |_| 0.0)
    }

    #[test]
    fn an_origin_that_comes_up_had_nothing_before() {
        let found = comes_up(false, 112, |second| second * 2);
        let told: Vec<_> = found.iter().map(|pile| (pile.counted, pile.site.0)).collect();
        assert_eq!(told, [(Counted::Threads, 7), (Counted::Tasks, 9)]);
        assert!(
            found.iter().all(|pile| (58..=66).contains(&(pile.rise.since / SECOND)) && pile.rise.from < 12.0),
            "{found:?}"
        );
        assert_eq!(comes_up(true, 112, |second| second * 2), [], "it may have been among those left out");
        assert_eq!(comes_up(true, 280, |second| second * 2).len(), 2);
    }

    #[test]
    fn a_pool_that_is_made_with_its_first_tasks_is_none() {
        for until in 61..250 {
            for pool in [16, 32, 50] {
                assert_eq!(comes_up(false, until, |second| (second * 2 / 3).min(pool)), [], "{pool} {until}");
                assert_eq!(comes_up(false, until, |second| (second * 4).min(pool)), [], "{pool} {until}");
            }
        }
        assert_eq!(comes_up(false, 260, |second| second / 3).len(), 2, "it never stops");
    }

    #[test]
    fn tasks_by_origin_are_told_instead_of_their_sum() {
        let mut all = Piles::default();
        let tell = |all: &mut Piles, by_origin: bool| {
            for second in 1..=120_u64 {
                let live = 5 + second.saturating_sub(40);
                all.all_tasks(live + 10, second * SECOND);
                let group = TaskGroup { site: SiteId(9), live, state: "chan receive".into() };
                all.tasks(&[group][..usize::from(by_origin)], false, second * SECOND);
            }
            all.growing(&GrowthConfig::default(), POOL, |_, _| Some(1.0), |_| 0.0)
        };
        let found = tell(&mut all, true);
        assert!(
            matches!(found.as_slice(), [pile] if pile.site == SiteId(9) && pile.name == "chan receive"),
            "{found:?}"
        );
        let found = tell(&mut Piles::default(), false);
        assert!(matches!(found.as_slice(), [pile] if pile.site == SiteId(0)), "{found:?}");
    }

    #[test]
    fn origins_without_end_are_bounded_and_forgotten() {
        let mut piles = Piles::default();
        for second in 1..500_u64 {
            let groups: Vec<_> = (0..5).map(|more| threads(second * 5 + more, "x", 1)).collect();
            piles.threads(&groups, false, second * SECOND);
            assert!(piles.origins.len() <= MOST);
        }
        piles.threads(&[], false, 900 * SECOND);
        assert!(piles.origins.is_empty());
    }
}
