//! Ten looks a second at the threads of event loops; what they did, once a second.

use super::{
    hot::{self, Hot},
    instance::{self, Instances, Key, Service},
    judge::{self, Doing, Last},
    syscalls,
    unread::Unread,
    ways::{self, Ways},
};
use crate::{
    host::{
        elf,
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
        targets,
    },
    probes::{Look, Probe},
    wire::{Counter, StackRecord, ThreadRecord},
};
use snowshed_engine::model::{HoldingKind, Join, LoopTime, Nanos, Observation, Pid, SiteId, Stall, TraceId, WaitCall};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Threads that are followed.
const MOST_THREADS: usize = 4096;
/// How often the time is told.
const TELL: Nanos = 1_000_000_000;
/// A process that has not run is looked at so often all the same.
const ASLEEP: Nanos = 4 * TELL;
/// What was not seen for so long is forgotten.
const GONE: Nanos = ASLEEP + 2 * TELL;
/// For so long a process is looked at often: it may use a call that is not hooked yet.
const NEW: Nanos = 3 * TELL;
/// All programs whose cost is this probe's.
const PROGRAMS: [&str; 6] = {
    let [epoll, poll, select, ring, left] = ways::PROGRAMS;
    [epoll, poll, select, ring, left, hot::PROGRAM]
};

#[derive(Default)]
pub(crate) struct Epoll {
    ways: Ways,
    instances: Instances,
    hot: Hot,
    unread: Unread,
    threads: HashMap<(Pid, u32), Thread>,
    /// Processes that had no event loop at their last look.
    idle: HashMap<Pid, Idle>,
    /// Processes all of whose loops waited at their last look, with nothing ready: when that was, and how many waits
    /// had ended before it, in all processes.
    calm: HashMap<Pid, (Nanos, u64)>,
    /// What was counted before says nothing: the hooks were off.
    trusted: Nanos,
    /// What this kernel refused although the rest works.
    missing: Vec<String>,
}

/// A process without a loop: after a while it is looked at once a second only.
#[derive(Clone, Copy)]
struct Idle {
    first: Nanos,
    looked: Nanos,
}

impl Idle {
    fn is_due(self, now: Nanos, asleep: impl Fn(Nanos) -> bool) -> bool {
        let often = now < self.first + NEW;
        // Who has not run has begun no loop.
        often || (now >= self.looked + TELL && !(asleep(self.looked) && now < self.looked + ASLEEP))
    }
}

/// What is kept of a thread.
struct Thread {
    last: Option<Last>,
    /// The stretch that is going on.
    stuck: Option<Stuck>,
    told_at: Nanos,
    told: ThreadRecord,
    told_blocked: Nanos,
    seen: Nanos,
}

/// A thread that has not come back.
#[derive(Clone, Copy)]
struct Stuck {
    since: Nanos,
    site: SiteId,
    /// Its runtime lets other threads do its work meanwhile.
    handed_over: bool,
}

/// One thread at a look, and what else is known of its process there.
struct Seen<'a> {
    pid: Pid,
    record: &'a ThreadRecord,
    service: Service,
    /// It is the only loop of its process.
    only: bool,
    idle_at: Option<Nanos>,
}

