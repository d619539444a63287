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
const TCP: u16 = 6;
const UDP: u16 = 17;
const MPTCP: u16 = 262;
const LISTEN: u16 = 10;

/// File operations by address.
#[derive(Debug, Default)]
pub(super) struct Kinds(HashMap<u64, HoldingKind>);

impl Kinds {
    /// Opens one of each and looks at itself through the probe's own eyes.
    pub(super) fn learn(kernel: &mut Kernel) -> Self {
        // SAFETY: plain calls without pointers; a failure gives -1, which is passed over.
        let made = unsafe {
            [
                (HoldingKind::Epoll, libc::epoll_create1(libc::EPOLL_CLOEXEC)),
                (HoldingKind::Eventfd, libc::eventfd(0, libc::EFD_CLOEXEC)),
                (HoldingKind::Timerfd, libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC)),
                (HoldingKind::Anon, libc::inotify_init1(libc::IN_CLOEXEC)),
            ]
        };
        // SAFETY: just made, owned by nobody else.
        let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
        let own: Vec<_> = made.into_iter().filter(|(_, fd)| *fd >= 0).map(|(kind, fd)| (kind, own(fd))).collect();
        let pid = std::process::id();
        let mut buffer = Vec::new();
        let mut kinds = HashMap::new();
        let Ok(()) = kernel.look("thread_list", Of::Process(pid), &mut buffer) else { return Self::default() };
        let first = iterator::records::<crate::wire::ThreadRecord>(&buffer).next();
        let Some(host) = first.map(|thread| thread.host[1]) else { return Self::default() };
        // The iterator tells only targets; this process is one for a moment.
        if kernel.set_target(host, Target::default()).is_ok() {
            if kernel.look("fd_list", Of::Process(pid), &mut buffer).is_ok() {
                for record in iterator::records::<FdRecord>(&buffer) {
                    let mine = own.iter().find(|(_, fd)| fd.as_raw_fd().unsigned_abs() == record.fd);
                    kinds.extend(mine.map(|(kind, _)| (record.f_op, *kind)));
                }
            }
            kernel.drop_target(host);
        }
        Self(kinds)
    }

    /// The kind of a descriptor; `ports` are those on which targets listen.
    pub(super) fn of(&self, record: &FdRecord, ports: &BTreeSet<u16>) -> HoldingKind {
        if let Some(kind) = self.0.get(&record.f_op) {
            return *kind;
        }
        match record.mode & libc::S_IFMT {
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
        _ => HoldingKind::Socket,
    }
}

/// The listening port of a record, if it listens.
pub(super) fn listening(record: &FdRecord) -> Option<u16> {
    let [family, protocol, state, port] = record.socket;
    (matches!(family, AF_INET | AF_INET6) && matches!(protocol, TCP | MPTCP) && state == LISTEN).then_some(port)
}
