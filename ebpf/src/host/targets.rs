//! The watched processes: their numbers inside and outside, names, starts.
//!
//! Kernel records carry ids of the initial pid namespace; everything that leaves this crate carries the
//! agent's own. This table is where the two meet. Bounded by [`MOST`].

use super::{clock, proc_file};
use snowshed_engine::model::{Nanos, Pid};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

/// Who has not run for so long rests.
const REST: Nanos = 1_000_000_000;
/// The most processes that one session watches.
pub(crate) const MOST: usize = 256;

/// A watched process.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// In the agent's pid namespace.
    pub(crate) pid: Pid,
    /// In the initial one; 0 without kernel programs.
    pub(crate) host: u32,
    /// What it calls itself, else `comm` of its first thread.
    pub(crate) name: String,
    /// When it started.
    pub(crate) started: Nanos,
    /// `service.instance.id`, where it publishes one.
    pub(crate) instance: Option<String>,
    /// Who forked it, if that one is watched.
    pub(crate) parent: Option<Pid>,
    pub(crate) activity: Activity,
}

/// Whether a process does anything at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Processor time at the last question.
    used: Nanos,
    /// When it was last seen to have used some.
    ran: Nanos,
    /// It could not be asked: mostly because it is gone.
    silent: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    by_pid: BTreeMap<Pid, Watched>,
    by_host: BTreeMap<u32, Pid>,
    /// Processor time that targets have used while they were watched.
    worked: Nanos,
    /// In which network namespace each was, and when it was asked.
    spaces: RefCell<BTreeMap<Pid, (Nanos, u64)>>,
}

impl Targets {
    pub(crate) fn is_full(&self) -> bool {
        self.by_pid.len() >= MOST
    }

    pub(crate) fn insert(&mut self, watched: Watched) {
        if watched.host != 0 {
            self.by_host.insert(watched.host, watched.pid);
        }
        self.by_pid.insert(watched.pid, watched);
    }

    pub(crate) fn remove(&mut self, pid: Pid) -> Option<Watched> {
        let watched = self.by_pid.remove(&pid)?;
        self.by_host.remove(&watched.host);
        self.spaces.get_mut().remove(&pid);
        Some(watched)
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Watched> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> Option<&mut Watched> {
        self.by_pid.get_mut(&pid)
    }

    /// Notes who has run since the last call; before the looks of that moment.
    pub(crate) fn note_activity(&mut self, now: Nanos) {
        for watched in self.by_pid.values_mut() {
            // One that cannot be asked counts as running.
            let told = clock::of_process(watched.pid);
            watched.activity.silent = told.is_none();
            let used = told.unwrap_or(now);
            // A new one counts as running too: it may not have had a processor yet.
            if used != watched.activity.used || watched.activity.ran == 0 {
                if watched.activity.used != 0 {
                    self.worked += used.saturating_sub(watched.activity.used);
                }
                (watched.activity.used, watched.activity.ran) = (used, now);
            }
        }
    }

    /// Processor time that all targets have used while they were watched, as last noted.
    pub(crate) fn worked(&self) -> Nanos {
        self.worked
    }

    /// Whether a process has not run at all since a look: what only it can change is as it was then.
    pub(crate) fn is_asleep(&self, pid: Pid, since: Nanos) -> bool {
        self.get(pid).is_some_and(|watched| watched.activity.ran <= since)
    }

    /// The inode of a target's network namespace. Only it can move to another, so one that sleeps is not asked again.
    pub(crate) fn network_namespace(&self, pid: Pid, now: Nanos) -> Option<u64> {
        let mut spaces = self.spaces.borrow_mut();
        if let Some((_, space)) = spaces.get(&pid).filter(|(at, _)| self.is_asleep(pid, *at)) {
            return Some(*space);
        }
        let space = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
        if self.by_pid.contains_key(&pid) {
            spaces.insert(pid, (now, space));
        }
        Some(space)
    }

    /// Whether nobody has run for a while.
    pub(crate) fn are_at_rest(&self, now: Nanos) -> bool {
        self.by_pid.values().all(|watched| now >= watched.activity.ran + REST)
    }

    /// Those that could not be asked for their processor time, when they were last asked.
    pub(crate) fn silent(&self) -> Vec<Pid> {
        self.by_pid.values().filter(|watched| watched.activity.silent).map(|watched| watched.pid).collect()
    }

    /// The agent's number of a process of the initial namespace.
    pub(crate) fn inner(&self, host: u32) -> Option<Pid> {
        self.by_host.get(&host).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_pid.len()
    }

    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.by_pid.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.by_pid.values()
    }
}