impl Probe for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn programs(&self) -> &'static [&'static str] {
        &PROGRAMS
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Waits, Counter::HotStacks], &[Counter::WaitsLost, Counter::HotStacksLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("thread_list", "task")?;
        self.ways.load(kernel)?;
        let optional = [
            (kernel.iterator("thread_stack", "task"), "stacks of blocked threads"),
            (kernel.load_sampler(hot::PROGRAM), "stacks of threads that compute"),
            (Unread::load(kernel), "whether anybody waits for a loop on poll or select"),
        ];
        for (result, what) in optional {
            self.missing.extend(result.err().map(|error| format!("without {what}: {error}")));
        }
        Ok(())
    }

    fn lacks(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join("; "))
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
        self.find_instances(out, now);
        let mut suspects = HashSet::new();
        let asleep = |pid, since| look.targets.is_asleep(pid, since);
        // Who has no loop, or has not run since its loops waited, need not even be asked whether a wait has ended.
        let rests = |pid: &Pid| {
            self.idle.get(pid).is_some_and(|idle| !idle.is_due(now, |since| asleep(*pid, since)))
                || self.calm.get(pid).is_some_and(|(at, _)| asleep(*pid, *at) && now < at + ASLEEP)
        };
        let pids: Vec<Pid> = look.targets.pids().into_iter().filter(|pid| !rests(pid)).collect();
        // Before the looks: a wait that ends during them counts as one that ended after.
        let ended = if pids.is_empty() { 0 } else { self.ended(look) };
        for pid in pids {
            // No wait has ended since: so they all wait still.
            if self.calm.get(&pid).is_some_and(|(at, before)| *before == ended && now < at + TELL) {
                continue;
            }
            let mut records = look.threads(pid);
            records.iter().for_each(|record| self.ways.seen(pid, record, now));
            records.retain(judge::is_loop);
            let trusted = self.trusted;
            records.retain(|record| record.task.wait_since.max(record.task.wait_ended) >= trusted);
            if records.is_empty() {
                self.idle.entry(pid).or_insert(Idle { first: now, looked: now }).looked = now;
                continue;
            }
            // Nothing had been counted at the last look, so what is counted now is all new since then.
            let idle_at = self.idle.remove(&pid).map(|idle| idle.looked);
            let services = self.instances.look(pid, &records, idle_at, now);
            for record in &records {
                let service = services.get(&Key::of(record)).copied().unwrap_or_default();
                let seen = Seen { pid, record, service, only: records.len() == 1, idle_at };
                if self.one(look, &seen, out) {
                    suspects.insert(record.host[0]);
                }
            }
            if records.iter().all(|record| record.task.wait_since != 0 && record.ready == 0) {
                self.calm.insert(pid, (now, ended));
            } else {
                self.calm.remove(&pid);
            }
            let when = (TELL, look.level, now);
            self.instances.tell(pid, &records, when, |one| out.push(Observation::LoopInstance(one)));
        }
        if let Some(kernel) = look.kernel.as_deref_mut() {
            self.hot.settle(kernel, |host| suspects.contains(&host));
            for refusal in self.ways.settle(kernel, now) {
                tracing::warn!(probe = "epoll", "{refusal}");
                self.missing.push(refusal.to_string());
            }
        }
        self.threads.retain(|_, thread| now.saturating_sub(thread.seen) < GONE);
        self.instances.sweep(now.saturating_sub(GONE));
    }

    fn stack(&mut self, record: &StackRecord, site: SiteId) {
        if record.file == 0
            && let Ok(host) = u32::try_from(record.made)
        {
            self.hot.stack(host, site);
        }
    }

    fn hooked(&mut self, since: Nanos) {
        self.threads.clear();
        self.idle.clear();
        self.calm.clear();
        self.trusted = since;
    }

    fn forget(&mut self, pid: Pid) {
        self.threads.retain(|(owner, _), _| *owner != pid);
        self.instances.forget(pid);
        self.unread.forget(pid);
        self.ways.forget(pid);
        self.idle.remove(&pid);
        self.calm.remove(&pid);
    }
}

impl Epoll {
    /// Waits that have ended so far, those that could not be counted in full included.
    fn ended(&self, look: &Look<'_>) -> u64 {
        let Some(kernel) = &look.kernel else { return 0 };
        kernel.count(Counter::Waits) + kernel.count(Counter::WaitsLost)
    }

    /// Who holds an epoll instance is told by the descriptors' snapshot, if this is the poll that took one.
    fn find_instances(&mut self, out: &[Observation], now: Nanos) {
        for observation in out {
            if let Observation::Holdings(holdings) = observation
                && holdings.items.iter().any(|item| item.kind == HoldingKind::Epoll)
            {
                self.ways.holds_epoll(holdings.pid, now);
            }
        }
    }

