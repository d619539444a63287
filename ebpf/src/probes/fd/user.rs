//! Attaching the ways in, and a snapshot of every target once a second.

use super::{kind, kind::Kinds, procfs};
use crate::{
    host::{
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
        targets,
    },
    probes::{Look, Probe},
    session::Shed,
    wire::{Counter, FdRecord, JOIN_INHERITED, JOIN_THREAD, SAMPLE_FD, StackRecord},
};
use snowshed_engine::model::{Holding, Holdings, Join, Nanos, Observation, Owner, Pid, Resource, SiteId, TraceId};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// System calls that return one new descriptor; which of them a kernel has does not matter.
const OPENING: &[&str] = &[
    "sys_exit_openat",
    "sys_exit_open",
    "sys_exit_openat2",
    "sys_exit_creat",
    "sys_exit_open_by_handle_at",
    "sys_exit_open_tree",
    "sys_exit_fsopen",
    "sys_exit_fsmount",
    "sys_exit_fspick",
    "sys_exit_mq_open",
    "sys_exit_socket",
    "sys_exit_memfd_create",
    "sys_exit_memfd_secret",
    "sys_exit_eventfd",
    "sys_exit_eventfd2",
    "sys_exit_epoll_create",
    "sys_exit_epoll_create1",
    "sys_exit_timerfd_create",
    "sys_exit_inotify_init",
    "sys_exit_inotify_init1",
    "sys_exit_fanotify_init",
    "sys_exit_pidfd_open",
    "sys_exit_userfaultfd",
    "sys_exit_perf_event_open",
    "sys_exit_io_uring_setup",
];
/// Sites by file that are kept; the ones of closed files go with each snapshot.
const MOST_STACKS: usize = 65_536;

/// A file: its address and when it came in.
type FileKey = (u64, Nanos);

#[derive(Default)]
pub(crate) struct Fd {
    kinds: Kinds,
    sites: HashMap<FileKey, SiteId>,
    ports: BTreeSet<u16>,
    /// What this kernel cannot tell.
    lacks: Option<String>,
    /// Origins from before are of files that may be closed by now: the hooks were off.
    trusted: Nanos,
}

impl Probe for Fd {
    fn name(&self) -> &'static str {
        "fd"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["fd_opened", "fd_signalled", "fd_accepted", "fd_piped", "fd_socketpair", "fd_received"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Files, Counter::Stacks], &[Counter::FilesLost, Counter::StacksLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("fd_list", "task_file")?;
        kernel.iterator("thread_list", "task")?;
        kernel.syscalls("fd_opened", OPENING)?;
        kernel.syscalls("fd_signalled", &["sys_exit_signalfd4", "sys_exit_signalfd"])?;
        kernel.syscalls("fd_accepted", &["sys_exit_accept4", "sys_exit_accept"])?;
        kernel.syscalls("fd_piped", &["sys_exit_pipe2", "sys_exit_pipe"])?;
        kernel.syscalls("fd_socketpair", &["sys_exit_socketpair"])?;
        // Since 6.3. Without it files still have a time, a context and a stack.
        let received = kernel.tracepoint("fd_received", "sock_recv_length");
        self.lacks = received.err().map(|error| format!("no file is known by its connection: {error}"));
        self.kinds = Kinds::learn(kernel);
        Ok(())
    }

    fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    fn fallback(&self) -> Option<&'static str> {
        Some("descriptors and kinds from /proc, without owner, age and stack")
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let pids = look.targets.pids();
        let mut listening = BTreeSet::new();
        let mut live = HashSet::new();
        for pid in &pids {
            let limit = targets::file_limit(*pid);
            let items = match look.kernel.as_deref_mut() {
                Some(kernel) => match kernel.look("fd_list", Of::Process(*pid), look.buffer) {
                    Ok(()) => Some(self.items(look.buffer, &mut listening, &mut live)),
                    Err(_) => None,
                },
                None => procfs::list(*pid),
            };
            let at = look.now;
            // An empty list is a process that just ended, not one that closed everything.
            if let Some(items) = items.filter(|items| !items.is_empty()) {
                out.push(Observation::Holdings(Holdings { pid: *pid, at, resource: Resource::Fds, limit, items }));
            }
        }
        self.sites.retain(|key, _| live.contains(key));
        if let Some(kernel) = look.kernel.as_deref_mut()
            && listening != self.ports
        {
            kernel.set_ports(&listening);
            self.ports = listening;
        }
    }

    fn sheds(&self) -> &'static [Shed] {
        &[Shed::Stacks, Shed::Owners, Shed::Hooks]
    }

    fn sampled(&self) -> Option<u32> {
        Some(SAMPLE_FD)
    }

    fn hooked(&mut self, since: Nanos) {
        self.trusted = since;
    }

    fn holdings(&mut self, look: &mut Look<'_>, pid: Pid) -> Option<Holdings> {
        let items = match look.kernel.as_deref_mut() {
            Some(kernel) => {
                kernel.look("fd_list", Of::Process(pid), look.buffer).ok()?;
                self.items(look.buffer, &mut BTreeSet::new(), &mut HashSet::new())
            }
            None => procfs::list(pid)?,
        };
        Some(Holdings { pid, at: look.now, resource: Resource::Fds, limit: targets::file_limit(pid), items })
    }

    fn stack(&mut self, record: &StackRecord, site: SiteId) {
        if record.file != 0 && self.sites.len() < MOST_STACKS {
            self.sites.insert((record.file, record.made), site);
        }
    }
}

impl Fd {
    fn items(&self, buffer: &[u8], listening: &mut BTreeSet<u16>, live: &mut HashSet<FileKey>) -> Vec<Holding> {
        let mut items = Vec::with_capacity(buffer.len() / size_of::<FdRecord>());
        for mut record in iterator::records::<FdRecord>(buffer) {
            if record.origin.made < self.trusted {
                record.origin = Default::default();
            }
            listening.extend(kind::listening(&record));
            let key = (record.file, record.origin.made);
            if record.origin.made != 0 {
                live.insert(key);
            }
            items.push(self.holding(&record, self.sites.get(&key).copied().unwrap_or_default()));
        }
        items
    }

    fn holding(&self, record: &FdRecord, site: SiteId) -> Holding {
        let origin = &record.origin;
        let kind = self.kinds.of(record, &self.ports);
        let distinct = if origin.made == 0 { record.ino } else { origin.made };
        Holding {
            key: identity(record.file, distinct),
            number: i32::try_from(record.fd).unwrap_or(i32::MAX),
            kind,
            site,
            owner: owner(record),
            made: (origin.made != 0 && origin.via != crate::wire::VIA_EXISTING).then_some(origin.made),
            use_mark: record.position ^ record.bytes.rotate_left(32) ^ kind::use_mark(kind, record),
            // Not counted here: bytes that go to and fro in one exchange look like many. The connection's end decides.
            exchanges: 0,
        }
    }
}

/// A number for an open file: the address alone is recycled within microseconds.
fn identity(file: u64, distinct: u64) -> u64 {
    file.rotate_left(17) ^ distinct.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn owner(record: &FdRecord) -> Owner {
    let origin = &record.origin;
    let [high, low] = origin.context.trace.map(u64::to_ne_bytes);
    let trace = TraceId::from_bytes(&[high, low].concat());
    let connection = (origin.connection != 0).then(|| (identity(origin.connection, origin.connection_made), 0));
    let join = match origin.join {
        JOIN_THREAD if trace.is_some() => Join::ThreadContext,
        JOIN_INHERITED if trace.is_some() => Join::Inherited,
        _ if connection.is_some() => Join::Socket,
        _ => Join::None,
    };
    Owner { trace, connection, join }
}
