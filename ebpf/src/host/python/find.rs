//! Finding an interpreter in a process, and where its threads keep their state.
//!
//! The runtime is a symbol that CPython shows; from it its lists lead to the states of its threads. Each thread has the
//! address of its own among its thread-specific data, at the same place in every thread: that place is found by looking
//! for a known state in its own thread, so that nothing is assumed of the C library but that it keeps it near.

use super::layout::{self, Layout};
use crate::{
    host::publish::{Image, Memory, Object},
    wire::Python,
};

/// Threads that are looked at, and how much of each one's own block.
const MOST_THREADS: usize = 64;
const BLOCK: usize = 0x600;
/// The state lies behind the block's first words, which are the loader's.
const LEAST: usize = 0x100;

/// An interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    runtime: u64,
    minor: u32,
}

/// The interpreter that this object brings, if it is one that can be read.
pub(crate) fn find<M: Memory>(memory: &M, object: &Object) -> Option<Interpreter> {
    let image = Image::open(memory, object)?;
    let runtime = image.address(&image.symbol("_PyRuntime").filter(|symbol| !symbol.thread_local)?);
    let minor = match image.symbol("Py_Version") {
        Some(symbol) => {
            let version = memory.word(image.address(&symbol))?;
            u32::try_from((version >> 16) & 0xff).ok().filter(|_| version >> 24 == 3)?
        }
        // What came with 3.9, and what came after it. The version tells itself since 3.11.
        None if image.symbol("PyThreadState_GetFrame").is_none() => return None,
        None if image.symbol("Py_NewRef").is_none() => 9,
        None => 10,
    };
    layout::of(minor).map(|_| Interpreter { runtime, minor })
}

impl Interpreter {
    /// Where its threads keep what they execute; `None`: it is not that far, or built in a way that is not read.
    pub(crate) fn place<M: Memory>(&self, memory: &M) -> Option<Python> {
        let layout = layout::of(self.minor)?;
        let (interpreters, threads) = match layout.lists {
            Some(lists) => lists,
            None => self.lists(memory)?,
        };
        let interpreter = memory.word(self.runtime.wrapping_add(interpreters)).filter(|at| *at != 0)?;
        let mut state = memory.word(interpreter.wrapping_add(threads))?;
        for _ in 0..MOST_THREADS {
            if state == 0 {
                return None;
            }
            if let Some(slot) = memory.word(state.wrapping_add(layout.thread)).and_then(|own| slot(memory, own, state))
            {
                return Some(python(layout, slot));
            }
            state = memory.word(state.wrapping_add(layout.next))?;
        }
        None
    }

    /// What the runtime says of itself to debuggers: name, version, whether it is without the global lock (which is laid out
    /// otherwise), its size, its end, interpreters; of these their size, number, next, threads.
    fn lists<M: Memory>(&self, memory: &M) -> Option<(u64, u64)> {
        let told: [u8; 80] = memory.bytes(self.runtime)?;
        let word = |index: usize| told.chunks_exact(8).nth(index)?.try_into().ok().map(u64::from_le_bytes);
        let is_known = told.starts_with(b"xdebugpy") && word(1)? >> 16 == u64::from(0x300 | self.minor);
        (is_known && word(2)? == 0).then_some((word(5)?, word(9)?))
    }
}

fn python(layout: &Layout, slot: u16) -> Python {
    Python {
        slot,
        frame: layout.frame,
        hop: layout.hop.map_or(0, |hop| hop + 1),
        from: layout.from,
        code: layout.code,
        previous: layout.previous,
        instruction: layout.instruction,
        version: layout.minor,
        _pad: [0; 4],
    }
}

/// Where in a thread's own block its state is kept: behind the key's number, which is odd while the key is in use.
fn slot<M: Memory>(memory: &M, block: u64, state: u64) -> Option<u16> {
    let mut bytes = vec![0; BLOCK];
    memory.read(block, &mut bytes).ok()?;
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let found = words.windows(2).position(|pair| pair[1] == state && pair[0] % 2 == 1 && pair[0] < 1 << 16);
    found.map(|index| (index + 1) * 8).filter(|at| *at >= LEAST).and_then(|at| u16::try_from(at).ok())
}
