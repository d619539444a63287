//! Attaching the ways in, and snapshots of the targets at their pace.

use super::{
    connections::{self, Watch},
    deaf::Deaf,
    kind::{self, Kinds},
    open::{self, OpenFd},
    owner::{identity, owner},
    pace::Pace,
    procfs,
};
use crate::{
    host::{
        elf,
        iterator::{self, Of},
        kernel::{AttachError, Kernel},
        targets,
    },
    probes::{Look, Probe},
    session::Shed,
    wire::{Counter, FdRecord, SAMPLE_CONNECTIONS, SAMPLE_FD, StackRecord, ThreadRecord, UnixRecord},
};
use snowshed_engine::model::{Holding, HoldingKind, Holdings, Join, Nanos, Observation, Pid, Resource, SiteId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
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
/// Sites by file that are kept; the ones of closed files go some looks later.
const MOST_STACKS: usize = 65_536;
/// How often what belongs to closed files is swept out.
const SWEEP: Nanos = 2_000_000_000;
/// A process in which nothing can have changed is looked at so often all the same.
const ASLEEP: Nanos = 4_000_000_000;

/// The same where something has an owner that may end, or a peer.
const ASLEEP_OWNED: Nanos = 1_500_000_000;

/// Nothing is called an orphan sooner, so who made it is of no use yet.
const YOUNG: Nanos = 3_000_000_000;

/// What is read without any hook.
const LISTED: &str = "the kernel's list of descriptors, without owner, age and stack";

/// A file: its address and when it came in.
type FileKey = (u64, Nanos);

#[derive(Default)]
pub(crate) struct Fd {
    kinds: Kinds,
    watch: Watch,
    pace: Pace,
    looked: Nanos,
    swept: Nanos,
    /// When each process was last looked at, and whether only it itself can change anything there: nothing has an owner
    /// that may end, and there is no connection.
    last: BTreeMap<Pid, (Nanos, bool)>,
    /// Sites by file, each with when the file was last seen to be open.
    sites: HashMap<FileKey, (SiteId, Nanos)>,
    /// Ports on which each process listens, and all of them.
    listening: BTreeMap<Pid, BTreeSet<u16>>,
    ports: BTreeSet<u16>,
    /// The kernel leaves out what connections wait for.
    terse: bool,
    /// What this kernel cannot tell.
    lacks: Option<String>,
    /// Why Unix sockets have no names.
    nameless: Option<String>,
    /// Origins from before are of files that may be closed by now: the hooks were off.
    trusted: Nanos,
    deaf: Deaf,
    /// Processes whose threads hand their work to others.
    roaming: HashMap<Pid, bool>,
}

impl Probe for Fd {
    fn name(&self) -> &'static str {
        "fd"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["fd_opened", "fd_signalled", "fd_accepted", "fd_paired", "fd_received"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[Counter::Files, Counter::Stacks], &[Counter::FilesLost, Counter::StacksLost])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("fd_list", "task_file")?;
        // Should it be refused, Unix sockets only stay without names.
        self.nameless = kernel.iterator("unix_list", "task_file").err().map(|error| error.to_string());
        kernel.iterator("thread_list", "task")?;
        self.kinds = Kinds::learn(kernel);
        // The list needs no tracepoint, and so no tracefs; nor may anybody close it, as /proc/PID/fd can be.
        let hooks = match hook(kernel) {
            Ok(lacks) => lacks,
            Err(error) => {
                kernel.unhook(self.programs());
                Some(format!("{error}; serving {LISTED}"))
            }
        };
        let lacks = kernel.lacks(&["tcp_sock", "inet_connection_sock"]);
        let lacks = lacks.map(|lacks| format!("what connections wait for is partly unknown: {lacks}"));
        self.lacks = hooks.into_iter().chain(lacks).reduce(|one, other| format!("{one}; {other}"));
        Ok(())
    }

    fn lacks(&self) -> Option<String> {
        let nameless = self.nameless.as_ref().map(|error| format!("Unix sockets have no names: {error}"));
        // A part of the whole each: both are told.
        let all: Vec<String> = self.lacks.iter().cloned().chain(nameless).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn fallback(&self) -> Option<&'static str> {
        Some("descriptors and kinds from /proc, without owner, age and stack")
    }

    fn without_hooks(&self) -> Option<&'static str> {
        Some(LISTED)
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.pace.rest(self.looked)))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        self.looked = look.now;
        for pid in self.pace.due(&look.targets.pids(), look.now) {
            if self.is_as_it_was(look, pid) {
                self.pace.pass_over(pid, look.now);
                continue;
            }
            let items = self.list(look, pid, out);
            let others = |item: &Holding| item.owner.join != Join::None || is_connection(item.kind);
            let plain = items.as_ref().is_some_and(|items| !items.iter().any(others));
            self.last.insert(pid, (look.now, plain && look.kernel.is_some()));
            let held = items.as_ref().map_or(0, Vec::len);
            self.pace.looked(pid, held as u64, look.now);
            let at = look.now;
            // An empty list is a process that just ended, not one that closed everything.
            if let Some(items) = items.filter(|items| !items.is_empty()) {
                let limit = targets::file_limit(pid);
                out.push(Observation::Holdings(Holdings { pid, at, resource: Resource::Fds, limit, items }));
            }
        }
        let Some(kernel) = look.kernel.as_deref_mut() else { return };
        if std::mem::take(&mut self.terse) {
            // Whoever looks in between wants to know all.
            kernel.set_sampling(SAMPLE_CONNECTIONS, 1);
        }
        let ports: BTreeSet<u16> = self.listening.values().flatten().copied().collect();
        if ports != self.ports {
            kernel.set_ports(&ports);
            self.ports = ports;
        }
        if look.now >= self.swept + SWEEP {
            self.swept = look.now;
            // Every process has been looked at twice since.
            let since = look.now.saturating_sub(2 * (4 * self.pace.longest() + SWEEP).max(connections::SELDOM));
            self.sites.retain(|_, (_, seen)| *seen >= since);
            self.watch.sweep(since);
        }
    }

    fn sheds(&self) -> &'static [Shed] {
        &[Shed::Stacks, Shed::Owners, Shed::Hooks]
    }

    /// The only one of its hooks that runs at every request of a server.
    fn owners(&self) -> &'static [&'static str] {
        &["fd_received"]
    }

    fn owned(&mut self, owned: bool, now: Nanos) {
        if owned {
            self.deaf.end(now);
        } else {
            self.deaf.begin(now);
        }
    }

    fn without_owners(&self) -> &'static str {
        "owner and stack of 1 in 16, and no owner by connection"
    }

    fn sampled(&self) -> Option<u32> {
        Some(SAMPLE_FD)
    }

    fn unhooked(&mut self) {
        // A closed file's place may be another's by now, and nobody tells.
        self.trusted = Nanos::MAX;
    }

    fn hooked(&mut self, since: Nanos) {
        self.trusted = since;
    }

    fn holdings(&mut self, look: &mut Look<'_>, pid: Pid) -> Option<Holdings> {
        let items = match look.kernel.as_deref_mut() {
            Some(kernel) => {
                kernel.look("fd_list", Of::Process(pid), look.buffer).ok()?;
                self.items(look.buffer, look.now, &mut BTreeSet::new())
            }
            None => procfs::list(pid)?,
        };
        Some(Holdings { pid, at: look.now, resource: Resource::Fds, limit: targets::file_limit(pid), items })
    }

    fn open(&mut self, look: &mut Look<'_>, pid: Pid, wanted: &[i32]) -> Option<Vec<OpenFd>> {
        let wanted: HashSet<i32> = wanted.iter().copied().collect();
        let items = self.holdings(look, pid)?.items.into_iter().filter(|item| wanted.contains(&item.number));
        let before = open::files(look);
        let mut all: Vec<OpenFd> = items.map(OpenFd::new).collect();
        let places: HashMap<i32, usize> = all.iter().enumerate().map(|(at, one)| (one.item.number, at)).collect();
        let place = |fd: u32| places.get(&i32::try_from(fd).unwrap_or(i32::MAX)).copied();
        if let Some(kernel) = look.kernel.as_deref_mut() {
            if kernel.look("fd_list", Of::Process(pid), look.buffer).is_ok() {
                for (record, connection) in connections::records(look.buffer) {
                    if let (Some(connection), Some(at)) = (connection, place(record.fd)) {
                        all[at].connects(&record, &connection, self.watch.connection(&record, &connection));
                    }
                }
            }
            let unix = all.iter().any(|one| one.item.kind == HoldingKind::Unix) && self.nameless.is_none();
            if unix && kernel.look("unix_list", Of::Process(pid), look.buffer).is_ok() {
                for record in iterator::records::<UnixRecord>(look.buffer) {
                    if let Some(at) = place(record.fd) {
                        all[at].binds(&record);
                    }
                }
            }
        }
        all.iter_mut().for_each(|one| open::look_up(pid, one));
        // A number that was closed and given out again meanwhile would carry another file's name.
        let after = self.holdings(look, pid)?.items;
        if look.kernel.is_some() {
            // Not by their keys: what is remembered of a file may be forgotten between two looks, and it is the same file.
            let after = open::files(look);
            all.retain(|one| before.get(&one.item.number) == after.get(&one.item.number));
        } else {
            let still: HashSet<(i32, u64)> = after.iter().map(|item| (item.number, item.key)).collect();
            all.retain(|one| still.contains(&(one.item.number, one.item.key)));
        }
        Some(all)
    }

    fn stack(&mut self, record: &StackRecord, site: SiteId) {
        if self.sites.len() + 1 < MOST_STACKS {
            let files = [record.file, record.pair].into_iter().filter(|file| *file != 0);
            self.sites.extend(files.map(|file| ((file, record.made), (site, record.made))));
        }
    }

    fn executed(&mut self, pid: Pid) {
        self.roaming.remove(&pid);
    }

    fn forget(&mut self, pid: Pid) {
        self.pace.forget(pid);
        self.last.remove(&pid);
        self.watch.forget(pid);
        self.listening.remove(&pid);
        self.roaming.remove(&pid);
    }
}

