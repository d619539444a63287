//! Sites: where in the code something happened. A chain of addresses becomes one number at once; names are
//! looked up only when somebody asks.
//!
//! Invariant: stacks are unwound and dropped here; only code addresses remain. Bounded by the constants.

mod identity;
mod names;

use super::{clock, generated::Generated, python::Names, unwind::Unwinder};
use crate::wire::{PAGE, RED_ZONE, Registers, StackRecord};
use blazesym::symbolize::Symbolizer;
use identity::{identity, is_python};
use names::{place, symbolize};
use snowshed_engine::model::{Nanos, Pid, SiteId};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// A frame of a resolved site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled function name, or the module and offset where there is no symbol.
    pub function: String,
    /// Source file and line; the line is 0 where only the module is told: of functions of the C library, in whose sources
    /// nobody looks.
    pub location: Option<(String, u32)>,
}

/// Sites that are kept. Where there is no room those go that were met or asked for least lately, a quarter at once.
const MOST_SITES: usize = 4096;
/// Processes whose unwind tables are kept.
const MOST_UNWINDERS: usize = 64;
/// How long debug information is kept after the last question.
const KEEP_SYMBOLS: Nanos = 3_000_000_000;
/// How often the pages of files that were read to unwind are let go. Each costs a fault when it is needed again.
const LET_GO: Nanos = 10_000_000_000;
/// Unwind tables are read again at most this often, when an address lies in none of them.
const REREAD: Nanos = 1_000_000_000;

struct Site {
    pid: Pid,
    addresses: Vec<u64>,
    /// Module and offset of each address: what remains where there is no symbol.
    places: Vec<String>,
    /// What its runtime called the code that it had made, where it did.
    told: Vec<Option<Arc<str>>>,
    /// What an interpreter executed, which stands where its own frames would.
    script: Vec<Arc<Frame>>,
    frames: Option<Vec<Frame>>,
    /// When it was last met or asked for.
    used: Nanos,
}

struct Tables {
    unwinder: Unwinder,
    read: Nanos,
    /// Pages of its files may be mapped.
    touched: bool,
}

/// Unwinders and sites.
#[derive(Default)]
pub(crate) struct Sites {
    tables: HashMap<Pid, Tables>,
    sites: HashMap<SiteId, Site>,
    generated: Generated,
    python: Names,
    symbolizer: Option<Symbolizer>,
    /// When names were last looked up.
    asked: Nanos,
    /// When pages of files were last let go.
    let_go: Nanos,
}

impl Sites {
    /// The site of a copied stack; 0 if nothing could be unwound.
    pub(crate) fn site(&mut self, pid: Pid, record: &StackRecord, now: Nanos) -> SiteId {
        self.of_record(pid, record, false, now)
    }

    /// The same of one that was copied where memory was touched: which instruction of a function did that says nothing.
    pub(crate) fn touching(&mut self, pid: Pid, record: &StackRecord, now: Nanos) -> SiteId {
        self.of_record(pid, record, true, now)
    }

    fn of_record(&mut self, pid: Pid, record: &StackRecord, anywhere: bool, now: Nanos) -> SiteId {
        let (base, stack) = copied(record);
        let registers =
            if record.is_of_new_thread() { caller(record.registers, base, stack) } else { record.registers };
        let script = self.python.frames(pid, record, now);
        self.of(pid, registers, (base, stack), script, anywhere, now)
    }

    /// The site of a stack of which this much was copied, from `base` on.
    pub(crate) fn of_copy(&mut self, pid: Pid, registers: Registers, base: u64, stack: &[u8], now: Nanos) -> SiteId {
        self.of(pid, registers, (base, stack), Vec::new(), false, now)
    }

