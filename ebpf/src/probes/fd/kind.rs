//! What a descriptor is. Anonymous inodes share one inode, so their operations tell them apart; which
//! operations are whose is learnt from descriptors of our own.

use crate::{
    host::{
        iterator::{self, Of},
        kernel::Kernel,
    },
    wire::{FdRecord, Target, VIA_ACCEPT, VIA_EXISTING},
};
use snowshed_engine::model::HoldingKind;
use std::{
    collections::{BTreeSet, HashMap},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const TCP: u16 = 6;
const UDP: u16 = 17;
const MPTCP: u16 = 262;
const LISTEN: u16 = 10;
/// The call that opened the file made it (include/linux/fs.h, since 4.19).
const FMODE_CREATED: u32 = 1 << 20;

/// What tells kinds apart on this kernel.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// File operations by address.
    operations: HashMap<u64, HoldingKind>,
    /// The file system of memfds.
    memfds: Option<u64>,
}

/// One descriptor of each kind that the kernel has; -1 where it has it not, or not for us.
fn samples() -> Vec<(HoldingKind, OwnedFd)> {
    // SAFETY: the structures live on this stack and are as large as told; a failure gives a negative number.
    let made = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        let mut ring = [0_u8; 120];
        // struct perf_event_attr: a software event that counts nothing.
        let mut event = [0_u8; 64];
        event[..8].copy_from_slice(&[1, 0, 0, 0, 64, 0, 0, 0]);
        event[8] = 9;
        // union bpf_attr: an array of one number.
        let map = [2_u32, 4, 4, 1, 0, 0, 0, 0];
        let nonblocking = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let call = |number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize| {
            i32::try_from(libc::syscall(number, a, b, c, d, e)).unwrap_or(-1)
        };
        let event = &raw const event as usize;
        [
            (HoldingKind::Epoll, libc::epoll_create1(libc::EPOLL_CLOEXEC)),
            (HoldingKind::Eventfd, libc::eventfd(0, libc::EFD_CLOEXEC)),
            (HoldingKind::Timerfd, libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC)),
            (HoldingKind::Signalfd, libc::signalfd(-1, &raw const none, libc::SFD_CLOEXEC)),
            (HoldingKind::Inotify, libc::inotify_init1(libc::IN_CLOEXEC)),
            (HoldingKind::Fanotify, libc::fanotify_init(libc::FAN_CLOEXEC, 0)),
            (HoldingKind::Memfd, libc::memfd_create(c"kind".as_ptr(), libc::MFD_CLOEXEC)),
            (HoldingKind::Pidfd, call(libc::SYS_pidfd_open, std::process::id() as usize, 0, 0, 0, 0)),
            (HoldingKind::IoUring, call(libc::SYS_io_uring_setup, 1, &raw mut ring as usize, 0, 0, 0)),
            (HoldingKind::Userfaultfd, call(libc::SYS_userfaultfd, nonblocking as usize, 0, 0, 0, 0)),
            // Of this thread, on any CPU, in no group.
            (HoldingKind::PerfEvent, call(libc::SYS_perf_event_open, event, 0, usize::MAX, usize::MAX, 8)),
            (HoldingKind::Bpf, call(libc::SYS_bpf, 0, map.as_ptr() as usize, 32, 0, 0)),
        ]
    };
    // SAFETY: just made, owned by nobody else.
    let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    made.into_iter().filter(|(_, fd)| *fd >= 0).map(|(kind, fd)| (kind, own(fd))).collect()
}

impl Kinds {
    /// Opens one of each and looks at itself through the probe's own eyes.
    pub(super) fn learn(kernel: &mut Kernel) -> Self {
        let own = samples();
        let pid = std::process::id();
        let mut buffer = Vec::new();
        let mut kinds = Self::default();
        let Ok(()) = kernel.look("thread_list", Of::Process(pid), &mut buffer) else { return kinds };
        let first = iterator::records::<crate::wire::ThreadRecord>(&buffer).next();
        let Some(host) = first.map(|thread| thread.host[1]) else { return kinds };
        // The iterator tells only targets; this process is one for a moment.
        if kernel.set_target(host, Target::default()).is_ok() {
            if kernel.look("fd_list", Of::Process(pid), &mut buffer).is_ok() {
                for (record, _) in super::connections::records(&buffer) {
                    match own.iter().find(|(_, fd)| fd.as_raw_fd().unsigned_abs() == record.fd) {
                        // Its operations are those of every file in memory.
                        Some((HoldingKind::Memfd, _)) => kinds.memfds = Some(record.sb),
                        Some((kind, _)) => drop(kinds.operations.insert(record.f_op, *kind)),
                        None => {}
                    }
                }
            }
            kernel.drop_target(host);
        }
        kinds
    }

    /// The kind of a descriptor; `ports` are those on which targets listen.
    pub(super) fn of(&self, record: &FdRecord, ports: &BTreeSet<u16>) -> HoldingKind {
        if let Some(kind) = self.operations.get(&record.f_op) {
            return *kind;
        }
        if self.memfds == Some(record.sb) {
            return HoldingKind::Memfd;
        }
        match u32::from(record.mode) & libc::S_IFMT {
            libc::S_IFREG => HoldingKind::File,
            libc::S_IFDIR => HoldingKind::Directory,
            libc::S_IFCHR | libc::S_IFBLK => HoldingKind::Device,
            libc::S_IFIFO => HoldingKind::Pipe,
            libc::S_IFSOCK => socket(record, ports),
            _ => HoldingKind::Anon,
        }
    }
}

fn socket(record: &FdRecord, ports: &BTreeSet<u16>) -> HoldingKind {
    let [family, protocol, state, port] = record.socket;
    match (family, protocol) {
        (AF_INET | AF_INET6, TCP | MPTCP) if state == LISTEN => HoldingKind::Listener,
        (AF_INET | AF_INET6, TCP | MPTCP) => {
            let accepted = matches!(record.origin.via, VIA_ACCEPT | VIA_EXISTING) || ports.contains(&port);
            if accepted { HoldingKind::TcpAccepted } else { HoldingKind::Tcp }
        }
        (AF_INET | AF_INET6, UDP) => HoldingKind::Udp,
        (AF_UNIX, _) => HoldingKind::Unix,
        (AF_NETLINK, _) => HoldingKind::Netlink,
        _ => HoldingKind::Socket,
    }
}

/// What changes in a pipe or eventfd when it is used; a small write that fits into a pipe's last buffer does not show.
pub(super) fn use_mark(kind: HoldingKind, record: &FdRecord) -> u64 {
    if matches!(kind, HoldingKind::Pipe | HoldingKind::Eventfd) { record.mark } else { 0 }
}

/// What somebody else would get who opens the same again, as a number; 0 where that is a thing of its own each time:
/// what has no name, or got it by this very call.
pub(super) fn leads_to(kind: HoldingKind, record: &FdRecord) -> u64 {
    match kind {
        HoldingKind::File | HoldingKind::Directory | HoldingKind::Device
            if record.links > 0 && record.file_mode & FMODE_CREATED == 0 =>
        {
            record.ino ^ record.sb.rotate_left(32)
        }
        HoldingKind::Tcp | HoldingKind::Udp | HoldingKind::Unix => record.peer,
        _ => 0,
    }
}

/// The listening port of a record, if it listens.
pub(super) fn listening(record: &FdRecord) -> Option<u16> {
    let [family, protocol, state, port] = record.socket;
    (matches!(family, AF_INET | AF_INET6) && matches!(protocol, TCP | MPTCP) && state == LISTEN).then_some(port)
}
