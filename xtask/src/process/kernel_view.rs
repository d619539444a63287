//! The truth about a process, from `/proc`, read by code that shares nothing with the agent's.

use anyhow::Context as _;
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// An open descriptor.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// What `/proc/PID/fd/N` points at, as in `/tmp/x (deleted)` or `socket:[12]`.
    pub target: String,
    /// The inode.
    pub inode: u64,
    /// A regular file.
    pub regular: bool,
}

impl Descriptor {
    /// A file under `folder` that has no name any more: only this descriptor keeps it.
    #[must_use]
    pub fn is_deleted_file_under(&self, folder: &Path) -> bool {
        self.regular && self.target.ends_with(" (deleted)") && Path::new(&self.target).starts_with(folder)
    }
}

/// Every open descriptor of a process.
///
/// # Errors
/// The process does not exist or may not be read.
pub fn descriptors(pid: u32) -> std::io::Result<Vec<Descriptor>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // Closed between the listing and the look: not open any more.
        let (Some(number), Ok(target), Ok(metadata)) = (number, fs::read_link(&path), fs::metadata(&path)) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        found.push(Descriptor { number, target, inode: metadata.ino(), regular: metadata.is_file() });
    }
    Ok(found)
}

/// Whether the process exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    fields_after_name(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z" && state != "X"))
}

/// CPU time used since the process started, user and system, in seconds.
#[must_use]
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let fields = fields_after_name(pid)?;
    // utime and stime are fields 14 and 15 of proc(5), counted from 1; the state (field 3) comes first here.
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf takes an integer.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some(ticks as f64 / per_second as f64)
}

/// Resident memory, in bytes.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    bytes_field(pid, "VmRSS:")
}

/// The most resident memory that the program ever had, in bytes. (A `rusage` would count what its starter had too.)
#[must_use]
pub fn peak_resident(pid: u32) -> Option<u64> {
    bytes_field(pid, "VmHWM:")
}

/// The ids of its threads.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    let listed = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The pid as the innermost pid namespace of the process counts it.
#[must_use]
pub fn namespaced_pid(pid: u32) -> Option<u32> {
    status_field(pid, "NSpid:")?.split_whitespace().last()?.parse().ok()
}

/// Living processes with this `KEY=value` in the environment that they were started with.
#[must_use]
pub fn marked(variable: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    pids.filter(has_it).filter(|pid| is_alive(*pid)).collect()
}

/// The settings of the machine that an observer might be tempted to change: name and value.
#[must_use]
pub fn settings() -> Vec<(String, String)> {
    let names = [
        "/proc/sys/kernel/bpf_stats_enabled",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/kernel/perf_event_paranoid",
        "/proc/sys/kernel/yama/ptrace_scope",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/core/bpf_jit_enable",
        "/proc/sys/net/ipv4/ip_local_port_range",
    ];
    // What this kernel does not have reads as nothing, before and after.
    let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
    let mut all: Vec<_> = names.iter().map(|name| ((*name).to_owned(), read(name))).collect();
    // Other mounts come and go on a living machine.
    let kinds = ["tracefs", "debugfs", "bpf", "cgroup", "cgroup2"];
    let is_kernels = |line: &&str| line.split(' ').nth(2).is_some_and(|kind| kinds.contains(&kind));
    let mounts = read("/proc/self/mounts");
    let mounts: Vec<&str> = mounts.lines().filter(is_kernels).collect();
    all.push(("mounts of kernel file systems".to_owned(), mounts.join("\n")));
    all
}

fn bytes_field(pid: u32, field: &str) -> Option<u64> {
    let kilobytes: u64 = status_field(pid, field)?.trim_end_matches(" kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn status_field(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
}

/// The fields of `/proc/PID/stat` from the state on; the name before may hold spaces and brackets.
fn fields_after_name(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The processes that any thread of a process has made and that still are.
///
/// # Errors
/// It is gone.
pub fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("threads of {pid}"))? {
        let text = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_an_unlinked_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let count = || descriptors(pid).unwrap().iter().filter(|fd| fd.is_deleted_file_under(folder.path())).count();
        assert_eq!(count(), 0);
        let file = tempfile::tempfile_in(folder.path()).unwrap();
        assert_eq!(count(), 1);
        drop(file);
        assert_eq!(count(), 0);
    }

    #[test]
    fn knows_itself() {
        let pid = std::process::id();
        assert!(is_alive(pid) && !is_alive(u32::MAX));
        assert!(resident(pid).unwrap() > 0);
        assert!(peak_resident(pid).unwrap() >= resident(pid).unwrap() / 2);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(threads(pid).contains(&pid));
        assert_eq!(namespaced_pid(pid), Some(pid));
        assert!(marked("SURELY_NOT_SET=1").is_empty());
    }
}
