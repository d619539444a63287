//! The watched processes: their numbers inside and outside, names, starts.
//!
//! Kernel records carry ids of the initial pid namespace; everything that leaves this crate carries the
//! agent's own. This table is where the two meet. Bounded by [`MOST`].

use snowshed_engine::model::{Nanos, Pid};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

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
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    by_pid: BTreeMap<Pid, Watched>,
    by_host: BTreeMap<u32, Pid>,
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
        Some(watched)
    }

    pub(crate) fn get(&self, pid: Pid) -> Option<&Watched> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> Option<&mut Watched> {
        self.by_pid.get_mut(&pid)
    }

    /// The agent's number of a process of the initial namespace.
    pub(crate) fn inner(&self, host: u32) -> Option<Pid> {
        self.by_host.get(&host).copied()
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
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// The executable, also if it was deleted or lies in another mount namespace.
pub(crate) fn executable(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Start of a process, from `/proc/PID/stat`: field 22 in clock ticks since boot. `None` if it is gone.
pub(crate) fn started(pid: Pid) -> Option<Nanos> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets: fields are counted after its last bracket.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: no pointers.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0)?;
    ticks.checked_mul(1_000_000_000 / per_second)
}

/// Children of all threads, one level.
pub(crate) fn children(pid: Pid) -> BTreeSet<Pid> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeSet::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The soft limit of open files; `None` if it is unlimited or cannot be read.
pub(crate) fn file_limit(pid: Pid) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
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
        assert!(file_limit(pid).is_some());
        assert_eq!((name(0), started(0), file_limit(0)), (None, None, None));
    }

    #[test]
    fn numbers_meet_both_ways() {
        let mut targets = Targets::default();
        let watched = Watched { pid: 7, host: 4007, name: "x".into(), started: 1, instance: None, parent: None };
        targets.insert(watched);
        assert_eq!(targets.inner(4007), Some(7));
        assert!(targets.remove(7).is_some());
        assert_eq!((targets.inner(4007), targets.pids()), (None, vec![]));
    }
}
