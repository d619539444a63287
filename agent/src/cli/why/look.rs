//! What is gathered while looking, and the report made of it.
//!
//! Invariant: bounded. Connections and threads are counted in maps of fixed size; the engine keeps the rest.

use super::{loops, names, scrape::Scraping};
use crate::{
    clock::Clock,
    render::{Passport, Sites, fds, incident::Record, memory, scrape, tasks, tcp},
};
use serde::Serialize;
use snowshed_ebpf::{ProbeStatus, Session};
use snowshed_engine::{
    Engine,
    config::{EngineConfig, GrowthConfig},
    model::{
        Incident, IncidentId, LoopTime, Observation, Output, Pid, Resource, SiteId, TargetView, TasksView, TraceId,
        Verdict, View,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};
use uuid::Uuid;

/// Connections and threads that are told apart.
const KEPT: usize = 256;
/// Traces that are kept of a connection.
const TRACES: usize = 8;
/// This many retransmits are a finding; a few happen on any network.
const RETRANSMITS: u64 = 10;

/// So is waiting for locks for this share of the time, all threads added up.
const LOCKED: f64 = 0.2;

/// Gathers.
pub(super) struct Look {
    pid: Pid,
    clock: Clock,
    engine: Engine,
    out: Vec<Output>,
    seen: Vec<Observation>,
    view: View,
    incidents: BTreeMap<IncidentId, Incident>,
    loops: HashMap<(Pid, Pid), (u64, u64, u64)>,
    instances: loops::Gathered,
    connections: HashMap<(SocketAddr, SocketAddr), (u64, BTreeSet<TraceId>)>,
    /// First and last value of a level, by process.
    levels: HashMap<(Pid, Resource), (u64, u64)>,
    fds: HashMap<Pid, (u64, u64)>,
    lost: u64,
    exited: bool,
    scraping: Scraping,
}

/// How long something must grow before `why` says so: whoever asks looks for a short time.
fn patience(time: Duration) -> GrowthConfig {
    let from_start_seconds = (time.as_secs() * 6 / 10).clamp(18, 180);
    GrowthConfig {
        least_bytes: 16 << 20,
        least_tasks: 16,
        after_calm_seconds: from_start_seconds.min(45),
        from_start_seconds,
        // Whoever asks wants to know it however far away the limit is.
        open_below_seconds: f64::MAX,
        ..GrowthConfig::default()
    }
}

/// What is told.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) pid: Pid,
    pub(super) seconds: f64,
    pub(super) asked_seconds: f64,
    pub(super) found: bool,
    pub(super) exited: bool,
    pub(super) lost_events: u64,
    pub(super) incidents: Vec<Record>,
    pub(super) processes: Vec<Process>,
    pub(super) retransmits: Vec<Retransmits>,
    /// What the machine went short of meanwhile.
    pub(super) host: Vec<memory::Shortage>,
    pub(super) probes: Vec<ProbeStatus>,
    /// The pages that `--scrape` named.
    pub(super) scrapes: Vec<scrape::Record>,
}

/// One process: the one that was named, or one that it forked.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) fds: fds::Record,
    /// Examples of what descriptors lead to, by place: in the order of `fds.sites`.
    pub(super) examples: Vec<Vec<String>>,
    pub(super) fds_at_first: Option<u64>,
    pub(super) fds_limit: Option<u64>,
    pub(super) eta_seconds: Option<(f64, f64)>,
    pub(super) rss_anon_bytes: Option<(u64, u64)>,
    pub(super) memory: memory::Record,
    /// What its network namespace and its cgroup went short of meanwhile.
    pub(super) host: Vec<memory::Shortage>,
    pub(super) tcp: tcp::Record,
    pub(super) threads: Option<(u64, u64)>,
    pub(super) stalls: u64,
    pub(super) worst_stalls: Vec<loops::StallRecord>,
    pub(super) loops: Vec<Loop>,
    pub(super) tasks: tasks::Record,
    pub(super) instances: Vec<loops::Instance>,
}

/// A thread that runs an event loop.
#[derive(Debug, Serialize)]
pub(super) struct Loop {
    pub(super) tid: Pid,
    pub(super) busy_ratio: f64,
    pub(super) waits: u64,
}

/// Retransmits of a connection.
#[derive(Debug, Serialize)]
pub(super) struct Retransmits {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) count: u64,
    /// Some of the traces that wrote the bytes, or may have.
    pub(super) trace_ids: Vec<TraceId>,
}