    fn of(
        &mut self,
        pid: Pid,
        registers: Registers,
        (base, stack): (u64, &[u8]),
        script: Vec<Arc<Frame>>,
        anywhere: bool,
        now: Nanos,
    ) -> SiteId {
        let Some(tables) = tables(&mut self.tables, pid, registers.ip, now) else { return SiteId(0) };
        tables.touched = true;
        let mut addresses = tables.unwinder.unwind(registers, base, stack);
        if !script.is_empty() {
            let own = addresses.iter().position(|address| is_python(&tables.unwinder, *address));
            addresses.truncate(own.unwrap_or(addresses.len()));
        }
        let told = self.generated.names(pid, &addresses, |address| tables.unwinder.code(address).is_some(), now);
        let innermost = addresses.first().filter(|_| anywhere).map(|address| tables.unwinder.start(*address));
        let same: Vec<u64> =
            innermost.into_iter().chain(addresses.iter().copied().skip(usize::from(anywhere))).collect();
        let id = identity(&tables.unwinder, &same, &told, &script);
        // Names are read from a process that lives: one that came this way last is likelier to than the first.
        let better = self.sites.get(&id).is_none_or(|known| known.frames.is_none() && known.pid != pid);
        if let Some(known) = self.sites.get_mut(&id) {
            known.used = now;
        }
        if id != SiteId(0) && better {
            let places = addresses.iter().map(|address| place(&tables.unwinder, *address)).collect();
            self.keep(id, Site { pid, addresses, places, told, script, frames: None, used: now });
        }
        id
    }

    fn keep(&mut self, id: SiteId, site: Site) {
        if self.sites.len() >= MOST_SITES && !self.sites.contains_key(&id) {
            let mut used: Vec<Nanos> = self.sites.values().map(|site| site.used).collect();
            let (_, since, _) = used.select_nth_unstable(MOST_SITES / 4);
            let since = *since;
            self.sites.retain(|_, site| site.used > since);
        }
        self.sites.insert(id, site);
    }

    /// Forgets the unwind tables of a process that ended or executed another program.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.tables.remove(&pid);
        self.generated.forget(pid);
        self.python.forget(pid);
    }

    /// Gives back what the symbolizer has read (debug information, tens of megabytes) once nobody asks any
    /// more; the names that were found stay. And lets go of the files that were read to unwind.
    pub(crate) fn rest(&mut self, now: Nanos) {
        if now.saturating_sub(self.let_go) >= LET_GO {
            self.let_go = now;
            for tables in self.tables.values_mut() {
                if std::mem::take(&mut tables.touched) {
                    tables.unwinder.let_go();
                }
            }
        }
        if self.symbolizer.is_some() && now.saturating_sub(self.asked) >= KEEP_SYMBOLS {
            self.symbolizer = None;
            // SAFETY: only returns free pages to the system.
            unsafe { libc::malloc_trim(0) };
        }
    }

    /// Gives back all that can be read again: symbols and unwind tables.
    pub(crate) fn shrink(&mut self) {
        self.symbolizer = None;
        self.tables = HashMap::new();
        self.generated.shrink();
        // SAFETY: only returns free pages to the system.
        unsafe { libc::malloc_trim(0) };
    }

    /// What tells the calls of a site from others of the same process, innermost first; empty for one that is not kept.
    pub(crate) fn chain(&self, id: SiteId) -> Vec<u64> {
        let Some(site) = self.sites.get(&id) else { return Vec::new() };
        let script = site.script.iter().map(|frame| {
            let mut hasher = DefaultHasher::new();
            (&frame.function, &frame.location).hash(&mut hasher);
            hasher.finish()
        });
        site.addresses.iter().copied().chain(script).collect()
    }

    /// The frames of a site, innermost first; looked up once.
    pub(crate) fn frames(&mut self, id: SiteId) -> Vec<Frame> {
        let Some(site) = self.sites.get_mut(&id) else { return Vec::new() };
        site.used = clock::now();
        if let Some(frames) = &site.frames {
            return frames.clone();
        }
        self.asked = site.used;
        let symbolizer = self.symbolizer.get_or_insert_with(Symbolizer::new);
        let unwinder = self.tables.get(&site.pid).map(|tables| &tables.unwinder);
        let mut frames = symbolize(symbolizer, unwinder, site);
        frames.extend(site.script.iter().map(|frame| (**frame).clone()));
        site.frames = Some(frames.clone());
        frames
    }
}

