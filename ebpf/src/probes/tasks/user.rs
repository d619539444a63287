//! Looks at every target's threads, and tells once a second what they did.

use super::{
    disk::{self, Disk},
    goroutines::Goroutines,
    groups,
    locks::{Contended, Locks},
    throttle::Cgroup,
    waiters::{innermost, waiters},
    writers::{self, Writers},
};
use crate::{
    host::{
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
    },
    probes::{Look, Probe},
    wire::{Counter, StackRecord, TaskRecord},
};
use snowshed_engine::model::{
    CpuTime, Holder, LockKind, LockWait, Nanos, Observation, Pid, SiteId, Threads, Throttled,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// The shortest time between two looks of the probe; most of them pass over most processes.
const LOOK: Nanos = 50_000_000;
/// Between two looks at a process in which nobody waits for a lock.
const CALM: Nanos = 250_000_000;
/// What is due so soon is done at once: one wake-up instead of two.
const TOGETHER: Nanos = 25_000_000;
/// How long a process is looked at every time after somebody was seen to.
const WARY: Nanos = 3_000_000_000;
/// Between two tellings.
const TELL: Nanos = 1_000_000_000;
/// A process that has not run since is looked at so often all the same.
const ASLEEP: Nanos = 4 * TELL;
/// The longest stretch that one look may stand for.
const STRETCH: Nanos = 500_000_000;
/// Between two times that a cgroup is looked for which was not found.
const SEEK: Nanos = 10 * TELL;
/// Threads whose place is remembered.
const MOST_SITES: usize = 16_384;
/// Scheduler states in which a thread stands still: interruptible and not.
const BLOCKED: u32 = 1 | 2;

/// A thread: its number in the initial namespace, and when it was made.
type Thread = (u32, Nanos);

#[derive(Default)]
pub(crate) struct Tasks {
    /// When the last look was, and when the next process is due.
    looked: Nanos,
    next: Nanos,
    /// Where threads were made.
    sites: HashMap<Thread, SiteId>,
    processes: BTreeMap<Pid, Process>,
}

/// What is kept of a target.
#[derive(Default)]
struct Process {
    due: Nanos,
    /// CPU time of all threads at the last look, and how many there were.
    work: (Nanos, usize),
    /// None of them ran between the last two looks, or waited for a disk.
    asleep: bool,
    wary_until: Nanos,
    looked: Option<Nanos>,
    told: Nanos,
    locks: Locks,
    goroutines: Goroutines,
    /// Where the waiters of a lock stand; only of those that `locks` knows.
    lock_sites: HashMap<u64, SiteId>,
    /// CPU time and delay of each thread when they were last told.
    cpu: HashMap<Thread, (Nanos, Nanos)>,
    cgroup: Option<Cgroup>,
    /// When it was looked for.
    sought: Nanos,
    throttled: Option<Throttled>,
    blocked: Disk,
    writers: Writers,
}

impl Probe for Tasks {
    fn name(&self) -> &'static str {
        "tasks"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["task_look"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Threads], &[Counter::ThreadsLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("task_look", "task")?;
        kernel.iterator("thread_stack", "task")
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.next.saturating_sub(self.looked).clamp(LOOK, TELL)))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let now = look.now;
        (self.looked, self.next) = (now, Nanos::MAX);
        for pid in look.targets.pids() {
            let mut process = self.processes.remove(&pid).unwrap_or_default();
            if now + TOGETHER < process.due {
                // Not yet.
            } else if process.is_as_it_was(look, pid) {
                process.due = now + TELL;
            } else if let Some(records) = threads(look, pid) {
                process.look(look, pid, &records);
                if (now + TOGETHER).saturating_sub(process.told) >= TELL {
                    self.tell(look, pid, &mut process, &records, out);
                }
            }
            self.next = self.next.min(process.due);
            self.processes.insert(pid, process);
        }
        if self.sites.len() >= MOST_SITES / 2 {
            self.forget_short_lived(now);
        }
    }

    fn stack(&mut self, record: &StackRecord, site: SiteId) {
        if let (true, Ok(tid)) = (record.is_of_new_thread(), u32::try_from(record.file))
            && self.sites.len() < MOST_SITES
        {
            self.sites.insert((tid, record.made), site);
        }
    }

    fn executed(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.goroutines = Goroutines::default();
        }
    }

    fn forget(&mut self, pid: Pid) {
        if let Some(process) = self.processes.remove(&pid) {
            for thread in process.cpu.keys() {
                self.sites.remove(thread);
            }
        }
    }
}

