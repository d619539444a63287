//! What the agent itself holds and uses: resident memory, kernel memory of its maps and programs, processor time.
//!
//! Kernel memory is what the kernel accounts to each map and program (`memlock` in `/proc/self/fdinfo`). Rings are
//! mapped here too, each twice in a row so that a record never breaks: their pages are left out of the resident memory,
//! so that each counts once.
//! Cost: one small file for each descriptor, so it is read once a minute only; resident memory alone is a single one.

use super::proc_file::Kept;
use snowshed_engine::model::Nanos;
use std::{collections::BTreeMap, fs};

/// What is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory without the rings, bytes.
    pub(crate) resident: Option<u64>,
    /// Kernel memory of maps and programs, bytes.
    pub(crate) kernel: Option<u64>,
    /// Bytes that rings are mapped with.
    rings: u64,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let held = accounted();
        let rings = held.as_ref().map_or(0, |held| held.values().map(|object| object.mapped).sum());
        let kernel = held.map(|held| held.values().map(|object| object.accounted).sum());
        Self { resident: resident(rings), kernel, rings }
    }

    /// Resident memory anew; maps and programs stay as they were.
    pub(crate) fn renew(&mut self) {
        self.resident = resident(self.rings);
    }

    pub(crate) fn sum(self) -> u64 {
        self.resident.unwrap_or(0) + self.kernel.unwrap_or(0)
    }
}

fn resident(rings: u64) -> Option<u64> {
    static STATM: Kept = Kept::new("/proc/self/statm");
    let statm = STATM.read().unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| (pages * page_size()).saturating_sub(rings))
}

fn page_size() -> u64 {
    // SAFETY: no arguments that could be wrong.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// `BPF_MAP_TYPE_RINGBUF`.
const RING: u64 = 27;

/// A map or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Object {
    /// Kernel memory, bytes.
    accounted: u64,
    /// The same memory again as this process has it mapped, bytes.
    mapped: u64,
}

/// Every map and program that this process holds, each once.
fn accounted() -> Option<BTreeMap<(bool, u64), Object>> {
    let mut held = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo").ok()?.flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        if let Some((id, object)) = object(&info) {
            held.insert(id, object);
        }
    }
    Some(held)
}

/// Kind and id of the map or program that a descriptor is, with its bytes.
fn object(info: &str) -> Option<((bool, u64), Object)> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let is_map = field("map_id:").is_some();
    // A link names its program too, but accounts no memory.
    let id = field("map_id:").or_else(|| field("prog_id:"))?;
    // The reader's and the writer's page, and the ring twice.
    let ring = || Some(2 * page_size() + 2 * field("max_entries:")?);
    let mapped = if field("map_type:") == Some(RING) { ring()? } else { 0 };
    Some(((is_map, id), Object { accounted: field("memlock:")?, mapped }))
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
        assert_eq!(object(map), Some(((true, 7), Object { accounted: 2_109_440, mapped: 4 * 4096 })));
        let program = "prog_type:\t5\nprog_jited:\t1\nmemlock:\t4096\nprog_id:\t7\n";
        assert_eq!(object(program), Some(((false, 7), Object { accounted: 4096, mapped: 0 })));
        assert_eq!(object("link_type:\tperf\nlink_id:\t3\nprog_id:\t7\n"), None);
        assert_eq!(object("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_used_its_processor() {
        assert!(Footprint::now().resident.is_some_and(|bytes| bytes > 100_000));
        assert!(processor_time() > 0);
    }
}
