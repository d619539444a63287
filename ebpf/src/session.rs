//! Loading, attaching, targets and polling: the one object that the agent talks to.
//!
//! Invariants: one thread owns it; it starts in a lower tier rather than fail; everything that it holds is
//! bounded; dropping it detaches every program and changes nothing that outlives it.
//! Cost: a wake-up per look (ten a second) or ring entry, nothing else.

use crate::{
    ProbeStatus, Tier,
    host::{
        clock,
        cost::Cost,
        iterator::{self, Of},
        kernel::Kernel,
        sites::{Frame, Sites},
        targets::{self, Targets, Watched},
    },
    probes::{self, Look, Probe},
    wire::{Counter, EVENT_EXEC, EVENT_EXIT, EVENT_FORK, Event, LEVELS, ThreadRecord},
};
use snowshed_engine::model::{Ask, Lost, Nanos, Observation, Pid, ProcessExit, ProcessSeen, SiteId};
use std::{collections::BTreeMap, fmt, io, path::Path, time::Duration};

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
                lifecycle(&mut kernel)?;
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
                for unit in &mut units {
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

    /// Watches a process, its present children and, from now on, the processes it forks.
    ///
    /// # Errors
    /// The process does not exist or may not be read, or the table is full.
    pub fn add_target(&mut self, pid: Pid) -> Result<(), SessionError> {
        if self.targets.get(pid).is_some() {
            return Ok(());
        }
        self.add(pid, None)?;
        // Children that are there already; ones that fork from now on are told by the kernel.
        let mut open = vec![pid];
        while let Some(parent) = open.pop() {
            for child in targets::children(parent) {
                if self.targets.get(child).is_none() && self.add(child, Some(parent)).is_ok() {
                    open.push(child);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, pid: Pid, parent: Option<Pid>) -> Result<(), SessionError> {
        if self.targets.is_full() {
            return Err(SessionError::TooMany(pid, targets::MOST));
        }
        let name = targets::name(pid).ok_or(SessionError::NoSuchProcess(pid))?;
        let started = targets::started(pid).ok_or(SessionError::NoSuchProcess(pid))?;
        if let Err(error) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
            let gone = error.kind() == io::ErrorKind::NotFound;
            return Err(if gone {
                SessionError::NoSuchProcess(pid)
            } else {
                SessionError::NotPermitted(pid, error.to_string())
            });
        }
        let host = if self.kernel.is_some() {
            let threads = self.threads(pid).map_err(|error| SessionError::NotPermitted(pid, error.to_string()))?;
            threads.first().ok_or(SessionError::NoSuchProcess(pid))?.host[1]
        } else {
            0
        };
        let watched = Watched { pid, host, name, started, parent };
        if let Some(kernel) = &mut self.kernel {
            targets::refresh(kernel, &watched).map_err(|error| SessionError::NotPermitted(pid, error))?;
            kernel.set_tokens(host, STACKS_PER_SECOND);
        }
        self.pending.push(seen(&watched));
        self.targets.insert(watched);
        Ok(())
    }

    fn threads(&mut self, pid: Pid) -> io::Result<Vec<ThreadRecord>> {
        let kernel = self.kernel.as_mut().ok_or_else(|| io::Error::other("no kernel programs"))?;
        kernel.look("thread_list", Of::Process(pid), &mut self.buffer)?;
        Ok(iterator::records(&self.buffer).collect())
    }

    /// Stops watching a process.
    pub fn remove_target(&mut self, pid: Pid) {
        let Some(watched) = self.targets.remove(pid) else { return };
        if let Some(kernel) = &mut self.kernel {
            kernel.drop_target(watched.host);
        }
        self.forget(pid);
    }

    fn forget(&mut self, pid: Pid) {
        self.sites.forget(pid);
        self.rates.remove(&pid);
        for unit in &mut self.units {
            unit.probe.forget(pid);
        }
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

    fn take(&mut self, kernel: &mut Kernel, event: &Event, out: &mut Vec<Observation>) {
        match event.kind {
            EVENT_FORK => {
                let Some(parent) = self.targets.inner(event.host_tgid) else { return };
                let pid = event.numbers[self.level];
                let name = targets::name(pid).or_else(|| self.targets.get(parent).map(|parent| parent.name.clone()));
                let watched = Watched {
                    pid,
                    host: event.child,
                    name: name.unwrap_or_default(),
                    started: event.at,
                    parent: Some(parent),
                };
                if pid == 0 || self.targets.is_full() {
                    kernel.drop_target(event.child);
                    return;
                }
                kernel.set_tokens(event.child, STACKS_PER_SECOND);
                out.push(seen(&watched));
                self.targets.insert(watched);
            }
            EVENT_EXEC => {
                let Some(pid) = self.targets.inner(event.host_tgid) else { return };
                self.sites.forget(pid);
                if let Some(watched) = self.targets.get_mut(pid) {
                    watched.name = targets::name(pid).unwrap_or_else(|| watched.name.clone());
                    let watched = watched.clone();
                    // It may be gone already; its exit follows on the ring.
                    drop(targets::refresh(kernel, &watched));
                    out.push(seen(&watched));
                }
            }
            EVENT_EXIT => {
                if let Some(pid) = self.targets.inner(event.host_tgid) {
                    self.targets.remove(pid);
                    kernel.drop_target(event.host_tgid);
                    self.forget(pid);
                    out.push(Observation::Exit(ProcessExit { pid, at: event.at }));
                }
            }
            _ => self.units.iter_mut().for_each(|unit| unit.probe.event(event, &self.targets, out)),
        }
    }

    /// Without kernel programs, or if an exit was lost: a process whose `/proc` entry is gone has ended.
    fn reap(&mut self, now: Nanos, out: &mut Vec<Observation>) {
        if self.refill > now {
            return;
        }
        for pid in self.targets.pids() {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                self.remove_target(pid);
                out.push(Observation::Exit(ProcessExit { pid, at: now }));
            }
        }
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

    /// Tells new losses, so that the engine never takes silence for health.
    fn losses(&mut self, at: Nanos, out: &mut Vec<Observation>) {
        let Some(kernel) = &self.kernel else { return };
        for unit in &mut self.units {
            let lost: u64 = unit.probe.counters().1.iter().map(|counter| kernel.count(*counter)).sum();
            if lost > unit.lost {
                out.push(Observation::Lost(Lost { probe: unit.probe.name().to_owned(), events: lost - unit.lost, at }));
                unit.lost = lost;
            }
        }
        let lost = kernel.count(Counter::LifecycleLost);
        if lost > self.lifecycle_lost {
            let events = lost - self.lifecycle_lost;
            out.push(Observation::Lost(Lost { probe: "lifecycle".to_owned(), events, at }));
            self.lifecycle_lost = lost;
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

    /// State and cost of each probe.
    #[must_use]
    pub fn status(&self) -> Vec<ProbeStatus> {
        let count = |counters: &[Counter]| {
            self.kernel.as_ref().map_or(0, |kernel| counters.iter().map(|counter| kernel.count(*counter)).sum())
        };
        let row = |(index, unit): (usize, &Unit)| {
            let (events, lost) = unit.probe.counters();
            let (tier, reason) = match (&unit.trouble, unit.probe.fallback()) {
                (None, _) => (Tier::Full, String::new()),
                (Some(trouble), Some(fallback)) => (Tier::Reduced, format!("{trouble}; serving {fallback}")),
                (Some(trouble), None) => (Tier::Off, trouble.clone()),
            };
            ProbeStatus {
                name: unit.probe.name(),
                tier,
                remedy: unit.trouble.as_deref().map(remedy).unwrap_or_default(),
                reason,
                events: count(events),
                lost: count(lost),
                ns_per_event: self.cost.ns_per_run(index),
            }
        };
        self.units.iter().enumerate().map(row).collect()
    }

    /// `CLOCK_MONOTONIC` now.
    #[must_use]
    pub fn now() -> Nanos {
        clock::now()
    }
}

/// Follows forks, execs and exits: without it nothing else can be trusted, so it is not a probe.
fn lifecycle(kernel: &mut Kernel) -> Result<(), String> {
    kernel.iterator("thread_list", "task").map_err(|error| error.to_string())?;
    let hooks = [
        ("process_forked", "sched_process_fork"),
        ("process_executed", "sched_process_exec"),
        ("process_exited", "sched_process_exit"),
    ];
    for (program, tracepoint) in hooks {
        kernel.tracepoint(program, tracepoint).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn seen(watched: &Watched) -> Observation {
    Observation::Process(ProcessSeen {
        pid: watched.pid,
        name: watched.name.clone(),
        started: watched.started,
        parent: watched.parent,
        instance: None,
    })
}

/// What would help against a trouble.
fn remedy(trouble: &str) -> String {
    let permitted = ["Operation not permitted", "Permission denied", "os error 1)", "EPERM"];
    if permitted.iter().any(|text| trouble.contains(text)) {
        "run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (and CAP_SYS_ADMIN where \
         tracefs is not mounted)"
            .to_owned()
    } else if trouble.contains("/sys/kernel/btf") {
        "a kernel built with CONFIG_DEBUG_INFO_BTF (5.10 and later of most distributions)".to_owned()
    } else if trouble == "switched off" {
        "start without --no-bpf".to_owned()
    } else if trouble.contains("tracefs") {
        "mount tracefs at /sys/kernel/tracing, or grant CAP_SYS_ADMIN".to_owned()
    } else {
        "a newer kernel may have what is missing; see the reason".to_owned()
    }
}
