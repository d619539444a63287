//! Which processes to watch, read from `/proc`.
//!
//! Invariant: read-only, tolerant of processes that come and go while it looks, and never the agent
//! itself. Cost: by name or cgroup one directory scan a second (one small file for each process); for
//! listeners the sockets of each process, hence only every five seconds.

use procfs::{
    net,
    process::{FDTarget, Process, all_processes},
};
use snowshed_engine::model::Pid;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    time::Duration,
};

/// Who is to be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    /// Processes by number; their children are followed by the session.
    pub(crate) pids: Vec<Pid>,
    /// Processes by name (`comm`).
    pub(crate) comms: Vec<String>,
    /// Processes of these cgroups and those below.
    pub(crate) cgroups: Vec<String>,
}

impl Selector {
    /// Nothing was selected: the processes that listen are meant.
    pub(crate) fn is_default(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty() && self.cgroups.is_empty()
    }

    /// How often it is worth looking again; `None` if the selection cannot change.
    pub(crate) fn rescan(&self) -> Option<Duration> {
        match self {
            _ if self.is_default() => Some(Duration::from_secs(5)),
            _ if self.comms.is_empty() && self.cgroups.is_empty() => None,
            _ => Some(Duration::from_secs(1)),
        }
    }

    /// The processes that match now, besides [`Self::pids`]. Blocks for a few milliseconds.
    pub(crate) fn scan(&self) -> BTreeSet<Pid> {
        let me = std::process::id();
        let mut listening = self.is_default().then(Listening::default);
        let mut found = BTreeSet::new();
        let Ok(processes) = all_processes() else { return found };
        for process in processes.flatten() {
            let Ok(pid) = Pid::try_from(process.pid()) else { continue };
            let matches = match &mut listening {
                _ if pid == me => false,
                Some(listening) => listening.is_bound_by(&process),
                None => self.names(&process) || self.holds(&process),
            };
            if matches {
                found.insert(pid);
            }
        }
        found
    }

    fn names(&self, process: &Process) -> bool {
        !self.comms.is_empty() && process.stat().is_ok_and(|stat| self.comms.contains(&stat.comm))
    }

    fn holds(&self, process: &Process) -> bool {
        !self.cgroups.is_empty()
            && process.cgroups().is_ok_and(|groups| {
                groups.0.iter().any(|group| self.cgroups.iter().any(|wanted| is_within(&group.pathname, wanted)))
            })
    }
}

/// Whether a cgroup's path is the wanted one or lies below it; the wanted one may begin with the mount point.
fn is_within(path: &str, wanted: &str) -> bool {
    let wanted = wanted.strip_prefix("/sys/fs/cgroup").unwrap_or(wanted).trim_end_matches('/');
    match path.strip_prefix(wanted) {
        Some(rest) => !wanted.is_empty() && (rest.is_empty() || rest.starts_with('/')),
        None => false,
    }
}

/// Inodes of listening TCP sockets, read once for each network namespace.
#[derive(Default)]
struct Listening(HashMap<PathBuf, HashSet<u64>>);

impl Listening {
    fn is_bound_by(&mut self, process: &Process) -> bool {
        let Ok(namespace) = std::fs::read_link(format!("/proc/{}/ns/net", process.pid())) else { return false };
        let inodes = self.0.entry(namespace).or_insert_with(|| {
            let all = process.tcp().unwrap_or_default().into_iter().chain(process.tcp6().unwrap_or_default());
            all.filter(|entry| entry.state == net::TcpState::Listen).map(|entry| entry.inode).collect()
        });
        // Kernel threads and foreign processes have no descriptors that could be read.
        let Some(mut fds) = process.fd().ok().filter(|_| !inodes.is_empty()) else { return false };
        fds.any(|fd| matches!(fd, Ok(fd) if matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode))))
    }
}

/// When a process started, in clock ticks since the machine did; tells a process from its pid's next user.
pub(crate) fn start_time(pid: Pid) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    // A zombie is not there any more as far as anybody can tell.
    (stat.state != 'Z').then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_cgroup_holds_itself_and_what_lies_below() {
        assert!(is_within("/app/worker", "/app"));
        assert!(is_within("/app", "/sys/fs/cgroup/app/"));
        assert!(!is_within("/apple", "/app"));
        assert!(!is_within("/app", "/"), "the root would select the whole machine");
    }

    #[test]
    fn without_a_selector_the_listeners_are_meant_but_not_the_agent() {
        let _listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut listening = Listening::default();
        let me = Process::myself().expect("self");
        assert!(listening.is_bound_by(&me), "this process listens");
        assert!(!Selector::default().scan().contains(&std::process::id()));
    }

    #[test]
    fn processes_are_found_by_name() {
        let child = std::process::Command::new("sleep").arg("30").spawn();
        let mut child = child.expect("sleep is everywhere");
        let selector = Selector { comms: vec!["sleep".into()], ..Selector::default() };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let mut found = false;
        // Between fork and exec the child still bears this process's name.
        while !found && std::time::Instant::now() < deadline {
            found = selector.scan().contains(&child.id());
            std::thread::yield_now();
        }
        assert!(start_time(child.id()).is_some());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(found);
        assert_eq!(start_time(child.id()), None);
    }
}
