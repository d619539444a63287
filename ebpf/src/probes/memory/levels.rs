//! Levels of a process's memory, from `/proc/PID/status` and `/proc/PID/stat`, and its cgroup's.
//!
//! Why files and not the iterator: since Linux 6.16 the kernel sums its per-CPU counters for them, so they are
//! exact; the counters that a program can read lag by a batch for each CPU. Faults of threads that ended
//! are in them too. Cost: two reads a process and look; for the cgroup two to four more.

use crate::host::{
    cgroup::{Group, Hierarchy, Known},
    proc_file::{self, Kept},
};
use snowshed_engine::model::{Pid, Resource};

const KIB: u64 = 1024;
/// Limits above this mean none: the first hierarchy shows the largest number of pages there is.
const NO_LIMIT: u64 = 1 << 62;

/// What a process holds, in the order in which it is told: what is swapped before what is resident.
pub(super) fn of(pid: Pid) -> Vec<(Resource, u64)> {
    let read = |name: &str| proc_file::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let mut levels = parse_status(&read("status"));
    levels.extend(major_faults(&read("stat")).map(|faults| (Resource::MajorFaults, faults)));
    levels
}

fn parse_status(text: &str) -> Vec<(Resource, u64)> {
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name, resource| Some((resource, number(name)?.checked_mul(KIB)?));
    // A first thread that has ended shows no memory; the process then goes on without a level, not at zero.
    let all = [
        bytes("VmSwap", Resource::Swap),
        bytes("RssShmem", Resource::RssShmem),
        bytes("RssFile", Resource::RssFile),
        bytes("VmHWM", Resource::RssPeak),
        bytes("VmSize", Resource::AddressSpace),
        bytes("VmData", Resource::AddressSpaceData),
        bytes("RssAnon", Resource::RssAnon),
        number("Threads").map(|threads| (Resource::Threads, threads)),
    ];
    all.into_iter().flatten().collect()
}

/// Field 12 of `stat`; the name may hold spaces and brackets.
fn major_faults(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(9)?.parse().ok()
}

/// What the whole machine uses and cannot reclaim, and how much there is.
pub(super) fn machine() -> Option<(u64, u64)> {
    static MEMINFO: Kept = Kept::new("/proc/meminfo");
    parse_machine(&MEMINFO.read().ok()?)
}

fn parse_machine(text: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(KIB)
    };
    let all = bytes("MemTotal")?;
    Some((all.saturating_sub(bytes("MemAvailable")?), all))
}

/// Use and limit of the cgroup that leaves least room; `None` where none can be read. File pages that nobody has
/// used lately do not count as used: the kernel drops them before it refuses anything.
pub(super) fn cgroup(known: &mut Known, pid: Pid) -> Option<(u64, Option<u64>)> {
    let level = |group: &Group, current, limit| {
        let limit = group.number(limit).filter(|limit| *limit < NO_LIMIT);
        // Of the whole subtree: the first hierarchy tells the cgroup's own apart.
        let idle = group.word("memory.stat", "total_inactive_file");
        let idle = idle.or_else(|| group.word("memory.stat", "inactive_file")).unwrap_or(0);
        Some((group.number(current)?.saturating_sub(idle), limit))
    };
    let mut tightest = |hierarchy, current, limit| {
        let groups = known.groups(pid, hierarchy);
        let levels: Vec<(u64, Option<u64>)> = groups.iter().filter_map(|group| level(group, current, limit)).collect();
        let room =
            |(current, limit): &&(u64, Option<u64>)| limit.map_or(u64::MAX, |limit| limit.saturating_sub(*current));
        levels.iter().min_by_key(room).copied()
    };
    tightest(Hierarchy::V2, "memory.current", "memory.max")
        .or_else(|| tightest(Hierarchy::V1("memory"), "memory.usage_in_bytes", "memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_processes_levels() {
        let levels = of(std::process::id());
        let level = |wanted| levels.iter().find(|(resource, _)| *resource == wanted).map(|(_, value)| *value);
        assert!(level(Resource::RssAnon) > Some(0) && level(Resource::AddressSpace) > level(Resource::RssAnon));
        assert!(level(Resource::RssPeak) >= level(Resource::RssAnon) && level(Resource::Threads) >= Some(1));
        assert!(level(Resource::MajorFaults).is_some() && level(Resource::Swap).is_some());
    }

    #[test]
    fn a_process_without_memory_has_no_level() {
        assert_eq!(parse_status("Name:\tx\nThreads:\t3\n"), [(Resource::Threads, 3)]);
        assert!(parse_status("RssAnon: many kB\nVmSize:\n").is_empty());
        assert!(of(0).is_empty());
        assert_eq!(major_faults("1 (a) b) S 1 1 1 0 -1 4194304 100 0 7 0"), Some(7));
        assert_eq!(major_faults("1 (a"), None);
        assert_eq!(parse_machine("MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: 3 kB\n"), Some((5120, 8192)));
        assert_eq!(parse_machine("MemTotal: 8 kB\n"), None, "older kernels do not tell what is available");
    }
}