/// What was copied of a stack, and where that begins.
fn copied(record: &StackRecord) -> (u64, &[u8]) {
    let sp = record.registers.sp;
    let page = sp & !(PAGE as u64 - 1);
    let base = sp.saturating_sub(RED_ZONE).max(page);
    let (from, to) = ((base - page) as usize, (record.bytes as usize).min(size_of_val(&record.stack)));
    (base, record.stack.as_flattened().get(from..to).unwrap_or_default())
}

/// Where the function that made a thread was called. C libraries end their unwind tables before the system call of
/// `clone`, because in the child they would be wrong; but all of them (and Go) make it from a function that has
/// nothing on the stack, so the return address lies on top.
fn caller(registers: Registers, base: u64, stack: &[u8]) -> Registers {
    let top = usize::try_from(registers.sp.wrapping_sub(base)).ok();
    let bytes = top.and_then(|top| stack.get(top..)?.first_chunk::<8>());
    // One less lies inside the call.
    let ip = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)).saturating_sub(1);
    Registers { ip, sp: registers.sp.saturating_add(8), bp: registers.bp }
}

/// The unwind tables of a process, read (again) where an address lies in none of them.
fn tables(all: &mut HashMap<Pid, Tables>, pid: Pid, ip: u64, now: Nanos) -> Option<&mut Tables> {
    let is_known = |unwinder: &Unwinder| unwinder.code(ip).is_some() || unwinder.is_made(ip);
    let stale = |tables: &Tables| !is_known(&tables.unwinder) && now >= tables.read + REREAD;
    if all.get(&pid).is_none_or(stale) {
        if all.len() >= MOST_UNWINDERS && !all.contains_key(&pid) {
            return None;
        }
        all.insert(pid, Tables { unwinder: Unwinder::new(pid).ok()?, read: now, touched: true });
    }
    all.get_mut(&pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PYTHON_FRAMES, PYTHON_WINDOW, Python, PythonFrame, STACK_PAGES};

    #[test]
    fn where_there_is_no_room_those_go_that_were_not_met_for_longest() {
        let mut sites = Sites::default();
        let site = |used| Site {
            pid: 0,
            addresses: vec![used],
            places: Vec::new(),
            told: Vec::new(),
            script: Vec::new(),
            frames: None,
            used,
        };
        for number in 1..=MOST_SITES as u64 {
            sites.keep(SiteId(number), site(number));
        }
        // The oldest is asked for, by name.
        sites.frames(SiteId(1));
        let late = clock::now() + 1;
        (0..10).for_each(|more| sites.keep(SiteId(1_000_000 + more), site(late)));
        assert!(sites.sites.len() <= MOST_SITES && sites.sites.len() > MOST_SITES / 2, "{}", sites.sites.len());
        let kept = |number: u64| !sites.chain(SiteId(number)).is_empty();
        assert_eq!([1, 2, 500, 2_000, 4_096, 1_000_009].map(kept), [true, false, false, true, true, true]);
    }

    #[test]
    fn of_a_copy_only_what_was_copied_is_looked_at() {
        let copy = |sp: u64, bytes: u32| {
            let registers = Registers { ip: 1, sp, bp: 0 };
            let mut record = Box::new(StackRecord {
                host_tgid: 1,
                bytes,
                file: 0,
                pair: 0,
                made: 0,
                registers,
                python: Python::default(),
                depth: 0,
                _pad: 0,
                low: 0,
                window: [0; PYTHON_WINDOW],
                frames: [PythonFrame::default(); PYTHON_FRAMES],
                stack: [[0; PAGE]; STACK_PAGES],
            });
            record.stack[0][(sp as usize & (PAGE - 1)).saturating_sub(RED_ZONE as usize)] = 7;
            let (base, stack) = copied(&record);
            (base, stack.len(), stack.first().copied())
        };
        let red = RED_ZONE as usize;
        assert_eq!(copy(0x7000 + 200, 600), (0x7000 + 200 - RED_ZONE, 600 - (200 - red), Some(7)));
        assert_eq!(copy(0x7000 + 8, 600), (0x7000, 600, Some(7)), "the page before is not copied");
        assert_eq!(copy(0x7000 + 200, 0).1, 0, "nothing could be read");
        assert_eq!(copy(0x7000, u32::MAX).1, PAGE * STACK_PAGES, "whatever the kernel says");
    }
}