/// Hooks the ways in; answers what is left out.
fn hook(kernel: &mut Kernel) -> Result<Option<String>, AttachError> {
    kernel.syscalls("fd_opened", OPENING)?;
    kernel.syscalls("fd_signalled", &["sys_exit_signalfd4", "sys_exit_signalfd"])?;
    kernel.syscalls("fd_accepted", &["sys_exit_accept4", "sys_exit_accept"])?;
    kernel.syscalls("fd_paired", &["sys_exit_pipe2", "sys_exit_pipe", "sys_exit_socketpair"])?;
    // Since 6.3. Without it files still have a time, a context and a stack.
    let received = kernel.tracepoint("fd_received", "sock_recv_length");
    Ok(received.err().map(|error| format!("no file is known by its connection: {error}")))
}

impl Fd {
    /// It has not run since the last look, and nobody else can have changed what was seen, or what matters can wait.
    fn is_as_it_was(&self, look: &Look<'_>, pid: Pid) -> bool {
        let Some((at, plain)) = self.last.get(&pid).copied() else { return false };
        let asleep = if plain { ASLEEP } else { ASLEEP_OWNED };
        let waits = self.pace.can_wait(pid, at, look.now) || look.now < at + asleep;
        waits && look.targets.is_asleep(pid, at)
    }

