//! Threads that no signal reaches, mostly because a disk keeps them waiting: for how long, in which function of
//! the kernel, and for which device, where that can be told without touching the file system they wait for.
//!
//! Invariant: nothing here can hang where the thread hangs: the device is looked up by the mount that the
//! descriptor's own `fdinfo` names, never by `stat`; a wait in a page fault is left without one. What has gone
//! on meanwhile is left out. Cost: nothing but for a wait that two looks saw.

use super::{
    user::number,
    waits::{Longest, Waits},
};
use crate::{probes::epoll::syscall_name, wire::TaskRecord};
use snowshed_engine::model::{Blocked, Nanos, Observation, Pid, SiteId};
use std::fs;

/// Scheduler states: `TASK_UNINTERRUPTIBLE`, and `TASK_NOLOAD`, which marks kernel threads that merely idle.
const UNINTERRUPTIBLE: u32 = 2;
const NO_LOAD: u32 = 0x400;
/// System calls whose first argument is the descriptor that they wait for (x86-64): read, write, pread64, pwrite64,
/// readv, writev, sendfile, fsync, fdatasync, ftruncate, getdents64, sync_file_range, fallocate, preadv, pwritev,
/// syncfs, preadv2, pwritev2.
const BY_DESCRIPTOR: &[i64] = &[0, 1, 17, 18, 19, 20, 40, 74, 75, 77, 217, 277, 285, 295, 296, 306, 327, 328];

/// Uninterruptible waits since the last telling.
#[derive(Default)]
pub(super) struct Disk(Waits<Seen>);

/// What was seen of a wait while it went on.
#[derive(Clone, Default)]
struct Seen {
    function: String,
    device: Option<String>,
    site: SiteId,
}

impl Disk {
    /// Takes a look, which stands for a stretch of time.
    pub(super) fn look(
        &mut self,
        times: (Nanos, Nanos),
        records: &[TaskRecord],
        mut place: impl FnMut(&TaskRecord) -> SiteId,
        pid: Pid,
        level: usize,
    ) {
        let blocked = records.iter().filter(|record| is_blocked(record));
        self.0.look(times, true, blocked, |record| see(pid, number(record, level), record, &mut place));
    }

    /// What there is to tell since it was last asked.
    pub(super) fn tell(&mut self, pid: Pid, at: Nanos, level: usize) -> Option<Observation> {
        let (wait_ns, Longest { length, record, seen }) = self.0.tell()?;
        let Seen { function, device, site } = seen.unwrap_or_default();
        Some(Observation::Blocked(Blocked {
            pid,
            at,
            wait_ns,
            longest_ns: length,
            tid: number(&record, level),
            thread: super::groups::name(&record),
            syscall: if record.syscall < 0 { String::new() } else { syscall_name(record.syscall) },
            function,
            device,
            site,
        }))
    }
}

/// No signal reaches it.
pub(super) fn is_blocked(record: &TaskRecord) -> bool {
    record.state & UNINTERRUPTIBLE != 0 && record.state & NO_LOAD == 0
}

fn see(pid: Pid, tid: Pid, record: &TaskRecord, place: &mut impl FnMut(&TaskRecord) -> SiteId) -> Seen {
    let function = fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan")).unwrap_or_default();
    // "0" is a thread that runs again.
    let function = if function == "0" { String::new() } else { function };
    if !BY_DESCRIPTOR.contains(&record.syscall) {
        return Seen { function, ..Seen::default() };
    }
    let device = i32::try_from(record.arguments[0]).ok().and_then(|fd| device(pid, fd));
    // Elsewhere the thread may hold the lock on its memory, which reading its stack would wait for.
    Seen { function, device, site: place(record) }
}

/// The block device behind a descriptor; `None` where there is none, as behind a network file system.
fn device(pid: Pid, fd: i32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let node = link.to_str().and_then(|path| path.strip_prefix("/dev/")).map(|name| name.replace('/', "!"));
    if let Some(name) = node.filter(|name| fs::exists(format!("/sys/class/block/{name}")).unwrap_or(false)) {
        return Some(name);
    }
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let numbers = numbers(&info, &mounts)?;
    let link = fs::read_link(format!("/sys/dev/block/{numbers}")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// Major and minor number of the device that a descriptor's mount lies on.
fn numbers<'a>(info: &str, mounts: &'a str) -> Option<&'a str> {
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let fields = |line: &'a str| line.split(' ').next().filter(|id| *id == mount).and(line.split(' ').nth(2));
    let numbers = mounts.lines().find_map(fields)?;
    // Zero is no device: memory, the network, or another file system below.
    (!numbers.starts_with("0:")).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn blocked(tid: u32, sleeps: u64, state: u32) -> TaskRecord {
        let mut record = TaskRecord { host: [tid, 1], state, sleeps, syscall: 74, ..TaskRecord::default() };
        record.numbers[0] = tid;
        record
    }

    #[test]
    fn the_longest_wait_is_told_once_and_short_ones_only_add_up() {
        let mut disk = Disk::default();
        let mut places = 0;
        for step in 0..10 {
            let records = [blocked(5, 1, 2), blocked(6, step, 2), blocked(7, 1, 0x402), blocked(8, 1, 1)];
            let place = |_: &TaskRecord| {
                places += 1;
                SiteId(9)
            };
            disk.look((step * 50 * MS, 50 * MS), &records, place, 0, 0);
        }
        let told = disk.tell(0, 500 * MS, 0);
        let Some(Observation::Blocked(told)) = told else { panic!("{told:?}") };
        assert_eq!((told.tid, told.longest_ns, told.syscall.as_str()), (5, 450 * MS, "fsync"));
        assert_eq!((told.wait_ns, told.site, places), (1_000 * MS, SiteId(9), 1), "looked at once");
        assert!(disk.tell(0, 600 * MS, 0).is_none());
    }

    #[test]
    fn a_device_is_found_by_the_mount_and_memory_has_none() {
        let mounts = "24 1 254:0 / / rw - ext4 /dev/vda rw\n30 24 0:25 / /run rw - tmpfs tmpfs rw\n";
        assert_eq!(numbers("pos:\t0\nflags:\t02\nmnt_id:\t24\nino:\t7\n", mounts), Some("254:0"));
        assert_eq!(numbers("mnt_id:\t30\n", mounts), None, "a file in memory");
        assert_eq!(numbers("mnt_id:\t99\n", mounts), None);
        assert_eq!(numbers("", ""), None);
        assert_eq!(device(std::process::id(), -1), None);
    }
}
