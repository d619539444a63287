//! Go's own list of its goroutines, read from a process's memory: who waits for a mutex, which no thread shows.
//!
//! Where the list lies is found in the program (`gosyms`); how a goroutine is laid out changes with Go's versions (1.20 to
//! 1.27 are known, from `runtime/runtime2.go`; later ones are taken for the last of them) and is checked before it is
//! believed: each goroutine names its own address. Why it waits is told by the runtime's own table of reasons.
//! Invariant: only reads, bounded, and nothing is trusted: garbage is no goroutine. Cost: one system call for a thousand
//! goroutines, and a few more if some wait.
//! Limits: not told of Go in shared libraries, and of Go before 1.20; of the first million goroutines only.

use super::{
    gosyms,
    publish::memory::{MOST_PLACES, Memory, Process},
    targets,
};
use crate::wire::{RED_ZONE, Registers};
use snowshed_engine::model::Pid;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Goroutines that are looked at; of more, one in so many.
const MOST: usize = 16_384;
/// Goroutines, whether they live or not, beyond which the list is not read.
const MOST_LISTED: usize = 1 << 20;
/// Callers by which places are told apart.
const DEEPEST: usize = 8;
/// Of a stack so much is read at most.
const STACK: u64 = 8 << 10;
/// Reasons to wait that are known at most; a runtime has some forty.
const MOST_REASONS: u8 = 64;
/// What the runtime calls a wait for a mutex.
const REASONS: [&[u8]; 3] = [b"sync.Mutex.Lock", b"sync.RWMutex.Lock", b"sync.RWMutex.RLock"];
const WAITING: u32 = 4;
/// Part of a status while the collector looks at the goroutine.
const SCANNED: u32 = 0x1000;
/// What is read of each: up to what changes whenever one runs, and a little of that.
const SIZE: usize = 216;

/// Where a goroutine's members lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    frame: usize,
    status: usize,
}

impl Layout {
    const SP: usize = 56;
    const PC: usize = 64;
    const OWN: usize = 72;

    /// From `go1.27.3` or `devel go1.28-…`.
    fn of(version: &str) -> Option<Self> {
        let minor = version.split_once("go1.")?.1;
        match minor.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()? {
            0_u32..20 => None,
            20..23 => Some(Self { frame: 104, status: 144 }),
            23..25 => Some(Self { frame: 104, status: 152 }),
            25.. => Some(Self { frame: 96, status: 144 }),
        }
    }

    fn reason(self) -> usize {
        self.status + 32
    }
}

/// A goroutine that waits for a mutex.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goroutine {
    pub(crate) number: u64,
    /// Equal in two looks: it has not run in between. One that the collector has stopped in between differs too.
    pub(crate) turn: u64,
    /// The same for all that wait at one place.
    pub(crate) place: u64,
    /// It stands for so many.
    pub(crate) weight: u32,
    /// Where it lies.
    at: u64,
    registers: Registers,
    stack: (u64, u64),
}

/// The runtime of one process.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    process: Process,
    length: u64,
    list: u64,
    layout: Layout,
    /// Numbers of the reasons.
    reasons: Vec<u8>,
}

