//! What the session tells, added up by place. Bounded: so many places of a kind; beyond, what comes adds to the place
//! that is not known.

use super::{Kind, stacks::Place};
use crate::render::wire_name;
use snowshed_ebpf::Session;
use snowshed_engine::model::{Nanos, Observation, PageKind, Pid, SiteId, TraceId};
use std::collections::{BTreeMap, HashMap};

/// Places of a kind.
const MOST: usize = 4096;

/// Sums, by kind.
#[derive(Debug)]
pub(super) struct Gathered {
    pid: Pid,
    memory: BTreeMap<Place, u64>,
    locks: BTreeMap<Place, u64>,
    threads: BTreeMap<Place, u64>,
    /// A stall is told again while it goes on.
    stalls: HashMap<(Pid, Nanos), (Place, u64)>,
}

fn add(sums: &mut BTreeMap<Place, u64>, place: Place, value: u64) {
    let place = if sums.len() < MOST || sums.contains_key(&place) {
        place
    } else {
        Place { site: SiteId(0), trace: None, label: String::new() }
    };
    let sum = sums.entry(place).or_default();
    *sum = sum.saturating_add(value);
}

fn place(site: SiteId, trace: Option<TraceId>, label: impl Into<String>) -> Place {
    Place { site, trace, label: label.into() }
}

impl Gathered {
    pub(super) fn new(pid: Pid) -> Self {
        Self { pid, memory: BTreeMap::new(), locks: BTreeMap::new(), threads: BTreeMap::new(), stalls: HashMap::new() }
    }

    /// Takes what the session told.
    pub(super) fn take(&mut self, told: &Observation) {
        match told {
            Observation::Pages(pages) if pages.pid == self.pid => {
                let label = if pages.kind == PageKind::Anon { "" } else { "shared memory" };
                let known: u64 = pages.sites.iter().map(|at| at.bytes).fold(0, u64::saturating_add);
                for at in &pages.sites {
                    add(&mut self.memory, place(at.site, at.trace, label), at.bytes);
                }
                add(&mut self.memory, place(SiteId(0), None, label), pages.bytes.saturating_sub(known));
            }
            Observation::LockWait(wait) if wait.pid == self.pid => {
                add(&mut self.locks, place(wait.site, None, &wait.thread), wait.wait_ns);
            }
            Observation::Threads(threads) if threads.pid == self.pid => {
                self.threads.clear();
                for group in &threads.groups {
                    let trace = group.traces.first().copied();
                    add(&mut self.threads, place(group.site, trace, &group.name), u64::from(group.live));
                }
                add(&mut self.threads, place(SiteId(0), None, ""), u64::from(threads.left_out));
            }
            Observation::Stall(stall) if stall.pid == self.pid => {
                let key = (stall.tid, stall.since);
                if self.stalls.len() >= MOST && !self.stalls.contains_key(&key) {
                    return;
                }
                let doing = stall.syscall.as_deref().filter(|_| !stall.on_cpu);
                let label = doing.map_or_else(|| "computes".to_owned(), |call| format!("blocks in {call}"));
                let told = self.stalls.entry(key).or_insert_with(|| (place(stall.site, stall.trace, label.clone()), 0));
                if told.0.site == SiteId(0) {
                    told.0 = place(stall.site, stall.trace, label);
                }
                told.1 = told.1.max(stall.until.saturating_sub(stall.since));
            }
            _ => {}
        }
    }

    /// What came together of a kind; descriptors are asked for now.
    pub(super) fn sites(self, kind: Kind, session: &mut Session) -> BTreeMap<Place, u64> {
        match kind {
            Kind::Memory => self.memory,
            Kind::Lock => self.locks,
            Kind::Task => self.threads,
            Kind::Stall => {
                let mut sums = BTreeMap::new();
                self.stalls.into_values().for_each(|(place, time)| add(&mut sums, place, time));
                sums
            }
            // Sampled elsewhere.
            Kind::Cpu => BTreeMap::new(),
            Kind::Fd => {
                let mut sums = BTreeMap::new();
                for held in session.holdings(self.pid).map(|held| held.items).unwrap_or_default() {
                    add(&mut sums, place(held.site, held.owner.trace, wire_name(held.kind)), 1);
                }
                sums
            }
        }
    }
}
