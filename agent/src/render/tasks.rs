//! What a target's threads do, as the API and `why` tell it.

use super::{Sites, frames};
use serde::Serialize;
use snowshed_engine::model::{BlockedView, LockKind, LockView, Nanos, TaskGroup, TasksView, ThreadGroup};

/// Threads, locks, processor and disk of a target.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Record {
    pub(crate) threads: Vec<Threads>,
    /// Threads in groups that are left out.
    pub(crate) threads_left_out: u32,
    /// Tasks of its own scheduler, where it publishes them.
    pub(crate) tasks_live: Option<u64>,
    /// By the place that makes them.
    pub(crate) tasks: Vec<Group>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) cpu: Cpu,
    pub(crate) uninterruptible_seconds: f64,
    pub(crate) longest_uninterruptible: Option<Blocked>,
}

/// Threads of one origin.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Threads {
    pub(crate) name: String,
    /// Where they were made; empty if that was not seen.
    pub(crate) frames: Vec<String>,
    pub(crate) live: u32,
    /// Of these, whose making was seen; the others were put to their namesakes.
    pub(crate) sampled: u32,
    pub(crate) running: u32,
    pub(crate) oldest_seconds: f64,
    pub(crate) newest_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) trace_ids: Vec<String>,
    pub(crate) join: &'static str,
}

/// Async tasks or goroutines of one origin.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) frames: Vec<String>,
    pub(crate) live: u64,
    /// What most of them do; empty: not told.
    pub(crate) state: String,
}

/// A lock that threads waited for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lock {
    pub(crate) kind: LockKind,
    /// Where a waiter stood; empty if that is not known.
    pub(crate) frames: Vec<String>,
    pub(crate) thread: String,
    pub(crate) waiters: u32,
    pub(crate) waits_seen: u64,
    pub(crate) wait_seconds: f64,
    pub(crate) longest_seconds: f64,
    pub(crate) hand_overs_seen: u64,
    pub(crate) holder: Option<Holder>,
}

/// Who holds a lock, where the lock itself says so.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Holder {
    pub(crate) tid: u32,
    pub(crate) thread: String,
    pub(crate) frames: Vec<String>,
}

/// The longest wait that no signal could end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Blocked {
    pub(crate) longest_seconds: f64,
    pub(crate) thread: String,
    pub(crate) syscall: String,
    /// Function of the kernel; empty: not seen.
    pub(crate) kernel_function: String,
    /// Block device, where the thread's descriptor tells.
    pub(crate) device: Option<String>,
    /// Where it stood; empty if that is not known.
    pub(crate) frames: Vec<String>,
}

impl Blocked {
    fn new(view: &BlockedView, sites: &Sites) -> Self {
        Self {
            longest_seconds: view.longest_seconds,
            thread: view.thread.clone(),
            syscall: view.syscall.clone(),
            kernel_function: view.function.clone(),
            device: view.device.clone(),
            frames: frames(sites, view.site),
        }
    }
}

/// How the target got on with the processor since it is watched.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) used_seconds: f64,
    pub(crate) delay_seconds: f64,
    /// `null`: unknown.
    pub(crate) throttled_periods: Option<u64>,
    pub(crate) throttled_seconds: Option<f64>,
}

impl Record {
    /// With the names that are known.
    pub(crate) fn new(view: &TasksView, sites: &Sites, now: Nanos) -> Self {
        Self {
            threads: view.groups.iter().map(|group| Threads::new(group, sites, now)).collect(),
            threads_left_out: view.left_out,
            tasks_live: view.tasks_live,
            tasks: view.tasks.iter().map(|group| Group::new(group, sites)).collect(),
            locks: view.locks.iter().map(|lock| Lock::new(lock, sites)).collect(),
            cpu: Cpu {
                used_seconds: view.cpu_used_seconds,
                delay_seconds: view.cpu_delay_seconds,
                throttled_periods: view.throttled.map(|told| told.0),
                throttled_seconds: view.throttled.map(|told| told.1),
            },
            uninterruptible_seconds: view.blocked_seconds,
            longest_uninterruptible: view.blocked.as_ref().map(|blocked| Blocked::new(blocked, sites)),
        }
    }
}

impl Threads {
    fn new(group: &ThreadGroup, sites: &Sites, now: Nanos) -> Self {
        let age = |start: Nanos| now.saturating_sub(start) as f64 / 1e9;
        Self {
            name: group.name.clone(),
            frames: frames(sites, group.site),
            live: group.live,
            sampled: group.sampled,
            running: group.running,
            oldest_seconds: age(group.oldest),
            newest_seconds: age(group.newest),
            cpu_seconds: group.cpu_ns as f64 / 1e9,
            trace_ids: group.traces.iter().map(ToString::to_string).collect(),
            join: if group.traces.is_empty() { "none" } else { "inherited" },
        }
    }
}

impl Group {
    fn new(group: &TaskGroup, sites: &Sites) -> Self {
        Self { frames: frames(sites, group.site), live: group.live, state: group.state.clone() }
    }
}

impl Lock {
    fn new(lock: &LockView, sites: &Sites) -> Self {
        Self {
            kind: lock.kind,
            frames: frames(sites, lock.site),
            thread: lock.thread.clone(),
            waiters: lock.waiters,
            waits_seen: lock.waits,
            wait_seconds: lock.wait_seconds,
            longest_seconds: lock.longest_seconds,
            hand_overs_seen: lock.hand_overs,
            holder: lock.holder.as_ref().map(|holder| Holder {
                tid: holder.tid,
                thread: holder.thread.clone(),
                frames: frames(sites, holder.site),
            }),
        }
    }
}
