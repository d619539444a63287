//! Loading, attaching, targets and polling: the one object that the agent talks to.
//!
//! Invariants: one thread owns it; it starts in a lower tier rather than fail; everything that it holds is
//! bounded; dropping it detaches every program and changes nothing that outlives it.
//! Cost: a wake-up per look (ten a second; four while no target runs at all) or event; copied stacks wait for each other
//! for a few milliseconds.

mod budget;
mod follow;
mod profile;
mod publish;
mod shed;
mod stacks;
mod tell;

pub use budget::{Budget, Shed};
pub use profile::{CpuSampling, SamplingError};

use crate::{
    host::{
        clock,
        cost::Cost,
        iterator::{self, Of},
        kernel::Kernel,
        observer::Observer,
        publish::{Away, Followed},
        setup::Setups,
        sites::{Frame, Sites},
        targets::Targets,
        waker::Waker,
    },
    probes::{self, Look, Probe, fd::OpenFd},
    wire::{LEVELS, ThreadRecord},
};
use budget::Governor;
use shed::Watch;
use snowshed_engine::model::{Holdings, Nanos, Observation, Pid, SiteId};
use std::{collections::BTreeMap, fmt, time::Duration};

/// How often it is seen to that ended processes are forgotten, and losses are told.
const TIDY: Nanos = 1_000_000_000;
/// What is due so soon is done at once: one wake-up instead of two.
const TOGETHER: Nanos = 20_000_000;
/// Between two looks of a probe while no target runs. A thread that begins to run is then looked at within the shortest
/// stall that is seen for certain (a threshold of 150 ms, and 100 ms between two looks), so that none is lost by it.
const RESTING: Nanos = 250_000_000;
/// What is due so soon is done at once while no target runs.
const TOGETHER_RESTING: Nanos = 60_000_000;
/// A new target is looked at so soon.
const SOON: Nanos = 100_000_000;
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
    /// Its hooks are on.
    hooked: bool,
    /// Events that it counted and lost while it was calibrated.
    calibrated: (u64, u64),
    due: Nanos,
    lost: u64,
}

