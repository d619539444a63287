//! How much memory there is for streams, where no flag says it: half of what this process could still have.
//!
//! The smaller of what the machine has available and what the control groups around this process leave it. What cannot
//! be read does not count; if nothing can, [`SMALL`] is assumed.

use std::path::{Path, PathBuf};

/// Where nothing is known: what a small machine can give.
const SMALL: u64 = 512 << 20;
/// The least, so that one stream of a usual size fits.
const LEAST: u64 = 128 << 20;

/// The default budget.
pub(crate) fn of_this_machine() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = folders(&groups).into_iter().filter_map(|group| left(&group));
    half_of(machine.into_iter().chain(groups))
}

fn half_of(left: impl Iterator<Item = u64>) -> u64 {
    left.min().map_or(SMALL, |bytes| bytes / 2).max(LEAST)
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A memory control group, and the names of its files in either version.
struct Group {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
}

/// The group of this process and all above it (`/proc/self/cgroup`), as mounted where they usually are.
fn folders(listing: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in listing.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (mount, limit, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        for above in Path::new(path).ancestors() {
            let folder = Path::new(mount).join(above.strip_prefix("/").unwrap_or(above));
            groups.push(Group { folder, limit, used });
        }
    }
    groups
}

/// What a group still leaves; `None` where it has no limit or cannot be read.
fn left(group: &Group) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(group.folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // "max" in version 2 and a number near 2^63 in version 1 mean that there is none.
    let limit = number(group.limit).filter(|limit| *limit < 1 << 60)?;
    Some(limit.saturating_sub(number(group.used).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_counts_and_there_is_always_enough_for_one() {
        assert_eq!(half_of([4 << 30, 1 << 30].into_iter()), 512 << 20);
        assert_eq!(half_of(std::iter::empty()), SMALL);
        assert_eq!(half_of([1 << 20].into_iter()), LEAST);
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:     2048 kB\n"), Some(2 << 20));
        assert!(of_this_machine() >= LEAST);
    }

    #[test]
    fn groups_of_both_versions_and_all_above_are_asked() {
        let paths = |text| folders(text).into_iter().map(|group| group.folder.join(group.limit)).collect::<Vec<_>>();
        let of = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            paths("0::/a/b\n"),
            of(&["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"])
        );
        let first = "/sys/fs/cgroup/memory/x/memory.limit_in_bytes";
        assert_eq!(
            paths("3:cpu:/y\n2:memory,pids:/x\nbroken"),
            of(&[first, "/sys/fs/cgroup/memory/memory.limit_in_bytes"])
        );
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = Group { folder: folder.path().to_owned(), limit: "memory.max", used: "memory.current" };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        assert_eq!(left(&group), None);
        write("memory.max", "max\n");
        assert_eq!(left(&group), None);
        write("memory.max", "1000\n");
        write("memory.current", "300\n");
        assert_eq!(left(&group), Some(700));
    }
}
