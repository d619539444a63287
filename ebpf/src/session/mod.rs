//! Loading, attaching, targets and polling: the one object that the agent talks to.
//!
//! Invariants: one thread owns it; it starts in a lower tier rather than fail; everything that it holds is
//! bounded; dropping it detaches every program and changes nothing that outlives it.
//! Cost: a wake-up per look (ten a second) or ring entry, nothing else.

mod follow;
mod tell;

use crate::{
    host::{
        clock,
        cost::Cost,
        kernel::Kernel,
        sites::{Frame, Sites},
        targets::Targets,
    },
    probes::{self, Look, Probe},
    wire::LEVELS,
};
use snowshed_engine::model::{Ask, Nanos, Observation, Pid, SiteId};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Stacks a second that every target may have copied, unless the engine asks for more.
const STACKS_PER_SECOND: u32 = 50;
/// No more than this, however much is asked.
const MOST_STACKS_PER_SECOND: u32 = 500;
/// How often the allowance is filled up.
const REFILL: Nanos = 200_000_000;
/// Ring entries taken per poll, so that one flood cannot keep the agent from looking.
const MOST_PER_POLL: usize = 4096;

/// How to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Do not use BPF at all (`/proc` fallbacks only); for tests and for `--no-bpf`.
    pub no_bpf: bool,
}

/// What can go wrong with one target; the session itself always starts, in a lower tier if it must.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such process in this pid namespace.
    #[error("pid {0}: no such process")]
    NoSuchProcess(Pid),
    /// It may not be looked at.
    #[error("pid {0}: not permitted: {1}")]
    NotPermitted(Pid, String),
    /// The table of targets is full.
    #[error("pid {0}: already watching {1} processes, the most this version can")]
    TooMany(Pid, usize),
}

/// A probe with its state here.
struct Unit {
    probe: Box<dyn Probe>,
    /// Why the kernel part is not there.
    trouble: Option<String>,
    due: Nanos,
    lost: u64,
}

/// Attached probes. Lives on one thread; dropping it detaches everything.
pub struct Session {
    kernel: Option<Kernel>,
    units: Vec<Unit>,
    targets: Targets,
    sites: Sites,
    cost: Cost,
    buffer: Vec<u8>,
    level: usize,
    rates: BTreeMap<Pid, u32>,
    refill: Nanos,
    pending: Vec<Observation>,
    lifecycle_lost: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("kernel", &self.kernel.is_some()).field("targets", &self.targets).finish()
    }
}

impl Session {
    /// Attaches what can be attached. Never fails: see [`Session::status`].
    #[must_use]
    pub fn start(options: Options) -> Self {
        let now = clock::now();
        let mut units: Vec<Unit> =
            probes::all().into_iter().map(|probe| Unit { probe, trouble: None, due: now, lost: 0 }).collect();
        let loaded = if options.no_bpf {
            Err("switched off".to_owned())
        } else {
            Kernel::load().map_err(|error| error.to_string()).and_then(|mut kernel| {
                follow::lifecycle(&mut kernel)?;
                Ok(kernel)
            })
        };
        let kernel = match loaded {
            Ok(mut kernel) => {
                for unit in &mut units {
                    unit.trouble = unit.probe.attach(&mut kernel).err().map(|error| error.to_string());
                }
                kernel.settle();
                Some(kernel)
            }
            Err(reason) => {
                // One that has no kernel programs lacks nothing.
                for unit in units.iter_mut().filter(|unit| !unit.probe.programs().is_empty()) {
                    unit.trouble = Some(reason.clone());
                }
                None
            }
        };
        for unit in &units {
            if let Some(trouble) = &unit.trouble {
                tracing::warn!(probe = unit.probe.name(), "{trouble}");
            }
        }
        let cost = Cost::new(units.iter().map(|unit| unit.probe.programs()), now);
        let mut session = Self {
            kernel,
            units,
            targets: Targets::default(),
            sites: Sites::default(),
            cost,
            buffer: Vec::new(),
            level: 0,
            rates: BTreeMap::new(),
            refill: now,
            pending: Vec::new(),
            lifecycle_lost: 0,
        };
        let own = session.threads(std::process::id()).ok().and_then(|threads| threads.first().copied());
        session.level = own.map_or(0, |thread| (thread.level as usize).min(LEVELS - 1));
        session
    }

    /// The processes watched now, forked children included.
    #[must_use]
    pub fn targets(&self) -> Vec<Pid> {
        self.targets.pids()
    }

    /// Waits up to `timeout` for kernel events, then appends what they and the due samples say.
    pub fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) {
        let next = self.units.iter().filter(|unit| unit.probe.period().is_some()).map(|unit| unit.due).min();
        let rest = Duration::from_nanos(next.unwrap_or(Nanos::MAX).saturating_sub(clock::now()));
        match &self.kernel {
            Some(kernel) => kernel.wait(rest.min(timeout)),
            None => std::thread::sleep(rest.min(timeout)),
        }
        self.drain(out);
        out.append(&mut self.pending);
        let now = clock::now();
        self.reap(now, out);
        self.refill(now);
        if let Some(kernel) = &self.kernel
            && now >= self.cost.due()
        {
            self.cost.turn(kernel, now);
        }
        let Self { kernel, units, targets, sites, buffer, level, .. } = self;
        for unit in units.iter_mut().filter(|unit| now >= unit.due) {
            let Some(period) = unit.probe.period() else { continue };
            // From now, not from when it was due: after a pause there is one look, not many.
            unit.due = now + u64::try_from(period.as_nanos()).unwrap_or(Nanos::MAX);
            let kernel = if unit.trouble.is_none() { kernel.as_mut() } else { None };
            unit.probe.sample(&mut Look { now, kernel, targets, sites, buffer, level: *level }, out);
        }
        self.losses(now, out);
    }

    /// Takes events and stacks off the rings.
    fn drain(&mut self, out: &mut Vec<Observation>) {
        let Some(mut kernel) = self.kernel.take() else { return };
        let mut events = Vec::new();
        kernel.events(MOST_PER_POLL, |event| events.push(event));
        for event in events {
            self.take(&mut kernel, &event, out);
        }
        let (targets, sites, units) = (&self.targets, &mut self.sites, &mut self.units);
        kernel.stacks(MOST_PER_POLL, |record| {
            let Some(pid) = targets.inner(record.host_tgid) else { return };
            let site = sites.site(pid, record, clock::now());
            if site != SiteId(0) {
                units.iter_mut().for_each(|unit| unit.probe.stack(record, site));
            }
        });
        self.kernel = Some(kernel);
    }

    fn refill(&mut self, now: Nanos) {
        if self.refill > now {
            return;
        }
        self.refill = now + REFILL;
        self.sites.rest(now);
        let Some(kernel) = &mut self.kernel else { return };
        for watched in self.targets.iter() {
            let rate = self.rates.get(&watched.pid).copied().unwrap_or(STACKS_PER_SECOND);
            kernel.set_tokens(watched.host, rate / 5);
        }
    }

    /// Answers the engine.
    pub fn ask(&mut self, ask: Ask) {
        let Ask::StackRate { pid, per_second } = ask;
        if self.targets.get(pid).is_some() {
            self.rates.insert(pid, per_second.clamp(5, MOST_STACKS_PER_SECOND));
        }
    }

    /// The frames of a site, innermost first; empty if unknown. Resolved lazily and kept.
    pub fn frames(&mut self, site: SiteId) -> Vec<Frame> {
        self.sites.frames(site)
    }

    /// `CLOCK_MONOTONIC` now.
    #[must_use]
    pub fn now() -> Nanos {
        clock::now()
    }
}
