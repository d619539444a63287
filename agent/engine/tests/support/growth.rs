//! Recordings of memory, threads and tasks that grow: two diseases, and what only looks like one.

use super::{PID, SECOND, Service, trace};
use snowshed_engine::model::{
    CpuTime, HoldingKind, Join, Level, Nanos, Observation, Owner, PageKind, Pages, PagesAt, Resource, SiteId,
    ThreadGroup, Threads,
};

type Lines = Vec<(Nanos, Observation)>;

const MIB: u64 = 1 << 20;
/// Between two looks, seconds.
const STEP: u64 = 2;

impl Service {
    fn level(&mut self, pid: u32, resource: Resource, value: u64, limit: Option<u64>) {
        let at = self.now;
        self.see(Observation::Level(Level { pid, resource, value, limit, at }));
    }

    /// It worked for so many milliseconds of each second.
    fn work(&mut self, pid: u32, ms: u64) {
        let (at, over_ns) = (self.now, STEP * SECOND);
        let used_ns = ms * 1_000_000 * STEP;
        self.see(Observation::CpuTime(CpuTime { pid, at, over_ns, used_ns, delay_ns: 0, throttled: None }));
    }

    /// Pages came in at these places: site, bytes, and the request that did it.
    fn pages(&mut self, pid: u32, sites: &[(u64, u64, u64)]) {
        let place = |(site, bytes, n): &(u64, u64, u64)| PagesAt {
            site: SiteId(*site),
            bytes: *bytes,
            trace: Some(trace(*n)),
            join: Join::ThreadContext,
        };
        let bytes = sites.iter().map(|site| site.1).sum();
        let (since, until) = (self.now - STEP * SECOND, self.now);
        let sites = sites.iter().filter(|site| site.1 > 0).map(place).collect();
        self.see(Observation::Pages(Pages { pid, kind: PageKind::Anon, since, until, bytes, sites }));
    }

    fn threads(&mut self, pid: u32, site: u64, live: u32) {
        self.thread_groups(pid, &[(site, live)]);
    }

    /// Threads by place; a place without any is not told of.
    fn thread_groups(&mut self, pid: u32, places: &[(u64, u32)]) {
        let group = |(site, live): &(u64, u32)| ThreadGroup {
            name: "worker-#".into(),
            site: SiteId(*site),
            live: *live,
            sampled: *live,
            running: 0,
            oldest: SECOND,
            newest: self.now,
            cpu_ns: 0,
            traces: Vec::new(),
            join: Join::None,
        };
        let groups = places.iter().filter(|(_, live)| *live > 0).map(group).collect();
        self.see(Observation::Threads(Threads { pid, at: self.now, groups, left_out: 0 }));
    }
}

/// A codec whose memory comes and goes; from second 60 to 130 each request also keeps two of its MiB.
pub(crate) fn memory_growth() -> Lines {
    let mut service = Service::start();
    for second in (4..180_u64).step_by(2) {
        service.at(second * SECOND);
        let kept = (second.clamp(60, 130) - 60) * 2 * MIB;
        let rss = 100 * MIB + second * 7 % 5 * MIB / 4 + kept;
        let leaks = (60..130).contains(&second);
        service.work(PID, 300);
        service.pages(PID, &[(7, 40 * MIB, second), (8, if leaks { 4 * MIB } else { 0 }, second)]);
        service.level(PID, Resource::CgroupMemory, rss + 20 * MIB, Some(512 * MIB));
        service.level(PID, Resource::HostMemory, 9_000 * MIB, Some(16_000 * MIB));
        service.level(PID, Resource::RssAnon, rss, None);
    }
    service.lines()
}