impl Look {
    pub(super) fn new(pid: Pid, clock: Clock, time: Duration, scraping: Scraping) -> Self {
        Self {
            pid,
            clock,
            engine: Engine::new(EngineConfig { growth: patience(time), ..EngineConfig::default() }),
            out: Vec::new(),
            seen: Vec::new(),
            view: View::default(),
            incidents: BTreeMap::new(),
            loops: HashMap::new(),
            instances: loops::Gathered::default(),
            connections: HashMap::new(),
            levels: HashMap::new(),
            fds: HashMap::new(),
            lost: 0,
            exited: false,
            scraping,
        }
    }

    /// Takes what the session has, and answers the engine's questions.
    pub(super) fn step(&mut self, session: &mut Session, timeout: Duration) {
        let mut seen = std::mem::take(&mut self.seen);
        session.poll(timeout, &mut seen);
        seen.extend(self.scraping.poll(|| session.targets()));
        for observation in seen.drain(..) {
            self.gather(&observation);
            let now = self.clock.now();
            self.engine.step(now, &observation, &mut self.out);
        }
        self.seen = seen;
        let now = self.clock.now();
        if now >= self.engine.next_deadline() {
            self.engine.tick(now, &mut self.out);
        }
        for output in self.out.drain(..) {
            match output {
                Output::Incident(incident) => drop(self.incidents.insert(incident.id, *incident)),
                Output::Ask(ask) => session.ask(ask),
                // Nothing is enforced here.
                Output::Act(_) => {}
            }
        }
    }

    fn gather(&mut self, observation: &Observation) {
        match observation {
            Observation::Exit(exit) if exit.pid == self.pid => self.exited = true,
            Observation::LoopTime(time) => self.gather_loop(time),
            Observation::LoopInstance(one) => self.instances.instance(one),
            Observation::Stall(stall) => self.instances.stall(stall),
            Observation::Retransmit(retransmit) => {
                let room = self.connections.len() < KEPT;
                let key = (retransmit.local, retransmit.peer);
                if room || self.connections.contains_key(&key) {
                    let (count, traces) = self.connections.entry(key).or_default();
                    *count += u64::from(retransmit.segments);
                    let named = retransmit.trace.iter().chain(&retransmit.candidates);
                    for trace in named {
                        if traces.len() < TRACES {
                            traces.insert(*trace);
                        }
                    }
                }
            }
            Observation::Level(level) => {
                let entry = self.levels.entry((level.pid, level.resource)).or_insert((level.value, level.value));
                entry.1 = level.value;
            }
            Observation::Holdings(holdings) if holdings.resource == Resource::Fds => {
                let live = holdings.items.len() as u64;
                self.fds.entry(holdings.pid).or_insert((live, live)).1 = live;
            }
            Observation::Lost(lost) => self.lost += lost.events,
            _ => {}
        }
    }

    fn gather_loop(&mut self, time: &LoopTime) {
        let key = (time.pid, time.tid);
        if self.loops.len() < KEPT || self.loops.contains_key(&key) {
            let entry = self.loops.entry(key).or_default();
            *entry = (entry.0 + time.waits, entry.1 + time.wait_ns, entry.2 + time.busy_ns);
        }
    }

    /// Takes the engine's view, for the progress line and the report.
    pub(super) fn sample(&mut self) {
        let view = self.engine.view(self.clock.now());
        // Once the process has ended the engine knows nothing more; the last picture is what was seen.
        if !view.targets.is_empty() || self.view.targets.is_empty() {
            self.view = view;
        }
    }

