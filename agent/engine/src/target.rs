//! One watched process: what is known of it, its open incident and its breaker.
//!
//! Invariant: facts only change what is known; decisions are made in [`Target::evaluate`], from what is
//! known then. Memory per target is fixed by the caps.

mod acts;
mod known;

use crate::{
    breaker::{self, Breaker},
    calls::Calls,
    causes::Scene,
    changes::{Changes, Lives},
    config::{Caps, EngineConfig},
    correlate::{ends::Ends, own::Ownership, requests::Requests},
    detect::detect,
    forecast::forecast,
    host::Shortages,
    incident::{Episode, Ledger},
    loops::Loops,
    memory::Memory,
    model::{
        Acted, Call, Connections, Forecast, HoldingKind, Holdings, Level, Nanos, OpenRequests, Output, Pid,
        ProcessSeen, Request, Resource,
    },
    rules::Watch,
    series::Series,
    signs::{Shown, Signs},
    sketch::Sketch,
    slo::state::{Burn, WINDOW},
    suspicion::Suspicion,
    tasks::Tasks,
    tcp::Traffic,
    window::{SECOND, Windows, seconds},
};
use std::collections::HashMap;

/// A crowd: so many times as many as before, and so many more at least.
const CROWD: (u64, u64) = (3, 24);
/// Before is so long ago, or so long before it began where nothing is known from then.
const BEFORE: (Nanos, Nanos) = (60 * SECOND, 6 * SECOND);
/// A snapshot older than this leaves the level of descriptors to plain counts.
const SNAPSHOT_FRESH: Nanos = 5 * SECOND;
/// A service that has not reported for so long has nobody to obey a limit.
const REPORT_FRESH: Nanos = 15 * SECOND;
/// A process that ends so long after the kernel chose it to make room for others ended because of that.
const KILLED: Nanos = 60 * SECOND;

/// What the service itself told last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) at: Nanos,
    pub(crate) in_flight: u32,
    pub(crate) limit: Option<u32>,
}

/// A watched process.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) pid: Pid,
    pub(crate) name: String,
    pub(crate) started: Nanos,
    pub(crate) parent: Option<Pid>,
    pub(crate) own: Ownership,
    pub(crate) ends: Ends,
    pub(crate) requests: Requests,
    pub(crate) fds: Series,
    /// Accepted connections and open requests: what it is to do at once.
    load: Series,
    fds_limit: Option<u64>,
    pub(crate) connections: Option<Connections>,
    pub(crate) rss_anon: Option<u64>,
    pub(crate) rss_file: Option<u64>,
    pub(crate) memory: Memory,
    /// How much of its requests' time lies in calls to others; only of those who tell of calls.
    pub(crate) calls: Option<Box<Calls>>,
    pub(crate) changes: Changes,
    /// Every level as it was last told.
    levels: HashMap<Resource, (Nanos, u64)>,
    pub(crate) host: Shortages,
    pub(crate) threads: Option<u64>,
    pub(crate) loops: Loops,
    pub(crate) tasks: Tasks,
    pub(crate) report: Option<Report>,
    in_flight: Windows<u32>,
    latency: Windows<Sketch>,
    pub(crate) requests_total: u64,
    pub(crate) retransmits_total: u64,
    pub(crate) tcp: Traffic,
    pub(crate) signs: Signs,
    /// What the operator's rules make of it.
    pub(crate) rules: Watch,
    /// When the out-of-memory killer last chose it.
    pub(crate) killed: Option<Nanos>,
    /// It has ended.
    pub(crate) ended: bool,
    pub(crate) eta: Option<Forecast>,
    pub(crate) breaker: Breaker,
    pub(crate) episode: Option<Episode>,
    /// What is suspected while no incident has named it.
    pub(crate) suspicion: Option<Suspicion>,
    asked: Option<Nanos>,
    /// When the limit in force last changed: the load is another one since.
    limited: Option<(Nanos, Option<u32>)>,
    /// Its start and name have been told.
    introduced: bool,
}

impl Target {
    /// Of which nothing is known yet.
    pub(crate) fn new(pid: Pid, started: Nanos, seed: u64) -> Self {
        Self {
            pid,
            name: format!("pid {pid}"),
            started,
            parent: None,
            own: Ownership::default(),
            ends: Ends::default(),
            requests: Requests::default(),
            fds: Series::new(),
            load: Series::new(),
            fds_limit: None,
            connections: None,
            rss_anon: None,
            rss_file: None,
            memory: Memory::new(),
            calls: None,
            changes: Changes::new(),
            levels: HashMap::new(),
            rules: Watch::default(),
            host: Shortages::default(),
            threads: None,
            loops: Loops::new(),
            tasks: Tasks::default(),
            report: None,
            in_flight: Windows::new(SECOND, 180),
            latency: Windows::new(WINDOW, 2),
            requests_total: 0,
            retransmits_total: 0,
            tcp: Traffic::default(),
            signs: Signs::new(),
            killed: None,
            ended: false,
            eta: None,
            breaker: Breaker::new(seed ^ u64::from(pid)),
            episode: None,
            suspicion: None,
            asked: None,
            limited: None,
            introduced: false,
        }
    }

