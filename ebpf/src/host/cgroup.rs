//! The cgroup of a process, looked at through the process: its own mount of the hierarchy, in its own root.
//!
//! Invariant: a folder is believed only if `statfs` says that it is a cgroup; paths are resolved inside the
//! target's root, so a link there leads to nothing of ours. What cannot be reached is unknown, never the
//! agent's own. Nothing is kept open: a descriptor would pin the target's mounts.

use super::proc_file;
use snowshed_engine::model::Pid;
use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File},
    io::{self, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
};

const CGROUP_SUPER_MAGIC: i64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
/// No file of a cgroup that is read here comes near this.
const LONGEST: u64 = 64 << 10;
/// Levels that are followed upwards.
const DEEPEST: usize = 32;

/// Which hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// The unified one.
    V2,
    /// The one of this controller.
    V1(&'static str),
}

/// Where a process's cgroup lies: the mount in the process's root, and the path below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    mount: String,
    below: String,
}

/// An opened cgroup.
pub(crate) struct Group(OwnedFd);

/// Where the cgroups of processes lie, found out once for each: a list of mounts is long. Who is moved to another cgroup
/// is looked for anew.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<Pid, Membership>);

/// What a process is a member of, as its file says, and where that lies in the hierarchies that were asked for.
#[derive(Debug, Default)]
struct Membership {
    text: String,
    view: Option<View>,
    places: Vec<(Hierarchy, Option<Place>)>,
}

/// From where a process sees its cgroup: its root, and the mounts there (device and inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    root: (u64, u64),
    mounts: (u64, u64),
}

/// What several processes see alike: the same cgroups from the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shared(View, String);

/// What was found out about cgroups in one look: processes that see the same share it.
#[derive(Debug)]
pub(crate) struct Found<T>(BTreeMap<Shared, T>);

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Found<T> {
    /// What is known of a process's cgroups, found out by `read` if it is not known yet.
    pub(crate) fn of(&mut self, known: &mut Known, pid: Pid, read: impl FnOnce(&mut Known) -> T) -> T {
        // Whose view is not known shares with nobody.
        let Some(shared) = known.shared(pid) else { return read(known) };
        self.0.entry(shared).or_insert_with(|| read(known)).clone()
    }
}

impl Known {
    /// The process's cgroup and those above it that its mount shows, innermost first; empty if none can be read.
    pub(crate) fn groups(&mut self, pid: Pid, hierarchy: Hierarchy) -> Vec<Group> {
        self.place(pid, hierarchy).map(|place| opened(pid, hierarchy, place)).unwrap_or_default()
    }

    fn shared(&mut self, pid: Pid) -> Option<Shared> {
        let member = self.member(pid)?;
        Some(Shared(member.view?, member.text.clone()))
    }

    fn member(&mut self, pid: Pid) -> Option<&mut Membership> {
        let text = proc_file::read(format!("/proc/{pid}/cgroup")).ok()?;
        let member = self.0.entry(pid).or_default();
        if member.text != text {
            *member = Membership { text, view: view(pid), places: Vec::new() };
        }
        Some(member)
    }

    fn place(&mut self, pid: Pid, hierarchy: Hierarchy) -> Option<&Place> {
        let member = self.member(pid)?;
        if !member.places.iter().any(|(known, _)| *known == hierarchy) {
            let mounts = proc_file::read(format!("/proc/{pid}/mountinfo")).ok()?;
            member.places.push((hierarchy, place(&member.text, &mounts, hierarchy)));
        }
        member.places.iter().find(|(known, _)| *known == hierarchy)?.1.as_ref()
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }
}

fn view(pid: Pid) -> Option<View> {
    let of = |what: &str| fs::metadata(format!("/proc/{pid}/{what}")).ok().map(|found| (found.dev(), found.ino()));
    Some(View { root: of("root")?, mounts: of("ns/mnt")? })
}

