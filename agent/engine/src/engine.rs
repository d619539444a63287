//! The engine: takes facts, keeps what is known of each target, and decides twice a second.
//!
//! Invariants: time never goes backwards in here, whatever is passed in; no fact lies in the future;
//! a fact about a process nobody watches changes nothing. Cost: a snapshot of n things is O(n),
//! everything else is constant; a decision is bounded by the caps.

mod exit;
mod family;
mod kin;
mod setup;
mod spans;

use crate::{
    changes::Lives,
    config::EngineConfig,
    departed::Departed,
    downstream::Downstream,
    fallen::Fallen,
    host::Shortages,
    incident::Ledger,
    model::{Acted, Holding, Lost, Nanos, Observation, Output, Pid, ProcessExit, ProcessSeen, View},
    once::Once,
    slo::state::{Burn, SloTrack},
    target::Target,
    traces::Traces,
    view,
    window::SECOND,
};
use spans::who;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Decisions are made this often.
const DECIDE_EVERY: Nanos = SECOND / 2;
/// Names of probes whose losses are told apart.
const PROBES: usize = 64;
/// Exited processes remembered, so that a late fact does not bring one back.
const EXITED: usize = 64;

/// The pure engine.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    now: Nanos,
    deadline: Nanos,
    targets: BTreeMap<Pid, Target>,
    exited: VecDeque<Pid>,
    slos: Vec<SloTrack>,
    ledger: Ledger,
    departed: Departed,
    /// Processes that died.
    fallen: Fallen,
    /// The newest traces.
    traces: Traces,
    /// Spans that were taken.
    once: Once,
    /// Whom targets call.
    downstream: BTreeMap<Pid, Downstream>,
    /// Instances of services that were seen.
    lives: Lives,
    /// What the machine went short of.
    host: Shortages,
    lost: BTreeMap<String, u64>,
    /// Room that is used again for each child's snapshot.
    shared: HashSet<u64>,
    /// When the last loss was told.
    lost_at: Nanos,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(mut config: EngineConfig) -> Self {
        let slos = std::mem::take(&mut config.slos).into_iter().map(SloTrack::new).collect();
        Self {
            ledger: Ledger::new(config.caps.closed_incidents),
            fallen: Fallen::default(),
            traces: Traces::new(config.caps.traces, config.caps.bare_traces),
            once: Once::default(),
            downstream: BTreeMap::new(),
            lives: Lives::default(),
            config,
            now: 0,
            deadline: 0,
            targets: BTreeMap::new(),
            exited: VecDeque::new(),
            slos,
            departed: Departed::default(),
            host: Shortages::default(),
            lost: BTreeMap::new(),
            shared: HashSet::new(),
            lost_at: 0,
        }
    }

    /// Takes one fact; appends what is decided. Also does what [`Engine::tick`] would, if that is due.
    pub fn step(&mut self, now: Nanos, observation: &Observation, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.learn(observation, out);
        if self.now >= self.deadline {
            self.decide(out);
        }
    }

    /// Does what is due; call it when [`Engine::next_deadline`] has passed.
    pub fn tick(&mut self, now: Nanos, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if self.now >= self.deadline {
            self.decide(out);
        }
    }

    /// When [`Engine::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Nanos {
        self.deadline
    }

    /// The whole picture. Allocates: meant for about once a second.
    #[must_use]
    pub fn view(&self, now: Nanos) -> View {
        let now = self.now.max(now);
        let mut view = view::build(now, &self.targets, &self.slos, &self.ledger, &self.config, self.losses());
        view.incidents.extend(self.departed.open().cloned());
        view.host = self.host.view();
        view.incidents.extend(self.fallen.open().cloned());
        view.incidents.sort_by_key(|incident| std::cmp::Reverse((incident.opened, incident.id)));
        view.downstream = self.downstream.iter().map(|(pid, calls)| calls.view(*pid, now)).collect();
        view
    }

    /// No fact lies in the future.
    fn past(&self, at: Nanos) -> Nanos {
        at.min(self.now)
    }

    fn learn(&mut self, observation: &Observation, out: &mut Vec<Output>) {
        match observation {
            Observation::Process(told) => self.process(told, out),
            Observation::Exit(told) => self.exit(*told, out),
            Observation::Setup(told) => self.setup(told),
            Observation::Request(told) => self.request(told),
            Observation::Call(told) => self.call(told),
            Observation::Lost(told) => self.lose(&told.probe, told.events),
            Observation::Acted(told) => self.acted(told),
            Observation::OpenRequests(told) => {
                let at = self.past(told.at);
                if let Some(target) = self.targets.get(&told.pid) {
                    self.traces.open_requests(told, at, &target.name);
                }
                self.known(told.pid, |target, _| target.open_requests(told, at));
            }
            Observation::Retransmit(told) => {
                let who = told.pid.and_then(|pid| self.targets.get(&pid)).map(who);
                self.traces.retransmit(told, told.at.min(self.now), who);
                if let Some(pid) = told.pid {
                    let at = self.past(told.at);
                    self.known(pid, |target, _| {
                        target.signs.resent(told, at);
                        target.retransmits_total = target.retransmits_total.saturating_add(told.segments.into());
                    });
                }
            }
            Observation::Tcp(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| {
                    target.tcp.look(told);
                    target.signs.tcp(told, at);
                    let given = told.peers.iter().filter(|one| one.peer.is_some_and(|peer| peer.port.is_none()));
                    target.tasks.answers(given.fold(0, |sum, one| sum.saturating_add(one.answers)), at);
                });
            }
            Observation::Holdings(told) => {
                let at = self.past(told.at);
                self.share_connections(told.pid);
                self.watched(told.pid, |target, config| target.holdings(told, at, config));
                if let Some(target) = self.targets.get(&told.pid) {
                    let behind = |item: &Holding| target.requests.settled(item, at);
                    self.traces.holdings(told, at, who(target), self.config.caps.holdings, behind);
                }
            }
            Observation::Connections(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| {
                    target.connections = Some(told.clone());
                    target.signs.connections(told, at);
                });
            }
            Observation::Level(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| target.level(told, at));
            }
            Observation::Pages(told) => {
                let until = self.past(told.until);
                self.watched(told.pid, |target, _| target.memory.pages(told, until));
                if let Some(target) = self.targets.get(&told.pid) {
                    self.traces.pages(told, until, who(target));
                }
            }
            Observation::OomKill(told) => {
                let at = self.past(told.at);
                self.known(told.pid, |target, _| target.oom_kill(at));
            }
            Observation::Host(told) => {
                let until = self.past(told.until);
                match told.pid {
                    Some(pid) => self.watched(pid, |target, _| {
                        target.host.look(told);
                        target.signs.host(told, until);
                    }),
                    None => {
                        self.host.look(told);
                        // What the machine lacks each of its processes lacks.
                        self.targets.values_mut().for_each(|target| target.signs.host(told, until));
                    }
                }
            }
            Observation::Dns(told) => {
                let at = self.past(told.until);
                self.watched(told.pid, |target, _| target.signs.dns(told, at));
            }
            Observation::LoopTime(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| target.loops.time(told, at));
            }
            Observation::Threads(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| target.tasks.threads(told, at));
            }
            Observation::TaskGroups(told) => {
                let at = self.past(told.at);
                self.known(told.pid, |target, _| target.tasks.tasks(told, at));
            }
            Observation::LockWait(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| {
                    target.tasks.lock(told, at);
                    target.signs.lock(told, at);
                });
            }
            Observation::CpuTime(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| {
                    target.tasks.cpu(told, at);
                    target.signs.cpu(told, at);
                });
            }
            Observation::BlockedWrite(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| target.signs.blocked_write(told, at));
            }
            Observation::Blocked(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| {
                    target.tasks.blocked(told);
                    target.signs.blocked(told, at);
                });
                self.kin_blocked(told, at);
            }
            Observation::LoopInstance(told) => {
                let at = self.past(told.at);
                self.watched(told.pid, |target, _| target.loops.instance(told, at));
            }
            Observation::Stall(told) => {
                let until = self.past(told.until);
                self.watched(told.pid, |target, _| target.loops.stall(told, until));
                if let Some(target) = self.targets.get(&told.pid) {
                    self.traces.stall(told, until, who(target));
                }
            }
        }
    }

    /// For facts that anybody may send: they never make a target.
    fn known(&mut self, pid: Pid, learn: impl FnOnce(&mut Target, &EngineConfig)) {
        match self.targets.get_mut(&pid) {
            Some(target) => learn(target, &self.config),
            None => self.lose("engine.unknown_process", 1),
        }
    }

    /// For facts from probes, which look at targets only: if the news of one was lost, this is it.
    fn watched(&mut self, pid: Pid, learn: impl FnOnce(&mut Target, &EngineConfig)) {
        if !self.targets.contains_key(&pid) && !self.exited.contains(&pid) {
            self.admit(pid);
        }
        self.known(pid, learn);
    }

    /// Tells a child process which connections its parent holds.
    fn share_connections(&mut self, pid: Pid) {
        let Some(parent) = self.targets.get(&pid).and_then(|target| target.parent) else { return };
        let mut child = std::mem::take(&mut self.shared);
        child.clear();
        child.extend(self.targets.get(&parent).into_iter().flat_map(|parent| parent.own.connections()));
        if let Some(target) = self.targets.get_mut(&pid) {
            self.shared = std::mem::replace(&mut target.own.parents, child);
        }
    }

    fn admit(&mut self, pid: Pid) -> Option<&mut Target> {
        if !self.targets.contains_key(&pid) && self.targets.len() >= self.config.caps.targets {
            self.lose("engine.targets", 1);
            return None;
        }
        let (now, seed) = (self.now, self.config.seed);
        Some(self.targets.entry(pid).or_insert_with(|| Target::new(pid, now, seed)))
    }

    fn process(&mut self, told: &ProcessSeen, out: &mut Vec<Output>) {
        if self.targets.get(&told.pid).is_some_and(|target| target.is_another(told)) {
            self.forget(told.pid, out);
        }
        self.exited.retain(|pid| *pid != told.pid);
        let Some(target) = self.admit(told.pid) else { return };
        target.seen(told);
        self.remember(told.pid);
        let Some(target) = self.targets.get(&told.pid) else { return };
        let (name, started) = (target.name.clone(), target.started);
        self.departed.succeeded(&name, started, self.now, out);
    }

    fn exit(&mut self, told: ProcessExit, out: &mut Vec<Output>) {
        if self.exited.len() >= EXITED {
            self.exited.pop_front();
        }
        self.exited.push_back(told.pid);
        if !self.killed(told.pid, out) {
            self.forget(told.pid, out);
        }
    }

    fn acted(&mut self, told: &Acted) {
        let at = self.past(told.at);
        self.known(told.pid, |target, config| target.acted(told, at, config));
    }

    fn lose(&mut self, probe: &str, events: u64) {
        let known = self.lost.contains_key(probe) || self.lost.len() < PROBES;
        let name: String = if known { probe.chars().take(64).collect() } else { "other".to_owned() };
        let count = self.lost.entry(name).or_default();
        *count = count.saturating_add(events);
        self.lost_at = self.now;
    }

    fn losses(&self) -> Vec<Lost> {
        let mut all = self.lost.clone();
        let mut add = |probe: &str, events: u64| {
            if events > 0 {
                *all.entry(probe.to_owned()).or_default() += events;
            }
        };
        for target in self.targets.values() {
            add("engine.holdings", target.own.unfollowed);
            add("engine.ended_traces", target.ends.evicted);
            add("engine.groups", target.own.groups.folded);
            add("engine.unjoined", target.requests.left_out);
        }
        add("engine.traces", self.traces.kept().evicted);
        self.slos.iter().for_each(|slo| add("engine.late_requests", slo.late));
        all.into_iter().map(|(probe, events)| Lost { probe, events, at: self.lost_at }).collect()
    }

    fn decide(&mut self, out: &mut Vec<Output>) {
        self.deadline = self.now.saturating_add(DECIDE_EVERY);
        for slo in &mut self.slos {
            slo.judge(self.now, &self.config.slo);
        }
        let mut closed = Vec::new();
        self.fallen.turn(self.now, &mut self.ledger, &mut closed);
        out.extend(closed.into_iter().map(|incident| Output::Incident(Box::new(incident))));
        let burns: Vec<Burn> = self.slos.iter().filter_map(SloTrack::burn).collect();
        let culprits: Vec<Option<Pid>> = burns.iter().map(|burn| self.culprit(burn)).collect();
        for (pid, target) in &mut self.targets {
            let own = burns.iter().zip(&culprits).filter(|(_, culprit)| **culprit == Some(*pid));
            let own: Vec<Burn> = own.map(|(burn, _)| burn.clone()).collect();
            target.evaluate(self.now, &self.config, &own, &self.lives, &mut self.ledger, out);
        }
        self.tell(out);
        self.departed.end(self.now, &mut self.ledger, out);
    }

    /// The target that an objective burns for: the one with most bad answers, else the one of that name,
    /// else the only one there is.
    fn culprit(&self, burn: &Burn) -> Option<Pid> {
        let told = burn.pid.filter(|pid| self.targets.contains_key(pid));
        let named = || self.targets.values().find(|target| target.name == burn.service).map(|target| target.pid);
        let only = || self.targets.keys().next().copied().filter(|_| self.targets.len() == 1);
        told.or_else(named).or_else(only)
    }
}