impl Runtime {
    /// `None`: it is none that is known, or its memory cannot be read.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let places = gosyms::of(&targets::executable(pid))?;
        let bias = targets::auxiliary(pid, targets::AT_ENTRY)?.wrapping_sub(places.entry);
        let (length, list) = (places.length.wrapping_add(bias), places.list.wrapping_add(bias));
        let (process, layout) = (Process(pid), Layout::of(&places.version)?);
        let reasons = places.reasons.iter().find_map(|table| reasons(process, table.wrapping_add(bias)))?;
        Some(Self { process, length, list, layout, reasons })
    }

    /// Those that wait for a mutex; `None`: what lies there are no goroutines.
    pub(crate) fn waiting(&self) -> Option<Vec<Goroutine>> {
        // The length is read first: the list is never shorter than what it was.
        let length = usize::try_from(self.process.word(self.length)?).ok()?.min(MOST_LISTED);
        let list = self.process.word(self.list)?;
        let step = length.div_ceil(MOST).max(1);
        let mut addresses = vec![0; length * 8];
        self.process.read(list, &mut addresses).ok()?;
        let addresses: Vec<u64> = addresses.chunks_exact(8).step_by(step).map(|bytes| word(bytes, 0)).collect();
        let mut waiting = Vec::new();
        for some in addresses.chunks(MOST_PLACES) {
            let read = self.process.scattered(some, SIZE).ok()?;
            for (at, bytes) in some.iter().zip(read.chunks_exact(SIZE)) {
                // One that was just made is not whole yet.
                if word(bytes, Layout::OWN) != *at && word(bytes, Layout::OWN) != 0 {
                    return None;
                }
                waiting.extend(self.waiter(*at, bytes, step));
            }
        }
        self.place(&mut waiting);
        Some(waiting)
    }

    fn waiter(&self, at: u64, bytes: &[u8], step: usize) -> Option<Goroutine> {
        let reason = self.layout.reason();
        let is_waiting = half(bytes, self.layout.status) & !SCANNED == WAITING && self.reasons.contains(&bytes[reason]);
        let registers =
            Registers { ip: word(bytes, Layout::PC), sp: word(bytes, Layout::SP), bp: word(bytes, self.layout.frame) };
        let goroutine = Goroutine {
            number: word(bytes, self.layout.status + 8),
            turn: digest(&bytes[reason..]),
            place: 0,
            weight: u32::try_from(step).unwrap_or(u32::MAX),
            at,
            registers,
            stack: (word(bytes, 0), word(bytes, 8)),
        };
        is_waiting.then_some(goroutine)
    }

    /// Follows the frame pointers of all of them at once, a caller at a time.
    fn place(&self, waiting: &mut [Goroutine]) {
        let mut frames: Vec<u64> = waiting.iter().map(|one| one.registers.bp).collect();
        for one in &mut *waiting {
            one.place = digest(&one.registers.ip);
        }
        for _ in 0..DEEPEST {
            let is_inside = |(one, frame): &(&Goroutine, &u64)| **frame >= one.stack.0 && **frame + 16 <= one.stack.1;
            let inside: Vec<usize> =
                waiting.iter().zip(&frames).enumerate().filter(|(_, pair)| is_inside(pair)).map(|(at, _)| at).collect();
            let mut next = vec![0; frames.len()];
            for some in inside.chunks(MOST_PLACES) {
                let places: Vec<u64> = some.iter().map(|at| frames[*at]).collect();
                let Ok(read) = self.process.scattered(&places, 16) else { return };
                for (at, bytes) in some.iter().zip(read.chunks_exact(16)) {
                    waiting[*at].place = digest(&(waiting[*at].place, word(bytes, 8)));
                    next[*at] = word(bytes, 0);
                }
            }
            frames = next;
        }
    }

    /// A copy of its stack, with the registers and where it begins; `None`: it has gone on.
    pub(crate) fn stack(&self, goroutine: &Goroutine) -> Option<(Registers, u64, Vec<u8>)> {
        let (low, high) = goroutine.stack;
        let base = goroutine.registers.sp.saturating_sub(RED_ZONE).max(low);
        let size = usize::try_from(high.checked_sub(base)?.min(STACK)).ok()?;
        let mut stack = vec![0; size];
        self.process.read(base, &mut stack).ok()?;
        let bytes: [u8; SIZE] = self.process.bytes(goroutine.at)?;
        let same = self.waiter(goroutine.at, &bytes, 1)?;
        (same.turn == goroutine.turn && same.number == goroutine.number).then_some((goroutine.registers, base, stack))
    }
}

fn digest(of: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The numbers of the reasons that are waits for a mutex; `None`: that is no table of reasons.
fn reasons(process: Process, table: u64) -> Option<Vec<u8>> {
    let is_lock = |number: &u8| {
        let reason = text(process, table.wrapping_add(16 * u64::from(*number)));
        reason.is_some_and(|text| REASONS.contains(&text.as_slice()))
    };
    let found: Vec<u8> = (0..MOST_REASONS).filter(is_lock).collect();
    (found.len() == REASONS.len()).then_some(found)
}

/// A string of Go: where it lies, and its length.
fn text(process: Process, at: u64) -> Option<Vec<u8>> {
    let (address, length) = (process.word(at)?, process.word(at.wrapping_add(8))?);
    let mut text = vec![0; usize::try_from(length).ok().filter(|length| *length < 256)?];
    process.read(address, &mut text).ok()?;
    Some(text)
}
