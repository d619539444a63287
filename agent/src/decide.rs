//! The task that owns the engine: observations in, decisions out.
//!
//! Invariant: nothing here waits for anybody but the clock and the queues. Decisions leave through
//! [`Ports`], which take them without blocking; the view is published once a second and at
//! once when an incident changes. Cost: the engine's own, and a view a second.

use crate::{
    clock::Clock,
    metrics::Tally,
    names::Names,
    record::Recorder,
    render::{Numbered, Passport, Picture, SharedSites, trace, wire_name},
};
use snowshed_engine::{
    Engine,
    model::{
        Act, Ask, Incident, IncidentId, Nanos, Observation, Output, Pid, SiteId, TraceId, TraceView, TracesKept,
        Verdict,
    },
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use uuid::{NoContext, Timestamp, Uuid};

/// How often the view is published, but for [`TOGETHER`].
const PUBLISH: Duration = Duration::from_secs(1);
/// A view that is due so soon, or was so lately, is published with the decisions of this moment: one wake-up instead of two.
const TOGETHER: Duration = Duration::from_millis(50);
/// The shortest sleep: a deadline that stays in the past must not make the task spin.
const SOON: Duration = Duration::from_millis(5);
/// Observations taken in one turn.
const BATCH: usize = 128;
/// Passports kept; more than the engine keeps incidents.
const PASSPORTS: usize = 256;

/// A question about one trace, and where the answer goes: what is known of it, else of those that are kept.
#[derive(Debug)]
pub(crate) struct Question {
    /// Which.
    pub(crate) trace: TraceId,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Result<Box<TraceView>, TracesKept>>,
}

/// Takes a change of an incident without blocking.
pub(crate) type Tell = Box<dyn Fn(&Arc<Numbered>) + Send>;

/// Where decisions go. None of these may block.
pub(crate) struct Ports {
    /// Told of each change of an incident.
    pub(crate) tell: Vec<Tell>,
    /// Carries out a command; may answer at once.
    pub(crate) act: Box<dyn Fn(Act, Nanos) -> Option<Observation> + Send>,
    /// Asks the kernel source.
    pub(crate) ask: Box<dyn Fn(Ask) + Send>,
    /// Wants the names of these sites.
    pub(crate) resolve: Box<dyn Fn(Vec<SiteId>) + Send>,
    /// A process has ended.
    pub(crate) gone: Box<dyn Fn(Pid) + Send>,
}

/// The engine with what surrounds it.
pub(crate) struct Decider {
    /// The engine.
    pub(crate) engine: Engine,
    /// The time.
    pub(crate) clock: Clock,
    /// Counters.
    pub(crate) tally: Tally,
    /// Where decisions go.
    pub(crate) ports: Ports,
    /// Names of code found so far.
    pub(crate) sites: SharedSites,
    /// The recording, if there is one.
    pub(crate) recorder: Option<Recorder>,
    /// Where the view is published.
    pub(crate) picture: watch::Sender<Arc<Picture>>,
}

impl Decider {
    /// Runs until `end` turns true or nobody holds it any more.
    pub(crate) async fn run(
        self,
        mut kernel: mpsc::Receiver<Observation>,
        mut told: mpsc::Receiver<Observation>,
        mut asked: mpsc::Receiver<Question>,
        mut end: watch::Receiver<bool>,
    ) {
        let mut running = Running::new(self);
        let mut batch = Vec::with_capacity(BATCH);
        running.publish();
        loop {
            let wake = running.wake();
            tokio::select! {
                _ = end.wait_for(|end| *end) => break,
                // A source that has ended leaves its branch disabled; the others go on.
                Some(first) = kernel.recv() => {
                    batch.push(first);
                    while batch.len() < BATCH && let Ok(next) = kernel.try_recv() {
                        batch.push(next);
                    }
                    for observation in batch.drain(..) {
                        let observation = running.names.of_kernel(observation);
                        running.take(&observation);
                    }
                }
                Some(first) = told.recv() => {
                    batch.push(first);
                    while batch.len() < BATCH && let Ok(next) = told.try_recv() {
                        batch.push(next);
                    }
                    for observation in batch.drain(..) {
                        if let Some(observation) = running.names.of_service(observation) {
                            running.take(&observation);
                        }
                    }
                }
                Some(question) = asked.recv() => running.answer(question),
                () = tokio::time::sleep_until(wake) => {}
            }
            running.turn();
        }
        if let Some(recorder) = &mut running.outer.recorder {
            recorder.finish();
        }
    }
}

struct Running {
    outer: Decider,
    names: Names,
    passports: HashMap<IncidentId, Passport>,
    order: VecDeque<IncidentId>,
    counted: HashSet<IncidentId>,
    out: Vec<Output>,
    published: Instant,
    changed: bool,
}

impl Running {
    fn new(outer: Decider) -> Self {
        Self {
            outer,
            names: Names::default(),
            passports: HashMap::new(),
            order: VecDeque::new(),
            counted: HashSet::new(),
            out: Vec::new(),
            published: Instant::now(),
            changed: false,
        }
    }

    /// When the engine or the view is due.
    fn wake(&self) -> Instant {
        let ahead = self.outer.engine.next_deadline().saturating_sub(self.outer.clock.now());
        let due = Instant::now() + Duration::from_nanos(ahead).clamp(SOON, PUBLISH);
        let publish = self.published + PUBLISH;
        if due > publish && due <= publish + TOGETHER { due } else { due.min(publish) }
    }

    fn take(&mut self, observation: &Observation) {
        let now = self.outer.clock.now();
        if let Some(recorder) = &mut self.outer.recorder {
            recorder.take(now, observation);
        }
        self.outer.engine.step(now, observation, &mut self.out);
        if let Observation::Exit(exit) = observation {
            (self.outer.ports.gone)(exit.pid);
        }
        self.deliver(now);
    }

    /// Answers a question about a trace, and has its code named.
    fn answer(&self, question: Question) {
        let view = self.outer.engine.trace(&question.trace);
        self.resolve(view.iter().flat_map(trace::sites));
        // Whoever asked may have gone.
        drop(question.reply.send(view.map(Box::new).ok_or_else(|| self.outer.engine.traces())));
    }

    /// Does what is due by the clock.
    fn turn(&mut self) {
        let now = self.outer.clock.now();
        if now >= self.outer.engine.next_deadline() {
            self.outer.engine.tick(now, &mut self.out);
            self.deliver(now);
        }
        if self.changed || self.published.elapsed() + TOGETHER >= PUBLISH {
            self.publish();
        }
    }

    fn deliver(&mut self, now: Nanos) {
        // What an actuator answers at once may lead to more decisions; a few rounds settle it.
        for _ in 0..4 {
            let mut answers = Vec::new();
            let mut out = std::mem::take(&mut self.out);
            for output in out.drain(..) {
                match output {
                    Output::Incident(incident) => self.tell(*incident),
                    Output::Act(act) => answers.extend((self.outer.ports.act)(act, now)),
                    Output::Ask(ask) => (self.outer.ports.ask)(ask),
                }
            }
            self.out = out;
            for answer in &answers {
                if let Some(recorder) = &mut self.outer.recorder {
                    recorder.take(now, answer);
                }
                self.outer.engine.step(now, answer, &mut self.out);
            }
            if self.out.is_empty() {
                return;
            }
        }
    }

    fn tell(&mut self, incident: Incident) {
        let passport = self.passport(&incident);
        self.count(&incident);
        self.resolve(incident.causes.iter().map(|cause| cause.site));
        let numbered = Arc::new(Numbered { passport, incident });
        for tell in &self.outer.ports.tell {
            tell(&numbered);
        }
        self.changed = true;
    }

    fn passport(&mut self, incident: &Incident) -> Passport {
        if let Some(passport) = self.passports.get(&incident.id) {
            return passport.clone();
        }
        let opened = self.outer.clock.wall(incident.opened);
        let seconds = u64::try_from(opened.as_second()).unwrap_or(0);
        let nanos = u32::try_from(opened.subsec_nanosecond()).unwrap_or(0);
        let (target_started, instance) = self.names.of(incident.pid);
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos));
        let passport = Passport { id, target_started, instance };
        self.passports.insert(incident.id, passport.clone());
        self.order.push_back(incident.id);
        self.outer.tally.incidents_opened.with_label_values(&[wire_name(incident.trigger.kind)]).inc();
        if self.order.len() > PASSPORTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.passports.remove(&oldest);
            self.counted.remove(&oldest);
        }
        passport
    }

    /// Counts an incident once: when it is named, or at its end.
    fn count(&mut self, incident: &Incident) {
        let named = incident.causes.first().filter(|_| incident.verdict == Verdict::Named);
        let (cause, verdict) = match named {
            Some(cause) => (wire_name(cause.kind), "named"),
            None if incident.closed.is_some() => ("none".to_owned(), "unknown"),
            None => return,
        };
        if self.counted.insert(incident.id) {
            self.outer.tally.incidents.with_label_values(&[cause.as_str(), verdict]).inc();
        }
    }

    fn resolve(&self, sites: impl Iterator<Item = SiteId>) {
        let known = self.outer.sites.borrow();
        let unknown: HashSet<SiteId> = sites.filter(|site| site.0 != 0 && !known.contains_key(site)).collect();
        drop(known);
        if !unknown.is_empty() {
            (self.outer.ports.resolve)(unknown.into_iter().collect());
        }
    }

    fn publish(&mut self) {
        let view = self.outer.engine.view(self.outer.clock.now());
        let passports = view
            .incidents
            .iter()
            .filter_map(|incident| Some((incident.id, self.passports.get(&incident.id)?.clone())))
            .collect();
        let picture = Picture { view, passports };
        self.resolve(picture.sites());
        self.outer.picture.send_replace(Arc::new(picture));
        self.published = Instant::now();
        self.changed = false;
    }
}

#[cfg(test)]
mod tests;