fn opened(pid: Pid, hierarchy: Hierarchy, place: &Place) -> Vec<Group> {
    let root = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(format!("/proc/{pid}/root"));
    let Ok(root) = root else { return Vec::new() };
    let magic = if hierarchy == Hierarchy::V2 { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
    let mut below = place.below.as_str();
    let mut found = Vec::new();
    for _ in 0..DEEPEST {
        match open_in(&root, &format!("{}{below}", place.mount)) {
            Ok(folder) if file_system(&folder) == Some(magic) => found.push(Group(folder)),
            _ => return found,
        }
        let Some((upper, _)) = below.rsplit_once('/') else { break };
        below = upper;
    }
    found
}

impl Group {
    /// The text of one of its files.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: a valid descriptor and a terminated string.
        let fd = unsafe { libc::openat(self.0.as_raw_fd(), name.as_ptr(), flags) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel just made it, and nobody else owns it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// A file that holds one number; `None` also for `max`.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }

    /// The value behind a word at a line's start, as in `oom_kill 3`.
    pub(crate) fn word(&self, name: &str, word: &str) -> Option<u64> {
        let text = self.read(name)?;
        text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Both files name paths as the reader's cgroup namespace sees them, so they fit together.
fn place(groups: &str, mounts: &str, hierarchy: Hierarchy) -> Option<Place> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is = match hierarchy {
            Hierarchy::V2 => number == "0" && controllers.is_empty(),
            Hierarchy::V1(controller) => controllers.split(',').any(|one| one == controller),
        };
        is.then_some(path)
    })?;
    let mounted = |line: &str| {
        let (own, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next()?, rest.nth(1)?);
        let is = match hierarchy {
            Hierarchy::V2 => kind == "cgroup2",
            Hierarchy::V1(controller) => kind == "cgroup" && options.split(',').any(|one| one == controller),
        };
        let mut own = own.split(' ').skip(3);
        let (root, mount) = (unescape(own.next()?), unescape(own.next()?));
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        let fits = is && (below.is_empty() || below.starts_with('/'));
        fits.then(|| (root.len(), Place { mount, below: below.trim_end_matches('/').to_owned() }))
    };
    // The mount that shows most of the path above it; the last one covers earlier ones.
    mounts.lines().rev().filter_map(mounted).min_by_key(|(root, _)| *root).map(|(_, place)| place)
}

/// `\040` is a space, and so on.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => plain.push_str(part),
        }
    }
    plain
}

/// Opens a folder below `root`, which no link and no `..` on the way leaves.
fn open_in(root: &File, path: &str) -> io::Result<OwnedFd> {
    let path = CString::new(path.trim_start_matches('/'))?;
    // SAFETY: all-zero is a valid request.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC).unsigned_abs());
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: a valid descriptor, a terminated string, and a request of the size told.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<libc::open_how>())
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just made it, and nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn file_system(folder: &OwnedFd) -> Option<i64> {
    let mut told = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a valid descriptor and room for the answer, which is only read where the call succeeded.
    unsafe { (libc::fstatfs(folder.as_raw_fd(), told.as_mut_ptr()) == 0).then(|| told.assume_init().f_type) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "4:memory:/pod/a\n1:name=systemd:/\n0::/pod/a\n";

    #[test]
    fn a_path_is_cut_at_the_mounts_root() {
        let mounts = "30 1 0:27 /pod /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n\
                      31 1 0:28 / /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n";
        let v2 = place(GROUPS, mounts, Hierarchy::V2).unwrap();
        assert_eq!(v2, Place { mount: "/sys/fs/cgroup".into(), below: "/a".into() });
        let v1 = place(GROUPS, mounts, Hierarchy::V1("memory")).unwrap();
        assert_eq!(v1, Place { mount: "/sys/fs/cgroup/mem ory".into(), below: "/pod/a".into() });
        assert_eq!(place(GROUPS, mounts, Hierarchy::V1("cpu")), None);
    }

    #[test]
    fn another_containers_mount_and_garbage_are_no_place() {
        let other = "30 1 0:27 /pod/ab /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(place(GROUPS, other, Hierarchy::V2), None);
        let longer = "30 1 0:27 /po /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(place(GROUPS, longer, Hierarchy::V2), None);
        assert_eq!(place("x", "y - z\n - \n", Hierarchy::V2), None);
        assert_eq!(unescape("a\\9b\\"), "a9b");
        assert!(Known::default().groups(0, Hierarchy::V2).is_empty());
    }

    #[test]
    fn who_sees_the_same_is_read_once_and_nobody_is_shared() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (mut known, mut found, mut reads) = (Known::default(), Found::default(), Vec::new());
        for pid in [std::process::id(), child.id(), 0, 0] {
            found.of(&mut known, pid, |_| reads.push(pid));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(reads, [std::process::id(), 0, 0]);
    }

    #[test]
    fn an_ordinary_folder_is_no_cgroup_and_links_do_not_leave_the_root() {
        let inside = std::env::temp_dir().join(format!("snowshed-cgroup-{}", std::process::id()));
        fs::create_dir_all(inside.join("real")).unwrap();
        std::os::unix::fs::symlink("/proc", inside.join("link")).unwrap();
        let root = File::open(&inside).unwrap();
        let real = open_in(&root, "/real").unwrap();
        assert!(![Some(CGROUP_SUPER_MAGIC), Some(CGROUP2_SUPER_MAGIC)].contains(&file_system(&real)));
        assert!(open_in(&root, "/link/self").is_err());
        assert!(open_in(&root, "/../../proc").is_err());
        fs::remove_dir_all(&inside).unwrap();
    }
}
