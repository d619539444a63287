//! Throttling by the processor limit of a target's cgroup, version 1 or 2, and of the cgroups above it.
//!
//! Read through the target's own root, where it sees its cgroup. A folder is believed only if it lies in a real
//! cgroup file system and lists the target as a member (the numbers are those of this reader's pid namespace):
//! whatever cannot be proved so is unknown, never somebody else's. Cost: a few small files a second.

use crate::host::proc_file;
use snowshed_engine::model::{Pid, Throttled};
use std::{
    ffi::CString,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Cgroups above the target's that are asked.
const LEVELS: usize = 8;
/// The longest file of members that is read, bytes.
const MEMBERS: u64 = 1 << 20;

/// Magic numbers of `statfs` (linux/magic.h): cgroup version 1 and 2.
const REAL: [i64; 2] = [0x0027_e0eb, 0x6367_7270];

/// Where the processor controller's file systems are mounted, in the target's root.
const PLACES: [&str; 4] = ["sys/fs/cgroup", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/unified"];

/// The cgroup folders of a process that count throttling: its own and those above.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroup {
    files: Vec<PathBuf>,
}

impl Cgroup {
    /// Finds them; none if they cannot be found or proved.
    pub(super) fn of(pid: Pid) -> Self {
        Self::within(Path::new(&format!("/proc/{pid}/root")), pid)
    }

    fn within(root: &Path, pid: Pid) -> Self {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return Self::default() };
        let places = || PLACES.iter().map(|place| root.join(place)).filter(|place| is_cgroup(place));
        for path in paths(&text) {
            for place in places() {
                // Seen from another cgroup namespace the path begins elsewhere: the top is then the target's own.
                for folder in [place.join(path.trim_start_matches('/')), place.clone()] {
                    if folder.join("cpu.stat").is_file() && is_cgroup(&folder) && is_member(&folder, pid) {
                        let levels = folder.ancestors().take_while(|level| level.starts_with(&place)).take(LEVELS);
                        let files: Vec<PathBuf> =
                            levels.map(|level| level.join("cpu.stat")).filter(|file| counts(file)).collect();
                        if !files.is_empty() {
                            return Self { files };
                        }
                    }
                }
            }
        }
        Self::default()
    }

    /// Throttled since the cgroup was made, by the level that did it most; `None`: unknown.
    pub(super) fn throttled(&self) -> Option<Throttled> {
        let levels = self.files.iter().filter_map(|file| parse(&proc_file::read(file).ok()?));
        levels.max_by_key(|level| level.ns)
    }
}

/// Paths of the processor controller: version 1's own line, and version 2's, which names no controller.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let ours = controllers.is_empty() || controllers.split(',').any(|name| name == "cpu");
        // `..` leads out of what the reader can see.
        (ours && !path.contains("..")).then_some(path)
    })
}

fn is_cgroup(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: an all-zero structure is valid, the path ends with a zero byte.
    let kind = unsafe {
        let mut told: libc::statfs = std::mem::zeroed();
        if libc::statfs(path.as_ptr(), &raw mut told) != 0 { 0 } else { told.f_type }
    };
    REAL.contains(&kind)
}

fn is_member(folder: &Path, pid: Pid) -> bool {
    use std::io::Read as _;
    let Ok(file) = fs::File::open(folder.join("cgroup.procs")) else { return false };
    let mut text = String::new();
    file.take(MEMBERS).read_to_string(&mut text).is_ok() && text.lines().any(|line| line.parse() == Ok(pid))
}

fn counts(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| parse(&text).is_some())
}

/// `nr_throttled`, and `throttled_usec` (version 2) or `throttled_time` in nanoseconds (version 1).
fn parse(text: &str) -> Option<Throttled> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
    };
    let ns = value("throttled_time").or_else(|| value("throttled_usec").map(|micros| micros.saturating_mul(1_000)))?;
    Some(Throttled { periods: value("nr_throttled")?, ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_garbage_is_unknown() {
        let second = "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 1500\n";
        assert_eq!(parse(second), Some(Throttled { periods: 3, ns: 1_500_000 }));
        let first = "nr_periods 9\nnr_throttled 4\nthrottled_time 77\n";
        assert_eq!(parse(first), Some(Throttled { periods: 4, ns: 77 }));
        for text in ["", "nr_throttled x\nthrottled_time 1", "nr_throttled 1", "usage_usec 5\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_paths_of_the_processor_controller() {
        let text = "9:name=systemd:/a\n5:cpuset:/b\n4:cpu,cpuacct:/c:d\n1:cpu:/../e\n0::/f\n";
        assert_eq!(paths(text).collect::<Vec<_>>(), ["/c:d", "/f"]);
    }

    #[test]
    fn a_folder_that_only_looks_like_a_cgroup_is_not_believed() {
        let own = std::process::id();
        let root = std::env::temp_dir().join(format!("snowshed-throttle-{own}"));
        let folder = root.join("sys/fs/cgroup");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cpu.stat"), "nr_throttled 3\nthrottled_usec 1500\n").unwrap();
        fs::write(folder.join("cgroup.procs"), format!("{own}\n")).unwrap();
        let found = Cgroup::within(&root, own);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found.files.len(), found.throttled()), (0, None));
    }
}
