//! Pages that came in, process by process: counts from the kernel, places from its samples.
//!
//! Invariant: bytes are counted; only how they divide among places is estimated, and pages that no sample stands
//! for stay without a place. Cost: one map look-up per process and period, one unwound stack per sample.

use crate::{
    probes::{self, Look},
    wire::{GrowthRecord, PAGES_ANON, PAGES_SHMEM},
};
use snowshed_engine::model::{Join, Nanos, Observation, PageKind, Pages, PagesAt, Pid, SiteId, TraceId};
use std::collections::{BTreeMap, HashMap};

const PAGE: u64 = 4096;
/// Samples taken off the ring in one look.
const MOST: usize = 256;
/// Stacks of all processes in one period, and of one.
const STACKS: (u32, u32) = (80, 16);
/// Places of a process between two records.
const PLACES: usize = 64;

/// What is known of a process since its last record.
struct Counted {
    host: u32,
    /// Counts at the last record.
    before: [u64; 2],
    /// Counts at the last period.
    last: [u64; 2],
    since: Nanos,
    /// When the counts were last asked for.
    turned: Nanos,
    /// Pages that samples stand for.
    places: HashMap<(usize, SiteId), At>,
}

#[derive(Clone, Copy)]
struct At {
    pages: u64,
    trace: Option<TraceId>,
    join: Join,
}

/// All processes.
#[derive(Default)]
pub(super) struct Places {
    processes: BTreeMap<Pid, Counted>,
    /// Nothing is counted at present: the hook is off, or was refused.
    blind: bool,
    period: u32,
}

impl Places {
    /// Begins a period: follows the targets, takes the samples, allows new ones.
    pub(super) fn turn(&mut self, look: &mut Look<'_>) {
        let Some(kernel) = look.kernel.as_deref_mut() else {
            self.blind = true;
            return;
        };
        if std::mem::take(&mut self.blind) {
            // What came in meanwhile was not counted: all begins anew.
            self.processes.values().for_each(|counted| kernel.forget_pages(counted.host));
            self.processes.clear();
        }
        self.processes.retain(|pid, counted| {
            let stays = look.targets.get(*pid).is_some_and(|watched| watched.host == counted.host);
            if !stays {
                kernel.forget_pages(counted.host);
            }
            stays
        });
        let (targets, sites, now) = (look.targets, &mut *look.sites, look.now);
        let processes = &mut self.processes;
        kernel.growths(MOST, |record| {
            let Some(pid) = targets.inner(record.stack.host_tgid) else { return };
            let Some(counted) = processes.get_mut(&pid) else { return };
            let site = sites.touching(pid, &record.stack, now);
            counted.add(record, site);
        });
        self.period = self.period.wrapping_add(1);
        let most = u32::try_from(look.targets.iter().count()).unwrap_or(u32::MAX).max(1);
        let tokens = (STACKS.0 / most).clamp(1, STACKS.1);
        for watched in look.targets.iter() {
            if !self.processes.contains_key(&watched.pid) && kernel.count_pages(watched.host) {
                kernel.allow_growths(watched.host, tokens, self.period);
                let fresh = Counted {
                    host: watched.host,
                    before: [0; 2],
                    last: [0; 2],
                    since: now,
                    turned: now,
                    places: HashMap::new(),
                };
                self.processes.insert(watched.pid, fresh);
            } else if let Some(counted) = self.processes.get_mut(&watched.pid)
                // Who has not run since got none.
                && !look.targets.is_asleep(watched.pid, std::mem::replace(&mut counted.turned, now))
                && let Some(pages) = kernel.pages(watched.host)
                && pages != counted.last
            {
                counted.last = pages;
                // Only where something came in: an idle process keeps what it has.
                kernel.allow_growths(watched.host, tokens, self.period);
            }
        }
    }

    /// What came in since the last call, for every process that is counted.
    pub(super) fn tell(&mut self, now: Nanos, out: &mut Vec<Observation>) {
        if self.blind {
            return;
        }
        for (pid, counted) in &mut self.processes {
            for (index, kind) in [(PAGES_ANON, PageKind::Anon), (PAGES_SHMEM, PageKind::Shmem)] {
                let pages = counted.last[index].saturating_sub(counted.before[index]);
                let sites = divide(pages, &counted.places, index);
                let (since, until, bytes) = (counted.since, now, pages * PAGE);
                out.push(Observation::Pages(Pages { pid: *pid, kind, since, until, bytes, sites }));
            }
            counted.before = counted.last;
            counted.since = now;
            counted.places.clear();
        }
    }
}

impl Counted {
    fn add(&mut self, record: &GrowthRecord, site: SiteId) {
        let key = (if record.kind as usize == PAGES_SHMEM { PAGES_SHMEM } else { PAGES_ANON }, site);
        let full = self.places.len() >= PLACES && !self.places.contains_key(&key);
        let key = if full { (key.0, SiteId(0)) } else { key };
        let [high, low] = record.context.trace.map(u64::to_ne_bytes);
        let trace = TraceId::from_bytes(&[high, low].concat());
        let join = if trace.is_some() { probes::join(record.join) } else { Join::None };
        let at = self.places.entry(key).or_insert(At { pages: 0, trace, join });
        at.pages = at.pages.saturating_add(record.pages);
        if trace.is_some() {
            (at.trace, at.join) = (trace, join);
        }
    }
}

/// Divides counted pages among the places of a kind as its samples do.
fn divide(pages: u64, places: &HashMap<(usize, SiteId), At>, kind: usize) -> Vec<PagesAt> {
    let of_kind = || places.iter().filter(|((found, _), _)| *found == kind);
    let sampled: u64 = of_kind().map(|(_, at)| at.pages).fold(0, u64::saturating_add);
    if sampled == 0 {
        return Vec::new();
    }
    let share = |part: u64| u64::try_from(u128::from(pages) * u128::from(part) / u128::from(sampled)).unwrap_or(0);
    of_kind()
        .map(|((_, site), at)| PagesAt { site: *site, bytes: share(at.pages) * PAGE, trace: at.trace, join: at.join })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_pages_divide_as_the_samples_do() {
        let at = |pages| At { pages, trace: None, join: Join::None };
        let places = HashMap::from([
            ((PAGES_ANON, SiteId(1)), at(30)),
            ((PAGES_ANON, SiteId(2)), at(10)),
            ((PAGES_SHMEM, SiteId(1)), at(99)),
        ]);
        let mut told = divide(4_000, &places, PAGES_ANON);
        told.sort_by_key(|at| at.site);
        let bytes: Vec<u64> = told.iter().map(|at| at.bytes / PAGE).collect();
        assert_eq!(bytes, [3_000, 1_000]);
        assert!(divide(4_000, &HashMap::new(), PAGES_ANON).is_empty(), "no sample, no place");
        assert_eq!(divide(u64::MAX / PAGE, &places, PAGES_SHMEM)[0].bytes, u64::MAX / PAGE * PAGE);
    }
}
