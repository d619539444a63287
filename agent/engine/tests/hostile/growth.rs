//! Memory, threads and tasks that mostly rise, so that growth is found, and sometimes are anything.

use super::Random;
use snowshed_engine::model::{
    CpuTime, Level, Nanos, Observation, PageKind, Pages, PagesAt, Resource, SiteId, TaskGroup, TaskGroups, ThreadGroup,
    Threads,
};

impl Random {
    pub(super) fn level(&mut self, pid: u32, at: Nanos) -> Observation {
        let all = [
            Resource::RssAnon,
            Resource::RssShmem,
            Resource::HeapInUse,
            Resource::Tasks,
            Resource::Collections,
            Resource::HostMemory,
            Resource::CgroupMemory,
            Resource::AddressSpaceData,
        ];
        let resource = all[usize::try_from(self.below(8)).unwrap()];
        // Mostly it rises with time, so that growth is found.
        let value = if self.chance(6) { self.next() } else { at / 1_000 };
        let limit = if self.chance(2) { Some(self.next()) } else { None };
        Observation::Level(Level { pid, resource, value, limit, at })
    }

    pub(super) fn pages(&mut self, pid: u32, at: Nanos) -> Observation {
        let place = |_| PagesAt {
            site: SiteId(self.below(9)),
            bytes: self.next() >> 1,
            trace: Some(self.trace()),
            join: self.join(),
        };
        let sites = (0..3).map(place).collect();
        let (since, kind) = (self.time(at), if self.chance(3) { PageKind::Shmem } else { PageKind::Anon });
        Observation::Pages(Pages { pid, kind, since, until: at, bytes: self.amount(), sites })
    }

    pub(super) fn tasks(&mut self, pid: u32, at: Nanos) -> Observation {
        let live = if self.chance(6) { self.next() } else { at / 1_000_000_000 };
        let site = SiteId(self.below(4));
        match self.below(3) {
            0 => Observation::CpuTime(CpuTime {
                pid,
                at,
                over_ns: self.next(),
                used_ns: self.next(),
                delay_ns: self.next(),
                throttled: None,
            }),
            1 => {
                let group = TaskGroup { site, live, state: self.text() };
                Observation::TaskGroups(TaskGroups { pid, at, groups: vec![group], left_out: self.next() })
            }
            _ => {
                let live = u32::try_from(live & 0xffff_ffff).unwrap();
                let group = ThreadGroup {
                    name: self.text(),
                    site,
                    live,
                    sampled: 0,
                    running: 0,
                    oldest: self.time(at),
                    newest: at,
                    cpu_ns: self.next(),
                    traces: vec![self.trace()],
                    join: self.join(),
                };
                Observation::Threads(Threads { pid, at, groups: vec![group], left_out: u32::MAX })
            }
        }
    }
}
