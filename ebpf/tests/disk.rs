//! A thread that a real block device keeps waiting: a loop device behind a throttle of a real cgroup.
//!
//! Needs root, BPF, `cc` and `losetup`. Without a cgroup that can throttle block devices it says loudly that it was
//! skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod seen;
#[allow(dead_code, reason = "shared with the other suites of this crate")]
mod victim;
mod whole;

use seen::wait;
use snowshed_engine::model::Observation;
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};
use victim::Victim;

/// Bytes a second, and bytes of one write: two seconds each.
const RATE: u64 = 131_072;
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int write_through_to_the_disk(int fd, void *page) { return pwrite(fd, page, 262144, 0) != 262144; }
int main(int count, char **names) {
    char line[8]; void *page; int fd = open(names[1], O_WRONLY | O_DIRECT);
    if (count != 2 || fd < 0 || posix_memalign(&page, 4096, 262144)) return 1;
    puts("ready"); fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    for (;;) if (write_through_to_the_disk(fd, page)) return 1;
}
"#;

/// A loop device on a file of 8 MiB; both go with it.
struct Disk {
    folder: PathBuf,
    device: String,
}

impl Disk {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("snowshed-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let image = folder.join("image");
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
        let made = made.expect("this test needs losetup (Debian: mount)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder, device: String::from_utf8(made.stdout).unwrap().trim().to_owned() }
    }

    fn name(&self) -> &str {
        self.device.strip_prefix("/dev/").unwrap()
    }

    fn program(&self) -> PathBuf {
        let (source, program) = (self.folder.join("victim.c"), self.folder.join("victim"));
        fs::write(&source, PROGRAM).unwrap();
        let built = Command::new("cc").args(["-g", "-O1", "-fno-inline", "-o"]).arg(&program).arg(&source).status();
        assert!(built.expect("this test needs cc (Debian: gcc)").success());
        program
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["--detach", &self.device]).status());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A cgroup (v1) that lets its members write so much to a device.
struct Throttle(PathBuf);

impl Throttle {
    fn new(disk: &Disk) -> Result<Self, String> {
        let root = Path::new("/sys/fs/cgroup/blkio");
        let path = CString::new(root.to_str().unwrap()).unwrap();
        // SAFETY: an all-zero structure is valid, the path ends with a zero byte.
        let is_cgroup = unsafe {
            let mut told: libc::statfs = std::mem::zeroed();
            libc::statfs(path.as_ptr(), &raw mut told) == 0 && told.f_type == 0x27_e0eb
        };
        if !is_cgroup || !root.join("blkio.throttle.write_bps_device").exists() {
            return Err("no cgroup (v1) here throttles block devices".to_owned());
        }
        let folder = root.join(format!("snowshed-disk-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let throttle = Self(folder);
        let numbers = fs::read_to_string(format!("/sys/class/block/{}/dev", disk.name())).unwrap();
        let limit = format!("{} {RATE}", numbers.trim());
        fs::write(throttle.0.join("blkio.throttle.write_bps_device"), limit).map_err(|error| error.to_string())?;
        Ok(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Its member has been killed, but ends only with the write that it waits for.
        let begun = Instant::now();
        while fs::remove_dir(&self.0).is_err() && begun.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
    }
}

#[test]
fn a_thread_that_waits_for_a_device_is_told_with_device_place_and_function() {
    // SAFETY: no arguments, cannot fail.
    assert_eq!(unsafe { libc::geteuid() }, 0, "this test attaches kernel programs: run it as root");
    let disk = Disk::new();
    let throttle = match Throttle::new(&disk) {
        Ok(throttle) => throttle,
        Err(reason) => {
            println!("SKIPPED: a wait for a block device: {reason}");
            return;
        }
    };
    let victim = Victim::run(Command::new(disk.program()).arg(&disk.device));
    victim.expect("ready");
    fs::write(throttle.0.join("cgroup.procs"), victim.pid().to_string()).unwrap();
    let mut session = whole::start();
    session.add_target(victim.pid()).unwrap();
    victim.go_on();
    let blocked = wait(&mut session, "a thread that a disk blocks, with its place", |seen| match seen {
        Observation::Blocked(blocked) if blocked.longest_ns > 500_000_000 && blocked.site.0 != 0 => {
            Some(blocked.clone())
        }
        _ => None,
    });
    assert_eq!((blocked.pid, blocked.syscall.as_str()), (victim.pid(), "pwrite64"), "{blocked:?}");
    assert_eq!(blocked.device.as_deref(), Some(disk.name()), "{blocked:?}");
    // Which function it is depends on the kernel; that it is one is told by its name.
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    assert!(is_name(&blocked.function), "{blocked:?}");
    let frames: Vec<String> = session.frames(blocked.site).into_iter().map(|frame| frame.function).collect();
    assert!(frames.iter().any(|frame| frame == "write_through_to_the_disk"), "{frames:?}");
    drop(victim);
    drop(throttle);
}
