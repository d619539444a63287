//! Ten processes under traffic, the engine that watches them, and what it owes for that.

use crate::{
    heap,
    kernel::Process,
    random::Random,
    spans::{Exporter, SECOND, SERVICES},
};
use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{CauseKind, Nanos, Observation, Output, Pid, ProcessSeen},
};

pub(crate) const PROCESSES: u32 = 10;
const FIRST: Pid = 100;
const SLICE: Nanos = SECOND / 10;
/// Where time begins.
const BEGIN: Nanos = 1_000 * SECOND;

/// What a stretch of time took: seconds of the thread's CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) spans: u64,
    pub(crate) events: u64,
    pub(crate) on_spans: f64,
    pub(crate) on_events: f64,
    pub(crate) deciding: f64,
}

impl Cost {
    pub(crate) fn total(&self) -> f64 {
        self.on_spans + self.on_events + self.deciding
    }

    pub(crate) fn of_span(&self) -> f64 {
        self.on_spans / self.spans as f64
    }

    pub(crate) fn of_event(&self) -> f64 {
        self.on_events / self.events as f64
    }
}

/// The scene.
pub(crate) struct Scene {
    engine: Engine,
    random: Random,
    /// Spans a second, of all processes together.
    rate: u32,
    now: Nanos,
    exporters: Vec<Exporter>,
    processes: Vec<Process>,
    out: Vec<Output>,
    /// Leaks that were named.
    named: u64,
    /// Bytes that the engine keeps, and the most so far; what it was told is not in it.
    kept: isize,
    pub(crate) peak: isize,
}

impl Scene {
    pub(crate) fn new(seed: u64, rate: u32) -> Self {
        let pids = FIRST..FIRST + PROCESSES;
        let mut scene = Self {
            engine: Engine::new(EngineConfig::default()),
            random: Random::new(seed + 1),
            rate,
            now: BEGIN,
            exporters: pids.clone().enumerate().map(|(number, pid)| Exporter::new(pid, number)).collect(),
            processes: pids.clone().map(|pid| Process::new(pid, pid == FIRST)).collect(),
            out: Vec::new(),
            named: 0,
            kept: 0,
            peak: 0,
        };
        for (number, pid) in pids.enumerate() {
            let name = SERVICES[number % SERVICES.len()].to_owned();
            let seen = ProcessSeen { pid, name, started: SECOND, parent: None, instance: None };
            scene.engine.step(BEGIN, &Observation::Process(seen), &mut scene.out);
        }
        scene
    }

    /// Lets so many seconds pass.
    pub(crate) fn run(&mut self, seconds: u64) -> Cost {
        let mut cost = Cost::default();
        let end = self.now + seconds * SECOND;
        let (mut spans, mut events) = (Vec::new(), Vec::new());
        while self.now < end {
            self.now += SLICE;
            // Half of the spans are requests.
            let each = self.rate / 2 / PROCESSES / 10;
            let rest = u64::from(self.rate / 2 % (PROCESSES * 10));
            for (exporter, process) in self.exporters.iter_mut().zip(&mut self.processes) {
                let more = u32::from(self.random.below((PROCESSES * 10).into()) < rest);
                for _ in 0..each + more {
                    let at = self.now - self.random.below(SLICE);
                    let served = exporter.serve(&mut self.random, at);
                    cost.events += process.served(&mut self.random, &served, &mut events);
                }
                cost.events += process.look(&mut self.random, self.now, &mut events);
                exporter.flush(&mut self.random, self.now, &mut spans);
            }
            cost.spans += spans.len() as u64;
            cost.on_spans += self.take(&mut spans);
            cost.on_events += self.take(&mut events);
            cost.deciding += self.decide();
            self.peak = self.peak.max(self.kept);
        }
        cost
    }

    /// Hands these over, and serves what falls due meanwhile; how long that took.
    fn take(&mut self, all: &mut Vec<Observation>) -> f64 {
        let (begun, mut before) = (cpu_seconds(), heap::live());
        for observation in all.drain(..) {
            self.engine.step(self.now, &observation, &mut self.out);
            let live = heap::live();
            self.kept += live.wrapping_sub(before).cast_signed();
            drop(observation);
            before = heap::live();
        }
        cpu_seconds() - begun
    }

    fn decide(&mut self) -> f64 {
        let (begun, before) = (cpu_seconds(), heap::live());
        if self.now >= self.engine.next_deadline() {
            self.engine.tick(self.now, &mut self.out);
        }
        if self.now.is_multiple_of(SECOND) {
            std::hint::black_box(self.engine.view(self.now));
        }
        for output in self.out.drain(..) {
            if let Output::Incident(incident) = output {
                let leak = incident.causes.first().filter(|cause| cause.kind == CauseKind::FdLeak);
                self.named += u64::from(incident.pid == FIRST && leak.is_some());
            }
        }
        self.kept += heap::live().wrapping_sub(before).cast_signed();
        cpu_seconds() - begun
    }

    /// What it owes: each request counted once, and the leak named.
    pub(crate) fn check(&mut self) {
        let mut rest = Vec::new();
        self.exporters.iter_mut().for_each(|exporter| exporter.rest(&mut rest));
        self.take(&mut rest);
        let view = self.engine.view(self.now);
        for (target, exporter) in view.targets.iter().zip(&self.exporters) {
            assert_eq!(target.requests_total, exporter.requests, "requests of pid {}", target.pid);
        }
        assert!(self.named > 0, "a leak that nobody named");
        assert_eq!(view.targets.len(), PROCESSES as usize);
    }
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
