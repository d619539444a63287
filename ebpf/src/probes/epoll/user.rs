//! Ten looks a second at the threads of event loops; what they did, once a second.

use super::{
    judge::{self, Doing, Last},
    syscalls,
};
use crate::{
    host::{
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
    },
    probes::{Look, Probe},
    wire::{Counter, StackRecord, ThreadRecord},
};
use snowshed_engine::model::{Join, LoopTime, Nanos, Observation, Pid, SiteId, Stall, TraceId};
use std::{collections::HashMap, time::Duration};

/// Threads that are followed.
const MOST_THREADS: usize = 4096;
/// How often the time is told.
const TELL: Nanos = 1_000_000_000;

#[derive(Default)]
pub(crate) struct Epoll {
    threads: HashMap<(Pid, u32), Thread>,
    /// When a process is due that had no event loop at its last look: such ones are looked at once a second.
    idle: HashMap<Pid, Nanos>,
    /// What was counted before says nothing: the hooks were off.
    trusted: Nanos,
}

/// What is kept of a thread.
struct Thread {
    last: Option<Last>,
    /// The stall that is going on, and where.
    stuck: Option<(Nanos, SiteId)>,
    told_at: Nanos,
    told: ThreadRecord,
    told_blocked: Nanos,
    seen: Nanos,
}

impl Probe for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["epoll_entered", "epoll_left"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Waits], &[Counter::WaitsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("thread_list", "task")?;
        kernel.iterator("thread_stack", "task")?;
        kernel
            .syscalls("epoll_entered", &["sys_enter_epoll_wait", "sys_enter_epoll_pwait", "sys_enter_epoll_pwait2"])?;
        kernel.syscalls("epoll_left", &["sys_exit_epoll_wait", "sys_exit_epoll_pwait", "sys_exit_epoll_pwait2"])
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        if look.kernel.is_none() {
            return;
        }
        let now = look.now;
        for pid in look.targets.pids() {
            if self.idle.get(&pid).is_some_and(|due| now < *due) {
                continue;
            }
            let mut records = look.threads(pid);
            let trusted = self.trusted;
            records.retain(|record| record.task.waits != 0 || record.task.wait_since != 0);
            records.retain(|record| record.task.wait_since.max(record.task.wait_ended) >= trusted);
            if records.is_empty() {
                self.idle.insert(pid, now + TELL);
                continue;
            }
            // Nothing had been counted at the last look, so what is counted now is all new since then.
            let idle_at = self.idle.remove(&pid).map(|due| due.saturating_sub(TELL));
            for record in &records {
                self.one(look, pid, record, (&records, idle_at), out);
            }
        }
        self.threads.retain(|_, thread| now.saturating_sub(thread.seen) < 2 * TELL);
    }

    fn hooked(&mut self, since: Nanos) {
        self.threads.clear();
        self.idle.clear();
        self.trusted = since;
    }

    fn forget(&mut self, pid: Pid) {
        self.threads.retain(|(owner, _), _| *owner != pid);
        self.idle.remove(&pid);
    }
}

impl Epoll {
    fn one(
        &mut self,
        look: &mut Look<'_>,
        pid: Pid,
        record: &ThreadRecord,
        (all, idle_at): (&[ThreadRecord], Option<Nanos>),
        out: &mut Vec<Observation>,
    ) {
        let key = (pid, record.host[0]);
        if self.threads.len() >= MOST_THREADS && !self.threads.contains_key(&key) {
            return;
        }
        let now = look.now;
        let thread = self.threads.entry(key).or_insert_with(|| Thread {
            last: None,
            stuck: None,
            told_at: idle_at.unwrap_or(now),
            told: if idle_at.is_some() { ThreadRecord { task: Default::default(), ..*record } } else { *record },
            told_blocked: 0,
            seen: now,
        });
        thread.seen = now;
        let tid = record.numbers.get(look.level).copied().unwrap_or_default();
        let instance = i32::try_from(record.task.epoll).unwrap_or(-1);
        match judge::look(&mut thread.last, record, now) {
            None => thread.stuck = None,
            Some(since) => {
                let blocked = judge::doing(record) == Doing::Blocked;
                let site = match thread.stuck {
                    Some((known, site)) if known == since => site,
                    // A thread that computes has no meaningful registers to start from.
                    _ if blocked => site_of(look, pid, tid),
                    _ => SiteId(0),
                };
                thread.stuck = Some((since, site));
                let [high, low] = record.context.trace.map(u64::to_ne_bytes);
                let trace = TraceId::from_bytes(&[high, low].concat());
                let served =
                    all.iter().any(|other| other.task.epoll == record.task.epoll && other.task.wait_since != 0);
                out.push(Observation::Stall(Stall {
                    pid,
                    tid,
                    thread: name(record),
                    instance,
                    since,
                    until: now,
                    join: if trace.is_some() { Join::ThreadContext } else { Join::None },
                    trace,
                    site,
                    on_cpu: !blocked,
                    syscall: blocked.then(|| syscalls::name(record.syscall)),
                    starved: record.ready != 0 && !served,
                }));
            }
        }
        if now.saturating_sub(thread.told_at) >= TELL {
            let blocked = thread.last.as_ref().map_or(0, |last| last.blocked);
            let roams = thread.last.as_ref().is_some_and(|last| last.roams);
            let (task, told) = (&record.task, &thread.told.task);
            let busy_ns = if roams {
                // Parks outside epoll: only CPU time and seen blocking count as work.
                record.runtime.saturating_sub(thread.told.runtime) + blocked.saturating_sub(thread.told_blocked)
            } else {
                task.busy_ns.saturating_sub(told.busy_ns)
            };
            out.push(Observation::LoopTime(LoopTime {
                pid,
                tid,
                instance,
                waits: task.waits.saturating_sub(told.waits),
                wait_ns: task.wait_ns.saturating_sub(told.wait_ns),
                busy_ns: busy_ns.min(now - thread.told_at),
                at: now,
            }));
            (thread.told_at, thread.told, thread.told_blocked) = (now, *record, blocked);
        }
    }
}

fn name(record: &ThreadRecord) -> String {
    let end = record.comm.iter().position(|byte| *byte == 0).unwrap_or(record.comm.len());
    String::from_utf8_lossy(&record.comm[..end]).into_owned()
}

/// Where a blocked thread stands.
fn site_of(look: &mut Look<'_>, pid: Pid, tid: u32) -> SiteId {
    let Some(kernel) = look.kernel.as_deref_mut() else { return SiteId(0) };
    if kernel.look("thread_stack", Of::Thread(tid), look.buffer).is_err() {
        return SiteId(0);
    }
    // The record holds four pages: kept off this thread's stack.
    let record = iterator::records::<StackRecord>(look.buffer).next().map(Box::new);
    record.map_or(SiteId(0), |record| look.sites.site(pid, &record, look.now))
}
