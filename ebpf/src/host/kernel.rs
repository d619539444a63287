//! The loaded object: programs, maps, rings. Dropping it detaches and unloads everything.
//!
//! Each program is loaded and attached by itself, so that what one kernel lacks costs one probe.

use super::{
    btf::{Btf, BtfError},
    cast, clock,
    counts::{self, Counts},
    hooks::{self, Hook},
    iterator::{self, Links, Of},
    keeper::Keeper,
    observer,
    refusal::{chain, refusal},
    table::Table,
    tracefs,
};
use crate::wire::{Counter, Offsets, PageAllowance, PageCount, ResolverCount, ResolverKey, Target};
use aya::{
    Ebpf, EbpfLoader, Pod, VerifierLogLevel,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap, RingBuf},
    programs::{BtfTracePoint, Iter, ProgramError, TracePoint},
};
use std::{collections::HashSet, io, os::fd::AsFd, time::Duration};

/// Built by `cargo xtask ebpf` from this crate's own sources.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/snowshed.bpf.o");

// SAFETY: integers only, without padding that is read.
unsafe impl Pod for Offsets {}
// SAFETY: integers only; the padding is a field.
unsafe impl Pod for PageCount {}
// SAFETY: integers only, without padding.
unsafe impl Pod for PageAllowance {}

// SAFETY: integers only, without padding.
unsafe impl Pod for ResolverKey {}
// SAFETY: integers only, without padding.
unsafe impl Pod for ResolverCount {}