/// `comm` of a process.
pub(crate) fn name(pid: Pid) -> Option<String> {
    proc_file::read(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// The executable, also if it was deleted or lies in another mount namespace.
pub(crate) fn executable(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// `AT_PHDR` and `AT_ENTRY`: where the kernel has put a program's headers, and where it let it begin.
pub(crate) const AT_PHDR: u64 = 3;
pub(crate) const AT_ENTRY: u64 = 9;

/// What the kernel has told a process in its auxiliary vector.
pub(crate) fn auxiliary(pid: Pid, kind: u64) -> Option<u64> {
    let words = fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
    let entry = words.chunks_exact(16).find(|entry| word(entry) == kind)?;
    Some(word(&entry[8..]))
}

/// Start of a process, from `/proc/PID/stat`: field 22 in clock ticks since boot. `None` if it is gone.
pub(crate) fn started(pid: Pid) -> Option<Nanos> {
    let stat = proc_file::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets: fields are counted after its last bracket.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: no pointers.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0)?;
    ticks.checked_mul(1_000_000_000 / per_second)
}

/// `PF_EXITING` of the kernel's `sched.h`.
const EXITING: u64 = 4;

/// Whether a process has a thread that has not begun to exit. One that has none is listed until its parent has asked for
/// its end; one that goes on without its first thread looks like that at first sight.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let runs = |file: PathBuf| {
        let stat = proc_file::read(file).ok()?;
        // Field 9, counted after the last bracket of the name.
        let flags: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(6)?.parse().ok()?;
        Some(flags & EXITING == 0)
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    runs(process.join("stat")) == Some(true)
        || fs::read_dir(process.join("task")).is_ok_and(|mut tasks| {
            tasks.any(|task| task.is_ok_and(|task| runs(task.path().join("stat")) == Some(true)))
        })
}

/// Children of all threads, one level.
pub(crate) fn children(pid: Pid) -> BTreeSet<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeSet::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The soft limit of open files; `None` if it is unlimited or cannot be read.
pub(crate) fn file_limit(pid: Pid) -> Option<u64> {
    limit(pid, libc::RLIMIT_NOFILE, "Max open files")
}

/// How much memory of its own a process may have (soft); `None` if it is unlimited or cannot be read.
pub(crate) fn data_limit(pid: Pid) -> Option<u64> {
    limit(pid, libc::RLIMIT_DATA, "Max data size")
}

fn limit(pid: Pid, resource: libc::__rlimit_resource_t, name: &str) -> Option<u64> {
    // A tenth of the file's cost. Asked of a foreign user's process it needs CAP_SYS_RESOURCE, the file does not.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let asked = pid.cast_signed();
    // SAFETY: nothing is set, and there is room for the answer. 0 would ask for this process.
    if asked > 0 && unsafe { libc::prlimit(asked, resource, std::ptr::null(), &raw mut limit) } == 0 {
        return (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur);
    }
    parse_limit(&proc_file::read(format!("/proc/{pid}/limits")).ok()?, name)
}

fn parse_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_tells_of_this_process() {
        let pid = std::process::id();
        assert!(name(pid).is_some_and(|name| !name.is_empty()));
        let age = super::super::clock::now() - started(pid).unwrap();
        assert!(age < 3_600_000_000_000, "{age}");
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(file_limit(pid), line.split_whitespace().nth(3).unwrap().parse().ok());
        assert_eq!((name(0), started(0), file_limit(0), data_limit(0)), (None, None, None, None));
        assert_eq!(parse_limit("Limit  Soft\nMax data size  unlimited  unlimited  bytes\n", "Max data size"), None);
        let text = "Max data size             1048576              unlimited   bytes\n";
        assert_eq!(parse_limit(text, "Max data size"), Some(1 << 20));
    }

    #[test]
    fn who_runs_is_not_asleep_and_who_waits_is() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut targets = Targets::default();
        for pid in [child.id(), std::process::id()] {
            let (name, activity) = (String::new(), Activity::default());
            targets.insert(Watched { pid, host: 0, name, started: 0, instance: None, parent: None, activity });
        }
        let begun = clock::now();
        targets.note_activity(begun);
        let is_new = !targets.is_asleep(child.id(), begun - 1);
        // Until it has begun to sleep: nothing between two notes.
        let asleep = loop {
            let last = clock::now();
            std::thread::sleep(std::time::Duration::from_millis(20));
            targets.note_activity(clock::now());
            let found = [child.id(), std::process::id(), 1 << 23].map(|pid| targets.is_asleep(pid, last));
            if found[0] || clock::now() > begun + 20_000_000_000 {
                break found;
            }
        };
        let before = targets.silent();
        let space = targets.network_namespace(child.id(), clock::now());
        let kept = targets.spaces.borrow().clone();
        targets.network_namespace(child.id(), clock::now());
        assert!(space.is_some() && *targets.spaces.borrow() == kept, "who sleeps is not asked again");
        assert_eq!(targets.network_namespace(std::process::id(), clock::now()), space);
        assert_eq!(targets.network_namespace(0, clock::now()), None);
        child.kill().unwrap();
        child.wait().unwrap();
        targets.note_activity(clock::now());
        assert_eq!((before, targets.silent()), (vec![], vec![child.id()]), "who is gone cannot be asked");
        assert!(is_new, "new ones count as running");
        assert_eq!(asleep, [true, false, false], "it sleeps, this one asks, and nobody is not asleep");
    }

    #[test]
    fn at_rest_is_who_has_not_run_for_a_while() {
        let mut targets = Targets::default();
        assert!(targets.are_at_rest(0), "nobody runs where nobody is");
        let activity = Activity { used: 1, ran: 5 * REST, silent: false };
        targets.insert(Watched {
            pid: 7,
            host: 0,
            name: String::new(),
            started: 0,
            instance: None,
            parent: None,
            activity,
        });
        assert!(!targets.are_at_rest(6 * REST - 1) && targets.are_at_rest(6 * REST));
    }

    #[test]
    fn numbers_meet_both_ways() {
        let mut targets = Targets::default();
        let watched = Watched {
            pid: 7,
            host: 4007,
            name: "x".into(),
            started: 1,
            instance: None,
            parent: None,
            activity: Activity::default(),
        };
        targets.insert(watched);
        assert_eq!(targets.inner(4007), Some(7));
        assert!(targets.remove(7).is_some());
        assert_eq!((targets.inner(4007), targets.pids()), (None, vec![]));
    }
}