impl Tasks {
    /// Threads that ended before they were told of: nobody else drops their places.
    fn forget_short_lived(&mut self, now: Nanos) {
        let processes = &self.processes;
        let known = |thread: &Thread| processes.values().any(|process| process.cpu.contains_key(thread));
        self.sites.retain(|thread, _| now.saturating_sub(thread.1) < 3 * TELL || known(thread));
    }

    fn tell(
        &mut self,
        look: &mut Look<'_>,
        pid: Pid,
        process: &mut Process,
        records: &[TaskRecord],
        out: &mut Vec<Observation>,
    ) {
        let at = look.now;
        let over = at.saturating_sub(std::mem::replace(&mut process.told, at));
        let sites = &self.sites;
        let site = |record: &TaskRecord| sites.get(&thread(record)).copied().unwrap_or_default();
        let (groups, left_out) = groups::group(records, site);
        out.push(Observation::Threads(Threads { pid, at, groups, left_out }));
        process.lock_sites.retain(|word, _| process.locks.knows(*word));
        for lock in process.locks.tell(at) {
            let told = name_lock(look, pid, process, records, &lock);
            out.push(Observation::LockWait(told));
        }
        let gone = process.tell_cpu(pid, at, over, records, out);
        for thread in gone {
            self.sites.remove(&thread);
        }
        out.extend(process.blocked.tell(pid, at, look.level));
        out.extend(process.writers.tell(pid, at, look.level));
    }
}

/// A thread's identity; those that are older than the watch have no place to remember.
fn thread(record: &TaskRecord) -> Thread {
    (record.host[0], record.origin.made)
}

fn threads(look: &mut Look<'_>, pid: Pid) -> Option<Vec<TaskRecord>> {
    look.kernel.as_deref_mut()?.look("task_look", Of::Process(pid), look.buffer).ok()?;
    let records: Vec<TaskRecord> = iterator::records(look.buffer).collect();
    // No thread at all is a process that just ended.
    (!records.is_empty()).then_some(records)
}

impl Process {
    /// It has not run since the last look, at which nobody waited for a lock or a disk, and that was not long ago.
    fn is_as_it_was(&self, look: &Look<'_>, pid: Pid) -> bool {
        let quiet = self.asleep && look.now >= self.wary_until && look.now < self.told + ASLEEP;
        quiet && self.looked.is_some_and(|at| look.targets.is_asleep(pid, at))
    }

    fn look(&mut self, look: &mut Look<'_>, pid: Pid, records: &[TaskRecord]) {
        let now = look.now;
        let mut waiters = waiters(records);
        self.goroutines.look(now, pid, &mut waiters);
        if self.locks.look(now, &waiters) {
            self.wary_until = now + WARY;
        }
        let work = (records.iter().map(|record| record.runtime).sum(), records.len());
        // Where no thread ran, none can have begun to wait; the waits of those that are held up are told in full.
        let is_held_up = |record: &TaskRecord| disk::is_blocked(record) || writers::is_blocked(record);
        self.asleep = std::mem::replace(&mut self.work, work) == work && !records.iter().any(is_held_up);
        let rest = match self.asleep {
            _ if now < self.wary_until => LOOK,
            true => TELL,
            false => CALM,
        };
        self.due = now + rest;
        let stretch = self.looked.map_or(0, |at| now.saturating_sub(at)).min(STRETCH);
        self.looked = Some(now);
        let level = look.level;
        self.blocked.look((now, stretch), records, |record| place(look, pid, record), pid, level);
        self.writers.look((now, stretch), records, |record| place(look, pid, record), pid);
    }

