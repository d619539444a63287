//! A control group of its own for a process, of version 1, where the kernel really has that controller.
//!
//! Invariant: nothing is written unless the folder lies in a real cgroup file system; it goes away with the value.

use anyhow::{Context as _, bail};
use std::{
    ffi::CString,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// Where controllers of version 1 are, by convention.
const TOP: &str = "/sys/fs/cgroup";
/// `statfs`'s number of version 1 (linux/magic.h).
const MAGIC: i64 = 0x0027_e0eb;

/// A group.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Makes one under this controller.
    ///
    /// # Errors
    /// There is no such controller, or no right to.
    pub(super) fn make(controller: &str, number: u64) -> anyhow::Result<Self> {
        let top = Path::new(TOP).join(controller);
        if !is_real(&top) {
            bail!("{} is no cgroup file system of version 1", top.display());
        }
        let folder = top.join(format!("snowshed-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// One whose processes may use one and a half processors; [`Self::slow_down`] leaves them less.
    pub(super) fn of_processors(number: u64) -> anyhow::Result<Self> {
        let group = Self::make("cpu", number)?;
        group.set("cpu.cfs_period_us", "100000")?;
        group.slow_down(150_000)?;
        Ok(group)
    }

    /// So many microseconds of each tenth of a second.
    pub(super) fn slow_down(&self, quota: u32) -> anyhow::Result<()> {
        self.set("cpu.cfs_quota_us", &quota.to_string())
    }

    /// Writes one of its files.
    pub(super) fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.0.join(file);
        if !is_real(&path) {
            bail!("{} is not the kernel's", path.display());
        }
        fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))
    }

    /// Puts a process into it.
    pub(super) fn take(&self, pid: u32) -> anyhow::Result<()> {
        self.set("cgroup.procs", &pid.to_string())
    }

    /// One of its files, to be read.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Has what this thread starts begin its life in the group: what a process had before it was moved is not counted there.
    pub(super) fn around<T>(&self, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        // SAFETY: no arguments, cannot fail.
        let tid = unsafe { libc::gettid() }.to_string();
        let home = self.home()?;
        self.set("tasks", &tid)?;
        let started = start();
        fs::write(&home, tid).with_context(|| format!("go back to {}", home.display()))?;
        started
    }

    /// The list of threads of the group that this thread is in.
    fn home(&self) -> anyhow::Result<PathBuf> {
        let top = self.0.parent().context("no controller")?;
        let controller = top.file_name().and_then(|name| name.to_str()).context("no controller")?;
        let groups = fs::read_to_string("/proc/thread-self/cgroup")?;
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|one| one == controller).then_some(path)
        });
        let path = path.with_context(|| format!("this thread is in no group of {controller}"))?;
        let tasks = top.join(path.trim_start_matches('/')).join("tasks");
        if !is_real(&tasks) {
            bail!("{} is not the kernel's", tasks.display());
        }
        Ok(tasks)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is still in it goes back to the top; an empty group can be removed.
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let top = self.0.parent().map(|top| top.join("cgroup.procs")).filter(|top| is_real(top));
        for member in members.lines() {
            if let Some(top) = &top {
                fs::write(top, member).ok();
            }
        }
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

fn is_real(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: an all-zero statfs is a valid value of that plain C structure.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and the structure lives on this stack for the length of the call.
    let told = unsafe { libc::statfs(path.as_ptr(), &raw mut found) };
    told == 0 && found.f_type == MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_only_looks_like_a_controller_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_real(folder.path()));
        assert!(Group::make("no-such-controller", 1).is_err());
        let group = Group(folder.path().join("group"));
        fs::create_dir(&group.0).unwrap();
        assert!(group.set("cpu.cfs_quota_us", "1").is_err());
        assert!(!group.0.join("cpu.cfs_quota_us").exists());
    }
}