    /// Judges one thread; true while it is suspected of computing too long.
    fn one(&mut self, look: &mut Look<'_>, seen: &Seen<'_>, out: &mut Vec<Observation>) -> bool {
        let (pid, record, now) = (seen.pid, seen.record, look.now);
        let key = (pid, record.host[0]);
        if self.threads.len() >= MOST_THREADS && !self.threads.contains_key(&key) {
            return false;
        }
        let thread = self.threads.entry(key).or_insert_with(|| Thread::new(record, seen.idle_at, now));
        thread.seen = now;
        let tid = record.numbers.get(look.level).copied().unwrap_or_default();
        let old = |since: Nanos| now.saturating_sub(since) >= judge::SUSPECT;
        let unread = judge::polls(record)
            && seen.only
            && thread.last.as_ref().and_then(|last| last.since).is_some_and(old)
            && self.unread.left_waiting(look, pid);
        let starved = unread || seen.service.starved_since.is_some();
        let stalled =
            judge::look(&mut thread.last, record, unread || instance::left_waiting(seen.service, record), now);
        let Some(since) = thread.last.as_ref().and_then(|last| last.since) else {
            thread.stuck = None;
            thread.tell(seen, tid, now, out);
            return false;
        };
        let blocked = judge::doing(record) != Doing::Running;
        let known = thread.stuck.filter(|stuck| stuck.since == since && stuck.site != SiteId(0));
        let suspect = !blocked && known.is_none() && old(since);
        if suspect && let Some(kernel) = look.kernel.as_deref_mut() {
            self.hot.suspect(kernel, record.host[0], tid);
        }
        if let Some(since) = stalled {
            let stuck = known.unwrap_or_else(|| Stuck {
                since,
                site: if blocked {
                    site_of(look, pid, tid)
                } else {
                    self.hot.site(record.host[0], |site| look.sites.chain(site)).unwrap_or_default()
                },
                handed_over: elf::is_go(&targets::executable(pid)),
            });
            thread.stuck = Some(stuck);
            let stall = stall(seen, thread, (since, now), (tid, stuck.site, starved));
            // Where no instance tells what is ready, or another thread takes over, only left work shows a stall.
            let tells = !judge::polls(record) && ways::call(record) != Some(WaitCall::IoUring);
            if starved || (!stuck.handed_over && (tells || stall.trace.is_some())) {
                out.push(Observation::Stall(stall));
            }
        }
        thread.tell(seen, tid, now, out);
        suspect
    }
}

/// The stall that a thread is in.
fn stall(
    seen: &Seen<'_>,
    thread: &Thread,
    (since, until): (Nanos, Nanos),
    (tid, site, starved): (Pid, SiteId, bool),
) -> Stall {
    let record = seen.record;
    let blocked = judge::doing(record) != Doing::Running;
    let [high, low] = record.context.trace.map(u64::to_ne_bytes);
    let trace = TraceId::from_bytes(&[high, low].concat());
    Stall {
        pid: seen.pid,
        tid,
        thread: name(record),
        instance: i32::try_from(record.task.epoll).unwrap_or(-1),
        since,
        until,
        join: if trace.is_some() { Join::ThreadContext } else { Join::None },
        trace,
        site,
        on_cpu: !blocked,
        syscall: blocked.then(|| syscalls::name(record.syscall)),
        starved,
        spent: thread.last.as_ref().map(judge::spent),
    }
}

impl Thread {
    fn new(record: &ThreadRecord, idle_at: Option<Nanos>, now: Nanos) -> Self {
        Self {
            last: None,
            stuck: None,
            told_at: idle_at.unwrap_or(now),
            told: if idle_at.is_some() { ThreadRecord { task: Default::default(), ..*record } } else { *record },
            told_blocked: 0,
            seen: now,
        }
    }

    /// Tells once a second how the time went.
    fn tell(&mut self, seen: &Seen<'_>, tid: Pid, now: Nanos, out: &mut Vec<Observation>) {
        if now.saturating_sub(self.told_at) < TELL {
            return;
        }
        let record = seen.record;
        let blocked = self.last.as_ref().map_or(0, |last| last.blocked);
        let (wait, busy) = instance::totals(record, now);
        let (told_wait, told_busy) = instance::totals(&self.told, self.told_at);
        let busy = if self.last.as_ref().is_some_and(|last| last.roams) {
            // Parks outside epoll: only CPU time and seen blocking count as work.
            record.runtime.saturating_sub(self.told.runtime) + blocked.saturating_sub(self.told_blocked)
        } else {
            busy.saturating_sub(told_busy)
        };
        out.push(Observation::LoopTime(LoopTime {
            pid: seen.pid,
            tid,
            instance: i32::try_from(record.task.epoll).unwrap_or(-1),
            waits: record.task.waits.saturating_sub(self.told.task.waits),
            wait_ns: wait.saturating_sub(told_wait).min(now - self.told_at),
            busy_ns: busy.min(now - self.told_at),
            at: now,
        }));
        (self.told_at, self.told, self.told_blocked) = (now, *record, blocked);
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