/// Why the kernel side is not there at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error("kernel programs of this version are for x86-64")]
    Architecture,
    #[error("kernel types: {0}")]
    Types(#[from] BtfError),
    #[error("kernel types: {0}")]
    AyaTypes(#[from] aya::BtfError),
    #[error("load maps: {}", chain(.0))]
    Load(#[from] aya::EbpfError),
    #[error("map {0}: {1}")]
    Map(&'static str, String),
}

/// Why one probe is not there.
#[derive(Debug, thiserror::Error)]
#[error("attach {what}: {reason}")]
pub(crate) struct AttachError {
    pub(super) what: String,
    pub(super) reason: String,
}

impl AttachError {
    fn late(what: &str) -> Self {
        Self { what: what.to_owned(), reason: "after the start".to_owned() }
    }
}

/// Where a member lies that this kernel lacks: a direct load from there is refused by the verifier, so only the
/// programs that need it are missing, and a checked one reads nothing.
const NOWHERE: u64 = 1 << 62;

/// Where this kernel's members lie, in structures of which types, and what it lacks. Where programs may not say what
/// an address is, there are no types.
fn offsets(types: &Btf, casts: bool) -> Result<(Offsets, Offsets, Vec<String>), BtfError> {
    let (mut values, mut missing) = (Vec::with_capacity(Offsets::SOURCES.len()), Vec::new());
    for (structure, path) in Offsets::SOURCES {
        values.push(match types.offset(structure, path) {
            Err(error @ (BtfError::NoStructure(_) | BtfError::NoMember(..))) => {
                missing.push(error.to_string());
                (NOWHERE, 0)
            }
            found => (found?, if casts { types.structure(structure)?.into() } else { 0 }),
        });
    }
    let (offsets, kinds) =
        (Offsets::from_values(|index| values[index].0), Offsets::from_values(|index| values[index].1));
    Ok((offsets, kinds, missing))
}

/// Kernel time and runs of a set of programs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RunStats {
    pub(crate) time: Duration,
    pub(crate) runs: u64,
}

pub(crate) struct Kernel {
    targets: Table,
    ports: HashMap<MapData, u32, u32>,
    sampling: Array<MapData, u32>,
    observers: MapData,
    counts: PerCpuArray<MapData, u64>,
    pub(super) events: RingBuf<MapData>,
    pub(super) stacks: RingBuf<MapData>,
    pub(super) growths: RingBuf<MapData>,
    pub(super) page_counts: PerCpuHashMap<MapData, u32, PageCount>,
    pub(super) page_allowances: HashMap<MapData, u32, PageAllowance>,
    pub(super) resolvers: PerCpuHashMap<MapData, ResolverKey, ResolverCount>,
    pub(super) retransmits: RingBuf<MapData>,
    pub(super) sockets: RingBuf<MapData>,
    pub(super) ebpf: Ebpf,
    /// What is attached, and where.
    pub(super) hooks: Vec<Hook>,
    pub(super) keeper: Keeper,
    /// Links of the iterators that run again and again.
    links: Links,
    /// The kernel's types: some ten megabytes, so only until everything is attached.
    btf: Option<aya::Btf>,
    /// What this kernel's types lack, as in "this kernel's `x` has no member `y`".
    pub(super) missing: Vec<String>,
    /// The first program or tracepoint that was refused, and why.
    refused: Option<String>,
    /// Threads that are sampled on a clock.
    pub(super) sampled: HashSet<u32>,
}

/// After which what is sent is no part of what was sent before, nanoseconds.
const PAUSE: u64 = 100_000_000;

impl Kernel {
    /// Creates the maps; programs follow one by one.
    pub(crate) fn load() -> Result<Self, KernelError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(KernelError::Architecture);
        }
        let types = Btf::kernel()?;
        let cast = types.function(cast::NAME)?;
        let (offsets, kinds, missing) = offsets(&types, cast.is_some())?;
        drop(types);
        let object = cast::put(OBJECT, cast);
        let mut loader = EbpfLoader::new();
        // Task storage is unknown to the library, and is only used by the programs.
        loader.allow_unsupported_maps();
        // Why a program is refused is told at this level too; at the usual one the kernel writes down every step, which
        // takes longer than verifying, and a refusal that is over at the next attempt (`EAGAIN`) is no rare thing.
        loader.verifier_log_level(VerifierLogLevel::STATS);
        let pause = u32::try_from(PAUSE.div_ceil(clock::tick())).unwrap_or(u32::MAX);
        loader.override_global("OFFSETS", &offsets, true).override_global("KINDS", &kinds, true);
        let mut ebpf = loader.override_global("PAUSE", &pause, true).load(&object)?;
        Ok(Self {
            targets: match ebpf.take_map("TARGETS") {
                Some(aya::maps::Map::Array(map)) => {
                    Table::map(map).map_err(|error| KernelError::Map("TARGETS", error.to_string()))?
                }
                _ => return Err(KernelError::Map("TARGETS", "not in the object".to_owned())),
            },
            ports: take(&mut ebpf, "PORTS")?,
            sampling: take(&mut ebpf, "SAMPLING")?,
            observers: match ebpf.take_map("OBSERVERS") {
                Some(aya::maps::Map::ArrayOfMaps(map)) => map,
                _ => return Err(KernelError::Map("OBSERVERS", "not in the object".to_owned())),
            },
            counts: take(&mut ebpf, "COUNTS")?,
            events: take(&mut ebpf, "EVENTS")?,
            stacks: take(&mut ebpf, "STACKS")?,
            growths: take(&mut ebpf, "GROWTHS")?,
            page_counts: take(&mut ebpf, "PAGE_COUNTS")?,
            page_allowances: take(&mut ebpf, "PAGE_ALLOWANCES")?,
            resolvers: take(&mut ebpf, "RESOLVERS")?,
            retransmits: take(&mut ebpf, "RETRANSMITS")?,
            sockets: take(&mut ebpf, "SOCKETS")?,
            btf: Some(aya::Btf::from_sys_fs()?),
            missing,
            refused: None,
            sampled: HashSet::new(),
            ebpf,
            hooks: Vec::new(),
            keeper: Keeper::new(),
            links: Links::default(),
        })
    }

    /// Attaches one program to system call tracepoints; those that this kernel lacks are passed over as long
    /// as one is there.
    pub(crate) fn syscalls(&mut self, name: &str, tracepoints: &[&str]) -> Result<(), AttachError> {
        let attached = self.attach_syscalls(name, tracepoints);
        self.note(attached)
    }

    fn attach_syscalls(&mut self, name: &str, tracepoints: &[&str]) -> Result<(), AttachError> {
        let failed = |what: &str, reason: String| AttachError { what: what.to_owned(), reason };
        tracefs::ensure().map_err(|error| failed(name, format!("tracefs: {error}")))?;
        let program: &mut TracePoint = program(&mut self.ebpf, name)?;
        program.load().map_err(|error| failed(name, refusal(&error, &self.missing)))?;
        let mut attached = 0;
        let mut last = None;
        for tracepoint in tracepoints {
            match hooks::system(program, tracepoint, &self.keeper) {
                Ok(link) => {
                    attached += 1;
                    self.hooks.push(Hook::new(name, tracepoint, link));
                }
                Err(error) => last = Some(failed(tracepoint, chain(&error))),
            }
        }
        match last {
            Some(error) if attached == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Attaches a program to a BTF tracepoint.
    pub(crate) fn tracepoint(&mut self, name: &str, tracepoint: &str) -> Result<(), AttachError> {
        let attached = self.attach_tracepoint(name, tracepoint);
        self.note(attached)
    }

    /// Remembers the first refusal.
    fn note(&mut self, attached: Result<(), AttachError>) -> Result<(), AttachError> {
        if let Err(error) = &attached {
            self.refused.get_or_insert_with(|| error.to_string());
        }
        attached
    }

    fn attach_tracepoint(&mut self, name: &str, tracepoint: &str) -> Result<(), AttachError> {
        let missing = &self.missing;
        let failed =
            |error: &ProgramError| AttachError { what: tracepoint.to_owned(), reason: refusal(error, missing) };
        let btf = self.btf.as_ref().ok_or_else(|| AttachError::late(tracepoint))?;
        let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
        program.load(tracepoint, btf).map_err(|error| failed(&error))?;
        let link = hooks::typed(program).map_err(|error| failed(&error))?;
        self.hooks.push(Hook::new(name, tracepoint, link));
        Ok(())
    }

    /// Loads an iterator; [`Self::look`] runs it.
    pub(crate) fn iterator(&mut self, name: &str, over: &str) -> Result<(), AttachError> {
        let failed = |reason: String| AttachError { what: format!("iterator over {over}"), reason };
        let program: &mut Iter = program(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            let btf = self.btf.as_ref().ok_or_else(|| AttachError::late(over))?;
            program.load(over, btf).map_err(|error| failed(refusal(&error, &self.missing)))?;
        }
        Ok(())
    }

    /// Why somebody who needs this program of another probe cannot be: it is not attached, and the first refusal of all says
    /// why.
    pub(crate) fn needs(&self, program: &str) -> AttachError {
        let why = self.refused.as_deref().unwrap_or("its own probe says why");
        AttachError { what: program.to_owned(), reason: format!("it is not attached: {why}") }
    }

    /// What this kernel lacks of a structure.
    pub(crate) fn lacks(&self, structures: &[&str]) -> Option<String> {
        let of = |missing: &&String| structures.iter().any(|name| missing.contains(&format!("`{name}`")));
        let all: Vec<&str> = self.missing.iter().filter(of).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Nothing more will be attached: gives the types' memory back, and forgets what the calibration told of itself.
    pub(crate) fn settle(&mut self) {
        self.btf = None;
        let rings = [&mut self.events, &mut self.stacks, &mut self.growths, &mut self.retransmits, &mut self.sockets];
        for ring in rings {
            while ring.next().is_some() {}
        }
        // SAFETY: only returns free pages to the system. Parsing types and object left tens of megabytes of them.
        unsafe { libc::malloc_trim(0) };
    }

    /// Runs an iterator for one process or thread.
    pub(crate) fn look(&mut self, name: &'static str, of: Of, buffer: &mut Vec<u8>) -> io::Result<()> {
        if let Some(link) = self.links.get(name, of) {
            return iterator::read(link, buffer);
        }
        let program: &mut Iter = program(&mut self.ebpf, name).map_err(io::Error::other)?;
        let link = iterator::link(program.fd().map_err(io::Error::other)?.as_fd(), of)?;
        iterator::read(link.as_fd(), buffer)?;
        self.links.keep(name, of, link);
        Ok(())
    }

    /// Forgets how a process was looked at.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.links.forget(pid);
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.targets
    }

    pub(crate) fn set_target(&mut self, host_tgid: u32, target: Target) -> Result<(), String> {
        self.targets.set(host_tgid, target)
    }

    pub(crate) fn target(&self, host_tgid: u32) -> Option<Target> {
        self.targets.get(host_tgid)
    }

    /// Forgets a process; it may have gone by itself.
    pub(crate) fn drop_target(&mut self, host_tgid: u32) {
        self.targets.remove(host_tgid);
    }

    /// Replaces the ports on which targets listen.
    pub(crate) fn set_ports(&mut self, ports: &std::collections::BTreeSet<u16>) {
        let old: Vec<u32> = self.ports.keys().flatten().collect();
        for port in old.iter().filter(|port| !ports.contains(&(**port as u16))) {
            drop(self.ports.remove(port));
        }
        for port in ports {
            if !old.contains(&u32::from(*port)) {
                // A full table only means that older connections on this port stay unowned.
                drop(self.ports.insert(u32::from(*port), 1, 0));
            }
        }
    }

    /// Allows this many more stacks of a process.
    pub(crate) fn set_tokens(&mut self, host_tgid: u32, tokens: u32) {
        self.targets.set_tokens(host_tgid, tokens);
    }

    /// Has one in this many events looked at whole.
    pub(crate) fn set_sampling(&mut self, slot: u32, one_in: u32) {
        // Refused only for a row that does not exist.
        drop(self.sampling.set(slot, one_in, 0));
    }

    /// Has threads looked up in another observer's map from now on.
    pub(crate) fn set_observer(&mut self, map: &MapData) -> Result<(), String> {
        observer::put(&self.observers, Some(map)).map_err(|error| chain(&error))
    }

    /// Lets go of that map, so that nothing of it outlives its owner.
    pub(crate) fn drop_observer(&self) {
        // Nothing there is as good.
        drop(observer::put(&self.observers, None));
    }

    /// Delivered and lost since the start.
    pub(crate) fn counts(&self) -> Counts {
        Counts::read(&self.counts)
    }

    /// One of these. Cost: a system call that reads a word of each CPU; for what is asked at every look.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        counts::one(&self.counts, counter as u32)
    }

    /// Kernel time and runs of programs, as far as the kernel counted them.
    pub(crate) fn run_stats(&self, programs: &[&str]) -> RunStats {
        let infos = programs.iter().filter_map(|name| self.ebpf.program(name)?.info().ok());
        infos.fold(RunStats::default(), |sum, info| RunStats {
            time: sum.time + info.run_time(),
            runs: sum.runs + info.run_count(),
        })
    }
}

pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, AttachError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let failed = |reason: String| AttachError { what: name.to_owned(), reason };
    let program = ebpf.program_mut(name).ok_or_else(|| failed("not in the object".to_owned()))?;
    program.try_into().map_err(|error: ProgramError| failed(chain(&error)))
}

fn take<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, KernelError> {
    let map = ebpf.take_map(name).ok_or_else(|| KernelError::Map(name, "not in the object".to_owned()))?;
    map.try_into().map_err(|error: aya::maps::MapError| KernelError::Map(name, chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_here() {
        assert_eq!(offsets(&Btf::kernel().unwrap(), true).unwrap().2, Vec::<String>::new());
    }
}
