//! What the agent itself holds and uses: resident memory, kernel memory of its maps and programs, processor time.
//!
//! Kernel memory is what the kernel accounts to each map and program (`memlock` in `/proc/self/fdinfo`). Rings are
//! mapped here too, so their pages that were touched are also in the resident memory: the sum is an upper bound.
//! Cost: one small file for each descriptor, so it is read every ten seconds only.

use snowshed_engine::model::Nanos;
use std::fs;

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory, bytes.
    pub(crate) resident: Option<u64>,
    /// Kernel memory of maps and programs, bytes.
    pub(crate) kernel: Option<u64>,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Self { resident: pages.map(|pages| pages * page_size()), kernel: accounted() }
    }

    pub(crate) fn sum(self) -> u64 {
        self.resident.unwrap_or(0) + self.kernel.unwrap_or(0)
    }
}

fn page_size() -> u64 {
    // SAFETY: no arguments that could be wrong.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Bytes of every map and program that this process holds, each once.
fn accounted() -> Option<u64> {
    let mut held = std::collections::BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo").ok()?.flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        if let Some((id, bytes)) = object(&info) {
            held.insert(id, bytes);
        }
    }
    Some(held.values().sum())
}

/// Kind and id of the map or program that a descriptor is, with its bytes.
fn object(info: &str) -> Option<((bool, u64), u64)> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let is_map = field("map_id:").is_some();
    // A link names its program too, but accounts no memory.
    let id = field("map_id:").or_else(|| field("prog_id:"))?;
    Some(((is_map, id), field("memlock:")?))
}

/// Processor time of this whole process so far.
pub(crate) fn processor_time() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_programs_are_counted_and_links_are_not() {
        let map = "pos:\t0\nmap_type:\t27\nmax_entries:\t4096\nmemlock:\t2109440\nmap_id:\t7\nfrozen:\t0\n";
        assert_eq!(object(map), Some(((true, 7), 2_109_440)));
        let program = "prog_type:\t5\nprog_jited:\t1\nmemlock:\t4096\nprog_id:\t7\n";
        assert_eq!(object(program), Some(((false, 7), 4096)));
        assert_eq!(object("link_type:\tperf\nlink_id:\t3\nprog_id:\t7\n"), None);
        assert_eq!(object("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_used_its_processor() {
        assert!(Footprint::now().resident.is_some_and(|bytes| bytes > 100_000));
        assert!(processor_time() > 0);
    }
}