    /// CPU time since the last telling; answers the threads that are gone.
    fn tell_cpu(
        &mut self,
        pid: Pid,
        at: Nanos,
        over_ns: Nanos,
        records: &[TaskRecord],
        out: &mut Vec<Observation>,
    ) -> Vec<Thread> {
        let first = self.cgroup.is_none();
        // It may have been moved, or have none that can be found: then it is looked for again after a while.
        let stale = self.throttled.is_none() && at >= self.sought + SEEK;
        if first || stale {
            self.cgroup = Some(Cgroup::of(pid));
            self.sought = at;
        }
        let now = self.cgroup.as_ref().and_then(Cgroup::throttled);
        let before = std::mem::replace(&mut self.throttled, now);
        let throttled = now.map(|now| {
            let before = before.unwrap_or(now);
            let less = |now: u64, before: u64| now.saturating_sub(before);
            Throttled { periods: less(now.periods, before.periods), ns: less(now.ns, before.ns) }
        });
        let (mut used_ns, mut delay_ns) = (0, 0);
        let mut known = std::mem::take(&mut self.cpu);
        for record in records {
            let key = thread(record);
            let present = (record.runtime, record.delay);
            // At the first look what a thread has used was before the watch; later a new thread's is all new.
            let (runtime, delay) = known.remove(&key).unwrap_or(if first { present } else { (0, 0) });
            used_ns += record.runtime.saturating_sub(runtime);
            delay_ns += record.delay.saturating_sub(delay);
            self.cpu.insert(key, present);
        }
        let over_ns = if first { 0 } else { over_ns };
        out.push(Observation::CpuTime(CpuTime { pid, at, over_ns, used_ns, delay_ns, throttled }));
        known.into_keys().collect()
    }
}

/// A contended lock with the place of one of its waiters and of its holder.
fn name_lock(
    look: &mut Look<'_>,
    pid: Pid,
    process: &mut Process,
    records: &[TaskRecord],
    lock: &Contended,
) -> LockWait {
    let is_thread = lock.kind != LockKind::Goroutine;
    let of = |record: &&TaskRecord| is_thread && Some(u64::from(record.host[0])) == lock.longest_waiter;
    let waiter = records.iter().find(of);
    let mut site = process.lock_sites.get(&lock.word).copied().unwrap_or_default();
    if site.0 == 0 {
        site = match waiter {
            Some(record) => place(look, pid, record),
            None => process.goroutines.site(look, pid, lock.word),
        };
        if site.0 != 0 {
            process.lock_sites.insert(lock.word, site);
        }
    }
    let holder = records.iter().find(|record| Some(innermost(record)) == lock.holder);
    LockWait {
        pid,
        word: lock.word,
        kind: lock.kind,
        waiters: lock.waiters,
        waits: lock.waits,
        wait_ns: lock.wait_ns,
        longest_ns: lock.longest_ns,
        hand_overs: lock.hand_overs,
        site,
        thread: match (waiter, lock.longest_waiter) {
            (Some(record), _) => groups::name(record),
            (None, Some(number)) if !is_thread => format!("goroutine {number}"),
            (None, _) => String::new(),
        },
        holder: holder.map(|record| Holder {
            tid: number(record, look.level),
            thread: groups::name(record),
            site: place(look, pid, record),
        }),
        at: look.now,
    }
}

/// A thread's number as the agent sees it.
pub(super) fn number(record: &TaskRecord, level: usize) -> Pid {
    record.numbers.get(level).copied().unwrap_or_default()
}

/// Where a blocked thread stands; 0 if it runs, or has gone on since the look.
fn place(look: &mut Look<'_>, pid: Pid, record: &TaskRecord) -> SiteId {
    if record.state & BLOCKED == 0 {
        return SiteId(0);
    }
    let tid = number(record, look.level);
    let Some(kernel) = look.kernel.as_deref_mut() else { return SiteId(0) };
    if kernel.look("thread_stack", Of::Thread(tid), look.buffer).is_err() {
        return SiteId(0);
    }
    // The record holds four pages: kept off this thread's stack.
    let stack = iterator::records::<StackRecord>(look.buffer).next().map(Box::new);
    let same = stack.filter(|stack| [stack.registers.ip, stack.registers.sp] == record.place);
    same.map_or(SiteId(0), |stack| look.sites.site(pid, &stack, look.now))
}