    /// It was found, or its name or limits changed.
    pub(crate) fn seen(&mut self, told: &ProcessSeen) {
        self.name = told.name.chars().take(64).collect();
        (self.started, self.introduced) = (told.started, true);
        self.parent = told.parent.filter(|parent| *parent != self.pid);
    }

    /// Whether this is news of another process, which was given the number of this one. A start is told
    /// with the precision of the clock it was converted from.
    pub(crate) fn is_another(&self, told: &ProcessSeen) -> bool {
        self.introduced && self.started.abs_diff(told.started) > SECOND
    }

    /// Takes a snapshot of what it holds.
    pub(crate) fn holdings(&mut self, told: &Holdings, at: Nanos, config: &EngineConfig) {
        if told.resource != Resource::Fds {
            return;
        }
        self.requests.look(&told.items, at);
        if self.own.snapshot(told, at, (&self.ends, &self.requests), &config.orphans, &config.caps) {
            self.fds.record(at, self.own.live);
            let accepted = told.items.iter().filter(|item| item.kind == HoldingKind::TcpAccepted).count() as u64;
            let requests = self.report.map_or(0, |report| u64::from(report.in_flight));
            self.load.record(at, accepted.saturating_add(requests));
        }
    }

    /// Takes a level.
    pub(crate) fn level(&mut self, told: &Level, at: Nanos) {
        self.memory.level(told, at);
        self.changes.level(told, at);
        self.levels.insert(told.resource, (at, told.value));
        match told.resource {
            Resource::Fds => {
                self.fds_limit = told.limit;
                if self.own.at.is_none_or(|last| at.saturating_sub(last) > SNAPSHOT_FRESH) {
                    self.fds.record(at, told.value);
                }
            }
            Resource::RssAnon => self.rss_anon = Some(told.value),
            Resource::RssFile => self.rss_file = Some(told.value),
            Resource::Threads => self.threads = Some(told.value),
            Resource::Tasks => self.tasks.tasks_live(told.value, at),
            Resource::MajorFaults
            | Resource::RssShmem
            | Resource::Swap
            | Resource::RssPeak
            | Resource::AddressSpace
            | Resource::AddressSpaceData
            | Resource::CgroupMemory
            | Resource::HostMemory
            | Resource::HeapInUse
            | Resource::Collections => {}
        }
    }

    /// Takes the service's own report.
    pub(crate) fn open_requests(&mut self, told: &OpenRequests, at: Nanos) {
        if self.report.is_some_and(|last| at < last.at) {
            return;
        }
        self.ends.report(told, at);
        self.signs.open_requests(told, at);
        self.report = Some(Report { at, in_flight: told.in_flight, limit: told.limit });
        if let Some(peak) = self.in_flight.at(at) {
            *peak = (*peak).max(told.in_flight);
        }
    }