/// Attached probes. Lives on one thread; dropping it detaches everything.
pub struct Session {
    kernel: Option<Kernel>,
    units: Vec<Unit>,
    targets: Targets,
    /// What each of them publishes of itself.
    publishers: BTreeMap<Pid, Followed>,
    /// Looks that wait for a target's memory.
    away: Away,
    /// What another observer knows of their threads.
    observer: Observer,
    sites: Sites,
    cost: Cost,
    buffer: Vec<u8>,
    level: usize,
    rates: BTreeMap<Pid, u32>,
    /// What a process gets that nobody asked about.
    stack_rate: u32,
    /// When the present program of a process began, where that was seen.
    executed: BTreeMap<Pid, Nanos>,
    refill: Nanos,
    /// Allowances have been used, or changed, since they were filled up.
    used: bool,
    tidy: Nanos,
    /// Reads what they run with.
    setups: Setups,
    pending: Vec<Observation>,
    lifecycle_lost: u64,
    /// An exit may have been lost.
    doubted: bool,
    budget: Budget,
    governor: Governor,
    watch: Watch,
    /// Looks are this many times rarer than probes ask for.
    slower: u32,
    /// Where a process was met that is sampled.
    met: Option<profile::Met>,
    /// Ends a wait before its time.
    waker: Option<Waker>,
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
        let mut units: Vec<Unit> = probes::all()
            .into_iter()
            .map(|probe| Unit { probe, trouble: None, hooked: true, calibrated: (0, 0), due: now, lost: 0 })
            .collect();
        let loaded = if options.no_bpf {
            Err("switched off".to_owned())
        } else {
            Kernel::load().map_err(|error| error.to_string()).and_then(|mut kernel| {
                follow::lifecycle(&mut kernel)?;
                Ok(kernel)
            })
        };
        let mut cost = Cost::new(units.iter().map(|unit| unit.probe.programs()), now);
        let kernel = match loaded {
            Ok(mut kernel) => {
                let own = own_thread(&mut kernel).map_or(0, |thread| thread.host[1]);
                cost.begin();
                for (index, unit) in units.iter_mut().enumerate() {
                    unit.trouble = unit.probe.attach(&mut kernel).err().map(|error| error.to_string());
                    if unit.trouble.is_some() {
                        // What it did attach would cost everybody and tell nobody.
                        kernel.unhook(unit.probe.programs());
                    }
                    cost.calibrate(index, &mut kernel, own);
                }
                cost.settle(clock::now());
                kernel.settle();
                Some(kernel)
            }
            Err(reason) => {
                for unit in units.iter_mut().filter(|unit| unit.probe.needs_kernel()) {
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
        let governor = Governor::new(units.len());
        let mut session = Self {
            kernel,
            units,
            targets: Targets::default(),
            publishers: BTreeMap::new(),
            away: Away::default(),
            observer: Observer::default(),
            sites: Sites::default(),
            cost,
            buffer: Vec::new(),
            level: 0,
            rates: BTreeMap::new(),
            stack_rate: stacks::STACKS_PER_SECOND,
            executed: BTreeMap::new(),
            refill: now,
            used: true,
            tidy: now,
            setups: Setups::default(),
            pending: Vec::new(),
            lifecycle_lost: 0,
            doubted: false,
            budget: Budget::default(),
            governor,
            watch: Watch::default(),
            slower: 1,
            met: None,
            waker: None,
        };
        let counts = session.counts();
        for unit in &mut session.units {
            let counted = unit.counted(&counts);
            (unit.calibrated, unit.lost) = (counted, counted.1);
        }
        let own = session.kernel.as_mut().and_then(own_thread);
        session.level = own.map_or(0, |thread| (thread.level as usize).min(LEVELS - 1));
        session
    }

    /// What observing may cost from now on.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// Lets waits be ended by another thread.
    pub fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// The processes watched now, forked children included.
    #[must_use]
    pub fn targets(&self) -> Vec<Pid> {
        self.targets.pids()
    }

    /// Appends what is known without a look: that processes are watched from now on, above all.
    pub fn news(&mut self, out: &mut Vec<Observation>) {
        out.append(&mut self.pending);
    }

    /// Waits up to `timeout` for kernel events or to be woken, then appends what they and the due samples say.
    pub fn poll(&mut self, timeout: Duration, out: &mut Vec<Observation>) {
        let next = self.units.iter().filter(|unit| unit.probe.period().is_some()).map(|unit| unit.due).min();
        let rest = Duration::from_nanos(next.unwrap_or(Nanos::MAX).saturating_sub(clock::now()));
        let rest = if self.pending.is_empty() { rest } else { Duration::ZERO };
        match (&self.kernel, &self.waker) {
            (Some(kernel), waker) => kernel.wait(rest.min(timeout), waker.as_ref()),
            (None, Some(waker)) => waker.wait(rest.min(timeout)),
            (None, None) => std::thread::sleep(rest.min(timeout)),
        }
        self.drain(out);
        out.append(&mut self.pending);
        let now = clock::now();
        let tidy = now >= self.tidy;
        if tidy {
            self.tidy = now + TIDY;
            self.reap(now, out);
        }
        self.follow_publishers(now, out);
        self.refill(now);
        if now >= self.cost.due() {
            self.cost.turn(self.kernel.as_ref(), now);
        }
        self.hold_budget(now);
        let Self { kernel, units, targets, sites, buffer, level, slower, .. } = self;
        let mut together = 0;
        let mut least = 0;
        if units.iter().any(|unit| now + TOGETHER >= unit.due) {
            targets.note_activity(now);
            (least, together) = if targets.are_at_rest(now) { (RESTING, TOGETHER_RESTING) } else { (0, TOGETHER) };
        }
        for unit in units.iter_mut().filter(|unit| now + together >= unit.due) {
            let reads = unit.trouble.is_none() && (unit.hooked || unit.probe.without_hooks().is_some());
            let kernel = if reads { kernel.as_mut() } else { None };
            unit.probe.sample(&mut Look { now, kernel, targets, sites, buffer, level: *level }, out);
            // From now, not from when it was due: after a pause there is one look, not many.
            unit.due = match unit.probe.period() {
                Some(period) => now + nanos(period).max(least) * u64::from(*slower),
                None => Nanos::MAX,
            };
        }
        if tidy {
            self.losses(now, out);
        }
    }

    /// Has a new target looked at before long.
    fn look_soon(&mut self) {
        let soon = clock::now() + SOON;
        for unit in self.units.iter_mut().filter(|unit| unit.probe.period().is_some()) {
            unit.due = unit.due.min(soon);
        }
    }

    /// Takes events and stacks off the rings.
    fn drain(&mut self, out: &mut Vec<Observation>) {
        let Some(mut kernel) = self.kernel.take() else { return };
        let mut events = Vec::new();
        kernel.events(MOST_PER_POLL, |event| events.push(event));
        for event in events {
            self.take(&mut kernel, &event, out);
        }
        let Self { targets, sites, units, used, met, .. } = self;
        kernel.stacks(MOST_PER_POLL, |record| {
            *used = true;
            let Some(pid) = targets.inner(record.host_tgid) else { return };
            let site = sites.site(pid, record, clock::now());
            if site != SiteId(0) {
                units.iter_mut().for_each(|unit| unit.probe.stack(record, site));
            }
            if let Some(met) = met.as_mut().filter(|_| record.file == 0) {
                met.add(site);
            }
        });
        self.kernel = Some(kernel);
    }

    /// What a process holds at this moment, outside the rhythm of the looks; `None` if it cannot be looked at.
    /// What else the kernel has told until now comes with the next [`Session::poll`].
    pub fn holdings(&mut self, pid: Pid) -> Option<Holdings> {
        let mut pending = std::mem::take(&mut self.pending);
        self.drain(&mut pending);
        self.pending = pending;
        let Self { kernel, units, targets, sites, buffer, level, .. } = self;
        units.iter_mut().find_map(|unit| {
            let kernel = if unit.trouble.is_none() { kernel.as_mut() } else { None };
            unit.probe.holdings(&mut Look { now: clock::now(), kernel, targets, sites, buffer, level: *level }, pid)
        })
    }

    /// These descriptors of a process with what they lead to, by number; those that are not open are left out.
    /// `None` if it cannot be looked at. Costs three looks and, for each one wanted, two reads in `/proc`.
    pub fn open(&mut self, pid: Pid, wanted: &[i32]) -> Option<Vec<OpenFd>> {
        let Self { kernel, units, targets, sites, buffer, level, .. } = self;
        units.iter_mut().find_map(|unit| {
            let kernel = if unit.trouble.is_none() { kernel.as_mut() } else { None };
            let mut look = Look { now: clock::now(), kernel, targets, sites, buffer, level: *level };
            unit.probe.open(&mut look, pid, wanted)
        })
    }

    /// When a process began to be what it is: its fork or its last exec, where that was seen.
    #[must_use]
    pub fn born(&self, pid: Pid) -> Option<Nanos> {
        let forked = self.targets.get(pid)?.started;
        Some(self.executed.get(&pid).map_or(forked, |executed| forked.max(*executed)))
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

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 16)
}

/// The first thread of this process, as the kernel sees it.
fn own_thread(kernel: &mut Kernel) -> Option<ThreadRecord> {
    let mut buffer = Vec::new();
    kernel.look("thread_list", Of::Process(std::process::id()), &mut buffer).ok()?;
    iterator::records(&buffer).next()
}