/// From second 60 to 130 a task is left behind each second, with a MiB of its own. Only their number is published.
pub(crate) fn task_leak() -> Lines {
    let mut service = Service::start();
    for second in (4..180_u64).step_by(2) {
        service.at(second * SECOND);
        let left = second.clamp(60, 130) - 60;
        let leaks = (60..130).contains(&second);
        service.work(PID, 300);
        service.pages(PID, &[(7, 30 * MIB, second), (9, if leaks { 2 * MIB } else { 0 }, second)]);
        service.level(PID, Resource::HostMemory, 9_000 * MIB, Some(16_000 * MIB));
        service.level(PID, Resource::RssAnon, (80 + left) * MIB, None);
        if second % 4 == 0 {
            service.level(PID, Resource::Tasks, 20 + second % 3 + left, None);
        }
    }
    service.lines()
}

/// From second 60 on a thread is left behind each second at one place; the service's pool stays.
pub(crate) fn thread_leak() -> Lines {
    let mut service = Service::start();
    for second in (4..140_u64).step_by(2) {
        service.at(second * SECOND);
        service.work(PID, 200);
        service.threads(PID, 12, 4 + u32::try_from(second.max(60) - 60).unwrap());
    }
    service.lines()
}

/// From second 60 on threads are left behind at a place that made none before, two each second.
pub(crate) fn thread_leak_new_place() -> Lines {
    let mut service = Service::start();
    for second in (4..140_u64).step_by(2) {
        service.at(second * SECOND);
        service.work(PID, 200);
        service.thread_groups(PID, &[(0, 4), (13, 2 * u32::try_from(second.max(60) - 60).unwrap())]);
    }
    service.lines()
}

/// Nine processes that grow and are well.
pub(crate) fn healthy_growth() -> Lines {
    let mut service = Service::start();
    let [warm, cache, collected, pool, kept, busy, served, stepped, lazy] =
        [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n| 700 + n);
    let mut connections = 0;
    for second in (4..200_u64).step_by(2) {
        service.at(second * SECOND);
        let (at, even) = (f64::from(u32::try_from(second).unwrap()), second % 4 == 0);
        if even {
            for pid in [cache, collected, pool, kept, served, stepped, lazy] {
                service.work(pid, 200);
            }
            // A service that was idle, and is used for the first time.
            service.work(busy, if second < 100 { 2 } else { 700 });
        }
        service.level(busy, Resource::RssAnon, (50 + (second.clamp(100, 180) - 100) * 2) * MIB, None);
        // A start that slows down.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a level of a recording")]
        let level = (400.0 * (1.0 - (-at / 60.0).exp())) as u64;
        service.level(warm, Resource::RssAnon, level * MIB, None);
        // A cache that fills in 40 seconds, long after the start.
        service.level(cache, Resource::RssAnon, (100 + (second.clamp(80, 120) - 80) * 8) * MIB, None);
        // A collected heap: a saw whose teeth take half a minute, while what is resident goes up to its tips.
        let tooth = second % 30 * 6;
        service.level(collected, Resource::RssAnon, (200 + if second < 30 { tooth } else { 180 }) * MIB, None);
        // A pool of threads that is made when it is needed.
        service.threads(pool, 3, 8 + u32::try_from(second.clamp(90, 120) - 90).unwrap() * 2);
        // One that is made with its first tasks, a thread with each.
        service.thread_groups(lazy, &[(0, 4), (5, u32::try_from(second.clamp(70, 120) - 70).unwrap())]);
        // An allocator that does not give back: what is in use stays.
        service.level(kept, Resource::RssAnon, (100 + second) * MIB, None);
        if even {
            service.level(collected, Resource::HeapInUse, (60 + tooth) * MIB, Some(1_000 * MIB));
            service.level(collected, Resource::Collections, second / 30, None);
            service.level(kept, Resource::HeapInUse, 40 * MIB, None);
        }
        // Two threads for each connection, while more and more clients come and stay.
        service.threads(served, 4, 4 + 2 * connections);
        if second % 8 == 0 {
            if second > 80 {
                connections += 1;
                service.hold(HoldingKind::TcpAccepted, SiteId(0), Owner::default());
            }
            service.snapshot_of(served);
        }
        // One step up.
        let step = if second < 100 { 100 * MIB } else { 600 * MIB };
        service.level(stepped, Resource::RssAnon, step, None);
    }
    service.lines()
}