    /// Takes a request that ended.
    /// `now` is when it was told.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos, now: Nanos, caps: &Caps) {
        self.ends.span(told.trace, (told.started.min(ended), ended), caps.ended_traces);
        self.requests.span(told, ended);
        self.requests_total = self.requests_total.saturating_add(1);
        let judged = self.signs.request(told, ended);
        if let Some((calls, judged)) = self.calls.as_mut().zip(judged) {
            calls.request(told, ended, judged, now);
        }
        self.changes.request(told, ended);
        let first_byte = told.first_byte.unwrap_or(told.ended);
        if let Some(sketch) = self.latency.at(ended).filter(|_| told.status != Some(429)) {
            sketch.record(seconds(first_byte.saturating_sub(told.started)));
        }
    }

    /// Takes a call to another service that ended.
    pub(crate) fn call(&mut self, told: &Call, ended: Nanos) {
        self.calls.get_or_insert_with(|| Box::new(Calls::new())).call(told, ended);
    }

    /// The out-of-memory killer chose it.
    pub(crate) fn oom_kill(&mut self, at: Nanos) {
        self.memory.oom_kills = self.memory.oom_kills.saturating_add(1);
        self.killed = self.killed.max(Some(at));
    }

    /// Whether it has ended because the out-of-memory killer chose it.
    pub(crate) fn was_killed(&self, now: Nanos) -> bool {
        self.ended && self.killed.is_some_and(|at| now.saturating_sub(at) <= KILLED)
    }

    /// An actuator answered. A limit that this engine did not ask for mitigates nothing.
    pub(crate) fn acted(&mut self, told: &Acted, at: Nanos, config: &EngineConfig) {
        if told.error.is_none() && self.limited.is_none_or(|(_, limit)| limit != told.limit) {
            self.limited = Some((at, told.limit));
        }
        let asked_for = config.enforce.contains(&told.actuator) && !self.breaker.is_closed();
        let in_force = told.error.is_none() && told.limit.is_some() && asked_for;
        if let Some(episode) = self.episode.as_mut().filter(|_| in_force) {
            episode.mitigated(at);
        }
    }

    /// The limit on descriptors, where it is known.
    pub(crate) fn fd_limit(&self) -> Option<u64> {
        self.own.limit.or(self.fds_limit)
    }

    /// When descriptors run out, since the onset of a leak where one is known.
    pub(crate) fn forecast_fds(&self, onset: Option<Nanos>, config: &EngineConfig) -> Option<Forecast> {
        let changed = self.limited.map(|(at, _)| at);
        forecast(Resource::Fds, &self.fds, self.fd_limit(), onset, changed, &config.exhaustion)
    }

    /// How many connections and open requests there are more than at a time.
    #[expect(clippy::cast_precision_loss, reason = "a count, for a comparison")]
    fn more_load(&self, since: Nanos) -> f64 {
        let (then, now) = (self.load.before(since), self.load.level());
        then.zip(now).map_or(0.0, |(then, now)| now as f64 - then as f64)
    }

    /// Whether there are many times as many connections and open requests as before something that began at a time.
    pub(crate) fn is_crowded(&self, since: Nanos, now: Nanos) -> bool {
        let before = self.load.before(now.saturating_sub(BEFORE.0));
        let then = before.or_else(|| self.load.before(since.saturating_sub(BEFORE.1)));
        then.zip(self.load.level())
            .is_some_and(|(then, now)| now >= then.saturating_mul(CROWD.0) && now.saturating_sub(then) >= CROWD.1)
    }

    /// Decides: opens, changes and closes the incident, moves the breaker, asks.
    pub(crate) fn evaluate(
        &mut self,
        now: Nanos,
        config: &EngineConfig,
        burns: &[Burn],
        lives: &Lives,
        ledger: &mut Ledger,
        out: &mut Vec<Output>,
    ) {
        self.signs.judge(now, &config.signs);
        self.calls.iter_mut().for_each(|calls| calls.settle(now));
        let stalls = self.loops.picture(now, &config.stalls);
        let onset = self.own.leaks.iter().find(|leak| leak.growing).map(|leak| leak.onset.0);
        let fds = self.forecast_fds(onset, config);
        let shown = |told: &Forecast| onset.is_some() || config.exhaustion.over_gate(told.level, told.limit);
        self.eta = fds.filter(shown);
        let memory = self.memory.growing(now, &config.growth, |from, until| self.tasks.work(from, until));
        let piles = self.tasks.piles(&config.growth, true, |since| self.more_load(since));
        let mut rules = std::mem::take(&mut self.rules);
        rules.sample(now, &config.rules, self);
        let (mut episode, suspicion) = (self.episode.take(), self.suspicion.take());
        let mut breaker = std::mem::replace(&mut self.breaker, Breaker::new(0));
        let limited = !breaker.is_closed();
        let scene = Scene {
            now,
            target: self,
            config,
            limited,
            leaks: &self.own.leaks,
            stalls: &stalls,
            burns,
            fds,
            memory: memory.as_ref(),
            piles: &piles,
            signs: Shown { all: &self.signs, early: false },
            rules: &rules,
        };
        let findings = detect(&scene);
        if let Some(first) = findings.first().filter(|_| episode.is_none()) {
            episode = Some(Episode::open(ledger.number(), self.pid, &self.name, first, now));
        }
        if let Some(episode) = &mut episode {
            episode.suspected = suspicion.as_ref().and_then(Suspicion::first);
        }
        let mut wanted = None;
        if let Some(episode) = &mut episode {
            episode.update(&scene, &findings);
            if episode.is_young(now) {
                let onset = episode.incident.times.onset;
                episode.incident.what_changed = self.changes.lines(self.who(), lives, onset, now);
            }
            if episode.usual.is_none() {
                episode.usual = self.usual_in_flight(episode.incident.times.onset.0, now);
            }
            // Who has ended obeys no limit.
            let may = !findings.is_empty() && !self.ended;
            wanted = breaker::propose(&scene, &episode.incident, episode.usual).filter(|_| may);
        }
        let is_open = episode.as_ref().is_none_or(|episode| episode.incident.times.named.is_none());
        let suspicion = if is_open { self.suspect(scene, suspicion) } else { None };
        let obeyed = self.report.is_some_and(|report| now.saturating_sub(report.at) <= REPORT_FRESH);
        if let Some(decision) = breaker.advance(now, wanted, obeyed, &config.breaker) {
            self.carry_out(now, decision, config, episode.as_mut(), out);
        }
        (self.episode, self.breaker, self.rules, self.suspicion) = (episode, breaker, rules, suspicion);
        self.ask(now, out);
    }

    /// Tells what is new of its incident, and files it if it is over.
    pub(crate) fn tell(&mut self, now: Nanos, ledger: &mut Ledger, out: &mut Vec<Output>) {
        let closed = self.breaker.is_closed();
        if let Some(open) = self.episode.take_if(|open| open.is_over(now, closed)) {
            // What nobody was told of needs no end.
            if !open.is_silent() {
                let closed = open.close(now);
                out.push(Output::Incident(Box::new(closed.clone())));
                ledger.file(closed);
            }
        } else if let Some(open) = &mut self.episode {
            out.extend(open.news(now).map(|incident| Output::Incident(Box::new(incident))));
        }
    }
}
