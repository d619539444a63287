//! What of one process can be seen from here, and what would help where it cannot.
//!
//! Invariant: each sentence follows from something that was tried, or that the process's own files say; what was not
//! refused is not advised on. Cost: a handful of small reads.

use procfs::process::Process;
use snowshed_engine::model::Pid;
use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// What was found out about a process.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Whose it is, and who asks.
    users: Option<(u32, u32)>,
    /// Its descriptors, and the code that is mapped, may be read.
    descriptors: bool,
    code: bool,
    /// Its number in the innermost pid namespace, if that is not the agent's.
    inner: Option<Pid>,
    /// It is in another network namespace.
    apart: bool,
    ended: bool,
    kernel_thread: bool,
}

impl Reach {
    /// Tries.
    pub(super) fn of(pid: Pid, process: &Process) -> Self {
        let path = |name: &str| format!("/proc/{pid}/{name}");
        let stat = process.stat().ok();
        let own = fs::metadata("/proc/self").ok().map(|own| own.uid());
        let namespace = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|found| found.ino());
        let (its, ours) = (namespace(&pid.to_string()), namespace("self"));
        // Who names a process by `--pid` names it by the first number of this line.
        let numbers = fs::read_to_string(path("status")).ok().and_then(|status| inner_number(&status));
        Self {
            users: process.uid().ok().zip(own),
            descriptors: readable_links(Path::new(&path("fd"))).is_ok(),
            code: fs::read(path("maps")).is_ok(),
            inner: numbers,
            apart: its.zip(ours).is_some_and(|(its, ours)| its != ours),
            ended: stat.as_ref().is_some_and(|stat| stat.state == 'Z'),
            // Its parent is the kernel's own second process, or it is that.
            kernel_thread: stat.is_some_and(|stat| pid == 2 || stat.ppid == 2) && fs::read_link(path("exe")).is_err(),
        }
    }

    /// What a person should know; `held`: whether this process holds a capability.
    pub(super) fn advice(&self, held: impl Fn(caps::Capability) -> bool) -> Vec<String> {
        if self.ended {
            return vec!["it has ended, and its parent has not asked after it: there is nothing to see".to_owned()];
        }
        if self.kernel_thread {
            return vec!["it is a thread of the kernel: it has no descriptors and no code of its own".to_owned()];
        }
        let mut advice = Vec::new();
        let whose = match self.users {
            Some((its, ours)) if its != ours => format!(" (it runs as user {its}, this as {ours})"),
            _ => String::new(),
        };
        let lacking = |wanted: &[caps::Capability]| {
            let names = wanted.iter().filter(|one| !held(**one)).map(ToString::to_string).collect::<Vec<_>>();
            match names.as_slice() {
                [] => "the capabilities are there: a security module or a user namespace refuses it".to_owned(),
                names => format!("run as root or as its user, or grant {}", names.join(" and ")),
            }
        };
        if !self.descriptors {
            let help = lacking(&[caps::Capability::CAP_DAC_READ_SEARCH, caps::Capability::CAP_SYS_PTRACE]);
            advice.push(format!(
                "its /proc/PID/fd is closed{whose}; only kernel programs can list its descriptors here. Else: {help}"
            ));
        }
        if !self.code {
            let help = lacking(&[caps::Capability::CAP_SYS_PTRACE]);
            advice.push(format!("its code cannot be named, stacks stay numbers{whose}: {help}"));
        }
        if let Some(inner) = self.inner {
            advice.push(format!("it is in a pid namespace of its own, where its number is {inner}"));
        }
        if self.apart {
            advice.push(
                "it is in another network namespace: without kernel programs its connections cannot be listed"
                    .to_owned(),
            );
        }
        advice
    }
}

/// Listing them is one right, following one is another.
fn readable_links(folder: &Path) -> io::Result<()> {
    match fs::read_dir(folder)?.next() {
        Some(entry) => match fs::read_link(entry?.path()) {
            // It was closed in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            link => link.map(|_| ()),
        },
        None => Ok(()),
    }
}

/// The last number of `NSpid`, if there is more than one.
fn inner_number(status: &str) -> Option<Pid> {
    let mut numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace();
    numbers.next()?;
    numbers.next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_process_needs_nothing() {
        let pid = std::process::id();
        let reach = Reach::of(pid, &Process::myself().expect("self"));
        assert!(reach.descriptors && reach.code && !reach.apart && !reach.ended && !reach.kernel_thread);
        let told = reach.advice(|_| false);
        assert!(told.iter().all(|advice| advice.contains("pid namespace")), "{told:?}");
    }

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let reach = Reach { users: Some((10001, 65534)), ..Reach::default() };
        let told = reach.advice(|one| one == caps::Capability::CAP_DAC_READ_SEARCH);
        assert!(told[0].contains("user 10001, this as 65534") && told[0].contains("CAP_SYS_PTRACE"), "{told:?}");
        assert!(!told[0].contains("CAP_DAC_READ_SEARCH"), "{told:?}");
        assert!(told[1].contains("stacks stay numbers"), "{told:?}");
        assert!(reach.advice(|_| true)[0].contains("security module"));
        assert_eq!(Reach { ended: true, ..Reach::default() }.advice(|_| false).len(), 1);
    }

    #[test]
    fn a_number_inside_is_told_only_where_there_is_one() {
        assert_eq!(inner_number("Name:\tx\nNSpid:\t4242\t7\n"), Some(7));
        assert_eq!(inner_number("NSpid:\t4242\n"), None);
        assert_eq!(inner_number(""), None);
    }
}