    /// What a process holds; besides tells what its connections wait for, where it is time.
    fn list(&mut self, look: &mut Look<'_>, pid: Pid, out: &mut Vec<Observation>) -> Option<Vec<Holding>> {
        let Some(kernel) = look.kernel.as_deref_mut() else { return procfs::list(pid) };
        let detailed = self.watch.is_due(pid, look.now);
        if self.terse == detailed {
            kernel.set_sampling(SAMPLE_CONNECTIONS, if detailed { 1 } else { 2 });
            self.terse = !detailed;
        }
        kernel.look("fd_list", Of::Process(pid), look.buffer).ok()?;
        if detailed && !look.buffer.is_empty() {
            out.push(Observation::Connections(self.watch.look(pid, look.now, look.buffer)));
        }
        let mut listening = BTreeSet::new();
        let mut items = self.items(look.buffer, look.now, &mut listening);
        if listening.is_empty() {
            self.listening.remove(&pid);
        } else {
            self.listening.insert(pid, listening);
        }
        self.forget_makers(&mut items, look, pid);
        look.rest();
        Some(items)
    }

    /// A maker that has ended makes nothing more, and Go's threads work for anybody: their things are compared with
    /// everybody's. Looked at only where something is old enough for that to matter.
    fn forget_makers(&mut self, items: &mut [Holding], look: &mut Look<'_>, pid: Pid) {
        let old = |item: &Holding| item.leads_to != 0 && item.made.is_some_and(|made| look.now > made + YOUNG);
        let Some(kernel) = look.kernel.as_deref_mut().filter(|_| items.iter().any(old)) else { return };
        if *self.roaming.entry(pid).or_insert_with(|| elf::is_go(&targets::executable(pid))) {
            items.iter_mut().for_each(|item| item.maker = 0);
        } else if kernel.look("thread_list", Of::Process(pid), look.buffer).is_ok() {
            let threads = iterator::records::<ThreadRecord>(look.buffer).map(|thread| thread.host[0]);
            let threads: HashSet<u32> = threads.collect();
            items.iter_mut().filter(|item| !threads.contains(&item.maker)).for_each(|item| item.maker = 0);
        }
    }

    fn items(&mut self, buffer: &[u8], now: Nanos, listening: &mut BTreeSet<u16>) -> Vec<Holding> {
        let mut items = Vec::with_capacity(buffer.len() / size_of::<FdRecord>());
        for (mut record, _) in connections::records(buffer) {
            if record.origin.made < self.trusted {
                record.origin = Default::default();
            }
            if self.deaf.covers(record.origin.made) {
                record.origin.connection = 0;
            }
            listening.extend(kind::listening(&record));
            let made = record.origin.made;
            let sited = if made == 0 { None } else { self.sites.get_mut(&(record.file, made)) };
            let site = sited.map_or(SiteId(0), |(site, seen)| {
                *seen = now;
                *site
            });
            items.push(self.holding(&record, site));
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
            // Bytes that go to and fro in one exchange look like many: by itself a later one proves nothing.
            exchanges: if kind == HoldingKind::TcpAccepted { origin.exchange } else { 0 },
            leads_to: kind::leads_to(kind, record),
            maker: origin.maker,
        }
    }
}

/// What its peer changes, too.
fn is_connection(kind: HoldingKind) -> bool {
    matches!(kind, HoldingKind::Tcp | HoldingKind::TcpAccepted)
}