    /// The process that was named has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.exited || crate::sources::procfs::start_time(self.pid).is_none()
    }

    /// A cause is named.
    pub(super) fn is_named(&self) -> bool {
        self.incidents.values().any(|incident| incident.verdict == Verdict::Named)
    }

    /// What is known so far, on one line.
    pub(super) fn in_short(&self) -> String {
        let (live, orphaned) =
            self.view.targets.iter().fold((0, 0), |sum, target| (sum.0 + target.fds.live, sum.1 + target.fds.orphaned));
        let stalls: u64 = self.view.targets.iter().map(|target| target.stalls_total).sum();
        format!("{live} fds, {orphaned} held by requests that ended; {stalls} stalls")
    }

    /// The report; the session is asked for the names of the code.
    pub(super) fn report(mut self, session: &mut Session, elapsed: Duration, asked: Duration) -> Report {
        let exited = self.has_ended();
        if !exited {
            self.sample();
        }
        let mut wanted: Vec<SiteId> =
            self.incidents.values().flat_map(|one| one.causes.iter().map(|c| c.site)).collect();
        wanted.extend(self.view.targets.iter().flat_map(|target| target.fds.sites.iter().map(|site| site.site)));
        wanted.extend(self.view.targets.iter().flat_map(|target| target.memory.sites.iter().map(|site| site.site)));
        wanted.extend(self.view.tasks.iter().flat_map(TasksView::sites));
        wanted.extend(self.instances.sites());
        let sites: Sites =
            wanted.into_iter().filter(|site| site.0 != 0).map(|site| (site, session.frames(site))).collect();
        let mut sites: Sites = sites;
        sites.extend(self.scraping.names());
        let passport = Passport { id: Uuid::now_v7(), target_started: None, instance: None };
        let incidents: Vec<Record> =
            self.incidents.values().map(|incident| Record::new(&passport, incident, &sites, &self.clock)).collect();
        let told = |(&(local, peer), (count, traces)): (&(SocketAddr, SocketAddr), &(u64, BTreeSet<TraceId>))| {
            Retransmits { local, peer, count: *count, trace_ids: traces.iter().copied().collect() }
        };
        let mut retransmits: Vec<Retransmits> = self.connections.iter().map(told).collect();
        retransmits.sort_by_key(|one| std::cmp::Reverse(one.count));
        let mut processes: Vec<Process> = self.view.targets.iter().map(|target| self.process(target, &sites)).collect();
        processes.iter_mut().for_each(|process| process.examples = names::examples(session, &process.fds));
        let mut connections = self.view.targets.iter().filter_map(|target| target.connections.as_ref());
        let waiting = connections.any(|told| !told.troubled.is_empty());
        let locks = self.view.tasks.iter().flat_map(|tasks| &tasks.locks);
        let locked: f64 = locks.map(|lock| lock.wait_seconds).sum();
        let resent: u64 = retransmits.iter().map(|one| one.count).sum();
        Report {
            schema: 1,
            pid: self.pid,
            seconds: elapsed.as_secs_f64(),
            asked_seconds: asked.as_secs_f64(),
            found: !incidents.is_empty()
                || waiting
                || resent >= RETRANSMITS
                || locked >= LOCKED * elapsed.as_secs_f64(),
            exited,
            lost_events: self.lost,
            incidents,
            processes,
            retransmits,
            host: self.view.host.iter().map(memory::Shortage::from).collect(),
            probes: session.status(),
            scrapes: self.scraping.states(),
        }
    }

    fn process(&self, target: &TargetView, sites: &Sites) -> Process {
        let mut loops: Vec<Loop> = self
            .loops
            .iter()
            .filter(|((pid, _), _)| *pid == target.pid)
            .map(|(&(_, tid), &(waits, wait, busy))| Loop {
                tid,
                busy_ratio: busy as f64 / (wait + busy).max(1) as f64,
                waits,
            })
            .collect();
        let of_pid = self.view.tasks.iter().find(|tasks| tasks.pid == target.pid);
        loops.sort_by(|a, b| b.busy_ratio.total_cmp(&a.busy_ratio));
        Process {
            name: target.name.clone(),
            fds: fds::Record::new(target, sites),
            examples: Vec::new(),
            fds_at_first: self.fds.get(&target.pid).map(|(first, _)| *first),
            fds_limit: target.fds.limit,
            eta_seconds: target.fds.eta_seconds,
            memory: memory::Record::new(target, sites),
            host: target.host.iter().map(memory::Shortage::from).collect(),
            tcp: tcp::Record::from(&target.tcp),
            rss_anon_bytes: self.levels.get(&(target.pid, Resource::RssAnon)).copied(),
            threads: self.levels.get(&(target.pid, Resource::Threads)).copied(),
            stalls: target.stalls_total,
            worst_stalls: self.instances.worst(target.pid, sites),
            loops,
            tasks: of_pid.map(|tasks| tasks::Record::new(tasks, sites, self.view.at)).unwrap_or_default(),
            instances: self.instances.of(target.pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::{Join, Level, Retransmit};

    #[test]
    fn what_is_gathered_is_bounded_and_spans_first_to_last() {
        let scraping = Scraping::start(Vec::new()).expect("nothing to start");
        let mut look = Look::new(7, Clock::with_offset(0), Duration::from_secs(30), scraping);
        for (at, value) in [(1, 10), (2, 30), (3, 20)] {
            look.gather(&Observation::Level(Level { pid: 7, resource: Resource::RssAnon, value, limit: None, at }));
        }
        assert_eq!(look.levels[&(7, Resource::RssAnon)], (10, 20));
        for port in 1..1000 {
            let local = SocketAddr::from(([127, 0, 0, 1], port));
            look.gather(&Observation::Retransmit(Retransmit {
                pid: Some(7),
                local,
                peer: local,
                at: 1,
                trace: None,
                join: Join::None,
                ambiguity: 1,
                candidates: Vec::new(),
                complete: true,
                sequence: (0, 0),
                segments: 1,
            }));
        }
        assert_eq!(look.connections.len(), KEPT);
    }
}
