//! The probes. Adding one is a folder (what it is, its kernel part, its host part), its line in [`all`],
//! and its line in `bpf.rs`.

mod dns;
mod epoll;
pub(crate) mod fd;
mod host;
mod memory;
mod tasks;
mod tcp;

pub(crate) use epoll::SAMPLED;

use crate::{
    host::{
        iterator::Of,
        kernel::{AttachError, Kernel},
        sites::Sites,
        targets::Targets,
    },
    session::Shed,
    wire::{Counter, Event, JOIN_CREATOR, JOIN_INHERITED, JOIN_OBSERVER, JOIN_THREAD, StackRecord, ThreadRecord},
};
use snowshed_engine::model::{Holdings, Join, Nanos, Observation, Pid, SiteId};
use std::time::Duration;

/// A signal: how it is attached, when it is looked at, what serves where the kernel refuses.
pub(crate) trait Probe: Send {
    /// Its folder, config key and metric prefix.
    fn name(&self) -> &'static str;
    /// Its kernel programs, whose cost is its cost.
    fn programs(&self) -> &'static [&'static str];
    /// It sees nothing, or less, where no kernel program runs.
    fn needs_kernel(&self) -> bool {
        !self.programs().is_empty()
    }
    /// What it counts as delivered, and as lost.
    fn counters(&self) -> (&'static [Counter], &'static [Counter]);
    /// What it counts besides: seen, and not told as events.
    fn counts(&self) -> &'static [(&'static str, Counter)] {
        &[]
    }
    /// Loads and attaches its programs.
    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError>;
    /// What is left out on this kernel although the programs are attached; `None`: nothing.
    fn lacks(&self) -> Option<String> {
        None
    }
    /// What is seen without the kernel programs; `None`: nothing.
    fn fallback(&self) -> Option<&'static str>;
    /// What it still reads from the kernel while its hooks are off; `None`: nothing, so the fallback serves.
    fn without_hooks(&self) -> Option<&'static str> {
        None
    }
    /// How long after a call of [`Self::sample`] it wants the next one, as it knows after that call; `None`: never.
    fn period(&self) -> Option<Duration>;
    /// Looks at every target. `look.kernel` is `None` where the fallback serves.
    fn sample(&mut self, _look: &mut Look<'_>, _out: &mut Vec<Observation>) {}
    /// What a process holds now, if this is the probe that knows.
    fn holdings(&mut self, _look: &mut Look<'_>, _pid: Pid) -> Option<Holdings> {
        None
    }
    /// These descriptors of a process with what they lead to, if this is the probe that knows.
    fn open(&mut self, _look: &mut Look<'_>, _pid: Pid, _wanted: &[i32]) -> Option<Vec<fd::OpenFd>> {
        None
    }
    /// Takes a rare event.
    fn event(&mut self, _event: &Event, _targets: &Targets, _out: &mut Vec<Observation>) {}
    /// Takes a stack that was copied for a file.
    fn stack(&mut self, _record: &StackRecord, _site: SiteId) {}
    /// What it can leave out to cost less, the smallest loss first.
    fn sheds(&self) -> &'static [Shed] {
        &[Shed::Hooks]
    }
    /// Programs whose hooks are taken off at [`Shed::Owners`].
    fn owners(&self) -> &'static [&'static str] {
        &[]
    }
    /// [`Shed::Owners`] begins (false) or is over.
    fn owned(&mut self, _owned: bool, _now: Nanos) {}
    /// What is left after [`Shed::Owners`].
    fn without_owners(&self) -> &'static str {
        "owner and stack of 1 in 16"
    }
    /// Where its kernel programs read the divisor of [`Shed::Owners`].
    fn sampled(&self) -> Option<u32> {
        None
    }
    /// Its hooks have been taken off.
    fn unhooked(&mut self) {}
    /// Its hooks were off until now: what they remembered before may be of something else by now.
    fn hooked(&mut self, _since: Nanos) {}
    /// A process executes another program: what was read from the old one's file or memory says nothing of it.
    fn executed(&mut self, _pid: Pid) {}
    /// Forgets a process.
    fn forget(&mut self, _pid: Pid) {}
}

/// Every probe of this version.
pub(crate) fn all() -> Vec<Box<dyn Probe>> {
    vec![
        Box::new(fd::Fd::default()),
        Box::<tcp::Tcp>::default(),
        Box::new(epoll::Epoll::default()),
        Box::<memory::Memory>::default(),
        Box::new(tasks::Tasks::default()),
        Box::<host::Host>::default(),
        Box::<dns::Dns>::default(),
    ]
}

/// How a trace was found (`JOIN_*`). What another observer says follows from what it saw on sockets, and may be late by a
/// hand-over between threads: it is no more exact than that.
pub(crate) fn join(found: u32) -> Join {
    match found {
        JOIN_THREAD => Join::ThreadContext,
        JOIN_INHERITED | JOIN_CREATOR => Join::Inherited,
        JOIN_OBSERVER => Join::Socket,
        _ => Join::None,
    }
}

/// What a probe may look at.
pub(crate) struct Look<'a> {
    pub(crate) now: Nanos,
    pub(crate) kernel: Option<&'a mut Kernel>,
    pub(crate) targets: &'a Targets,
    pub(crate) sites: &'a mut Sites,
    /// Reused from call to call.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Depth of the agent's own pid namespace.
    pub(crate) level: usize,
}

/// A larger buffer than this is given back after a look that needed it.
const BUFFER: usize = 256 << 10;

impl Look<'_> {
    /// Gives back what a large look needed.
    pub(crate) fn rest(&mut self) {
        if self.buffer.capacity() > BUFFER {
            *self.buffer = Vec::new();
        }
    }

    /// The threads of a process, first thread first where the kernel lists it first; empty if it is gone.
    pub(crate) fn threads(&mut self, pid: Pid) -> Vec<ThreadRecord> {
        let Some(kernel) = self.kernel.as_deref_mut() else { return Vec::new() };
        match kernel.look("thread_list", Of::Process(pid), self.buffer) {
            Ok(()) => crate::host::iterator::records(self.buffer).collect(),
            Err(_) => Vec::new(),
        }
    }
}
