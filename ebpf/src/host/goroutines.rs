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

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { frame: 96, status: 144 };
    const MUTEX: u8 = 22;

    /// A goroutine as it lies in memory; it waits for a mutex, and its frame pointer leads here.
    fn goroutine(number: u64, stack: (u64, u64), frame: u64) -> Box<[u64; SIZE / 8]> {
        let mut one = Box::new([0; SIZE / 8]);
        (one[0], one[1], one[Layout::PC / 8], one[LAYOUT.frame / 8]) = (stack.0, stack.1, 0x1000, frame);
        (one[LAYOUT.status / 8], one[LAYOUT.status / 8 + 1]) = (u64::from(WAITING | SCANNED), number);
        one[LAYOUT.reason() / 8] = u64::from(MUTEX);
        one[Layout::OWN / 8] = at(&one[0]);
        one
    }

    fn at(word: &u64) -> u64 {
        (&raw const *word).expose_provenance() as u64
    }

    /// The list lies in this very process.
    fn waiting(length: u64, list: u64) -> Option<Vec<Goroutine>> {
        let words = [length, list];
        let process = Process(std::process::id());
        Runtime { process, length: at(&words[0]), list: at(&words[1]), layout: LAYOUT, reasons: vec![MUTEX] }.waiting()
    }

    #[test]
    fn versions_have_their_layouts() {
        let of = |version| Layout::of(version).map(|layout| (layout.frame, layout.reason()));
        assert_eq!([of("go1.20.6"), of("go1.22.10")], [Some((104, 176)); 2]);
        assert_eq!([of("go1.23.4"), of("go1.24")], [Some((104, 184)); 2]);
        assert_eq!([of("go1.27.3"), of("devel go1.28-abc")], [Some((96, 176)); 2]);
        assert_eq!([of("go1.19.8"), of("go2.0"), of(""), of("go1.x")], [None; 4]);
    }

    #[test]
    fn who_waits_at_one_place_is_told_from_who_waits_elsewhere_and_who_runs() {
        // Frames: where the next one lies, and the caller.
        let stack = Box::new([0, 0x2000, 0, 0x3000, 0, 0x2000]);
        let bounds = (at(&stack[0]), at(&stack[0]) + 48);
        let frames = [0, 2, 4].map(|index| at(&stack[index]));
        let mut all: Vec<_> = frames.iter().zip(1..).map(|(frame, n)| goroutine(n, bounds, *frame)).collect();
        let mut runs = goroutine(4, bounds, frames[0]);
        runs[LAYOUT.status / 8] = 2;
        all.push(runs);
        let list: Vec<u64> = all.iter().map(|one| at(&one[0])).collect();
        let told = waiting(4, at(&list[0])).unwrap();
        assert_eq!(told.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(told[0].place == told[2].place && told[0].place != told[1].place, "{told:?}");
        all[0][LAYOUT.reason() / 8] |= 5 << 56;
        let later = waiting(4, at(&list[0])).unwrap();
        assert!(later[0].turn != told[0].turn && later[1].turn == told[1].turn, "one of them has run");
    }

    #[test]
    fn garbage_is_no_goroutine_and_does_no_harm() {
        // A frame that leads to itself, and one that leads out of the stack.
        let mut stack = Box::new([0_u64; 2]);
        stack[0] = at(&stack[0]);
        let bounds = (at(&stack[0]), at(&stack[0]) + 16);
        let all = [goroutine(1, bounds, bounds.0), goroutine(2, bounds, 8), goroutine(3, (0, u64::MAX), u64::MAX)];
        let list = all.each_ref().map(|one| at(&one[0]));
        assert_eq!(waiting(3, at(&list[0])).unwrap().len(), 3);
        assert!(waiting(u64::MAX, at(&list[0])).is_none() && waiting(3, 8).is_none(), "no such list");
        let words = [7_u64; SIZE];
        assert!(waiting(1, at(&at(&words[0]))).is_none(), "another one's layout");
        assert_eq!(waiting(0, at(&list[0])).unwrap().len(), 0);
    }
}
