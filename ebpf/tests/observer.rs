//! The map of another observer (OBI): read where a process publishes nothing, and only while it is there and is one.
//!
//! Needs root and BPF; mounts a BPF file system of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its victim has failed")]

#[allow(dead_code, reason = "shared with other suites, which use the rest")]
mod victim;
mod whole;

use snowshed_ebpf::Session;
use snowshed_engine::model::{Holding, Join, Pid};
use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use victim::Victim;

const PATIENCE: Duration = Duration::from_secs(20);
const LRU_HASH: u32 = 9;
const HASH: u32 = 1;

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: plain data of the size told, which outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(done).unwrap()) }
}

/// As OBI makes it, in a file system that goes with the test.
struct Pinned {
    folder: tempfile::TempDir,
}

impl Pinned {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = CString::new(folder.path().to_str().unwrap()).unwrap();
        // SAFETY: constant strings, and a path that lives through the call.
        let done = unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        assert_eq!(done, 0, "mount a BPF file system: {}", io::Error::last_os_error());
        fs::create_dir(folder.path().join("otel")).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("otel/traces_ctx_v1")
    }

    fn create(&self, kind: u32, value: u32) -> OwnedFd {
        let fd = bpf(0, &[kind, 8, value, 64, 0, 0, 0, 0]).unwrap();
        // SAFETY: the kernel just made it, and nobody else owns it.
        let map = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = CString::new(self.path().to_str().unwrap()).unwrap();
        #[repr(C)]
        struct Pin {
            path: u64,
            fd: u32,
            flags: u32,
        }
        bpf(6, &Pin { path: path.as_ptr().expose_provenance() as u64, fd: fd.unsigned_abs(), flags: 0 }).unwrap();
        map
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let path = CString::new(self.folder.path().to_str().unwrap()).unwrap();
        // SAFETY: a path that lives through the call; this test mounted it.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Says that a thread serves this trace. The kernel reads both through what the compiler takes for numbers: so they are
/// exposed, or it would not write them.
fn serve(map: &OwnedFd, thread: u64, value: &[u8; 24]) {
    let (key, value) =
        (std::ptr::from_ref(&thread).expose_provenance() as u64, value.as_ptr().expose_provenance() as u64);
    bpf(2, &[u64::from(map.as_raw_fd().unsigned_abs()), key, value, 0]).unwrap();
}

fn until<T>(session: &mut Session, what: &str, mut pick: impl FnMut(&mut Session) -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        session.poll(Duration::from_millis(50), &mut Vec::new());
        if let Some(found) = pick(session) {
            return found;
        }
    }
    panic!("not within {PATIENCE:?}: {what}; {:?}", session.contexts());
}

fn newest(session: &mut Session, pid: Pid) -> Holding {
    let view = session.holdings(pid).unwrap();
    // Whoever started this test may have left descriptors with higher numbers, which are no files made since.
    let made = view.items.iter().filter(|item| item.made.is_some());
    *made.max_by_key(|item| item.number).unwrap()
}

#[test]
fn what_another_observer_knows_counts_as_seen_on_a_socket() {
    let program = "keep = []\nsay('ready')\nwhile True:\n    wait(); keep.append(open('/etc/passwd')); say('made')\n";
    let victim = Victim::start(program);
    victim.expect("ready");
    let pid = victim.pid();
    let mut session = whole::start();
    session.add_target(pid).unwrap();
    let make = |session: &mut Session| {
        victim.go_on();
        victim.expect("made");
        newest(session, pid).owner
    };
    // Nobody has pinned anything: that is said, and costs nothing.
    let pinned = Pinned::mount();
    session.set_observer_map(&pinned.path());
    assert!(!session.contexts().observer && session.contexts().observer_reason.contains("is not there"));
    assert_eq!(make(&mut session).join, Join::None);

    // One of another shape is named, and left alone.
    for (kind, value) in [(LRU_HASH, 32), (HASH, 24)] {
        let other = pinned.create(kind, value);
        until(&mut session, "the wrong map", |session| {
            session.contexts().observer_reason.contains("another shape").then_some(())
        });
        assert_eq!((session.contexts().observer, make(&mut session).join), (false, Join::None));
        drop(other);
        fs::remove_file(pinned.path()).unwrap();
        until(&mut session, "its end", |session| {
            session.contexts().observer_reason.contains("is not there").then_some(())
        });
    }

    // The right one comes later than this session.
    let map = pinned.create(LRU_HASH, 24);
    until(&mut session, "the map", |session| session.contexts().observer.then_some(()));
    assert_eq!(make(&mut session).join, Join::None, "nothing is in it");
    let thread = u64::from(pid) << 32 | u64::from(pid);
    serve(&map, thread ^ 1, &[5; 24]);
    assert_eq!(make(&mut session).join, Join::None, "another thread's");
    serve(&map, thread, &[7; 24]);
    let owner = make(&mut session);
    assert_eq!((owner.join, owner.trace.map(|trace| trace.to_string())), (Join::Socket, Some("07".repeat(16))));
    serve(&map, thread, &[0; 24]);
    assert_eq!(make(&mut session).join, Join::None, "no trace");
    serve(&map, thread, &[8; 24]);
    assert!(make(&mut session).trace.is_some());

    // Its owner takes it away.
    fs::remove_file(pinned.path()).unwrap();
    until(&mut session, "its end", |session| (!session.contexts().observer).then_some(()));
    assert_eq!(make(&mut session).join, Join::None);
    // A file that is no map, in its place.
    let session_of_another = Path::new("/etc/passwd");
    session.set_observer_map(session_of_another);
    assert!(session.contexts().observer_reason.contains("BPF_OBJ_GET"), "{:?}", session.contexts());
}
