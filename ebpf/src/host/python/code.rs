//! Code objects: which function, in which file, and at which line an instruction stands.

use super::{
    layout::{Layout, Lines},
    lines,
};
use crate::{
    host::{publish::Memory, sites::Frame},
    wire::PythonFrame,
};

/// Letters of a file's and of a function's name; a longer one is cut.
const MOST_FILE: usize = 512;
const MOST_NAME: usize = 200;
/// The longest name that is believed, and the longest table of lines; bytes.
const LONGEST_NAME: u64 = 1 << 16;
const LONGEST_TABLE: u64 = 1 << 20;
/// What 3.12 has between its own calls and those of C.
const TRAMPOLINE: &str = "<interpreter trampoline>";
/// What is read of a code object.
const HEAD: usize = 216;

/// The frame by its names. `None`: what lies there is no code object, none with that instruction, or has not begun.
pub(super) fn frame<M: Memory>(memory: &M, layout: &Layout, found: PythonFrame) -> Option<Frame> {
    let head: [u8; HEAD] = memory.bytes(found.code)?;
    let word = |at: u16| head.get(usize::from(at)..)?.first_chunk().map(|word| u64::from_le_bytes(*word));
    let first = u32::try_from(word(layout.first_line)? & 0x7fff_ffff).ok()?;
    let file = text(memory, layout, word(layout.file)?, MOST_FILE)?;
    let function = text(memory, layout, word(layout.name)?, MOST_NAME)?;
    if function.is_empty() || function == TRAMPOLINE {
        return None;
    }
    let offset = match layout.start {
        // Before its first instruction it is negative.
        0 => (found.instruction & 0xffff_ffff).try_into().ok().filter(|number: &u32| i32::try_from(*number).is_ok())?,
        start => u32::try_from(found.instruction.checked_sub(found.code.wrapping_add(start.into()))?).ok()?,
    };
    let table = bytes(memory, word(layout.lines.1)?)?;
    let line = match layout.lines.0 {
        Lines::Steps => Some(lines::of_steps(&table, first, offset)),
        Lines::Ranges => lines::of_ranges(&table, first, offset)?,
        Lines::Entries => lines::of_entries(&table, first, offset)?,
    };
    Some(Frame { function, location: line.map(|line| (file, line)) })
}

/// A `bytes` object's contents.
fn bytes<M: Memory>(memory: &M, at: u64) -> Option<Vec<u8>> {
    let length = memory.word(at.checked_add(16)?).filter(|length| *length <= LONGEST_TABLE)?;
    let mut into = vec![0; usize::try_from(length).ok()?];
    memory.read(at.checked_add(32)?, &mut into).ok()?;
    Some(into)
}

/// A string's text, fit to be shown.
fn text<M: Memory>(memory: &M, layout: &Layout, at: u64, most: usize) -> Option<String> {
    let head: [u8; 40] = memory.bytes(at)?;
    let length = u64::from_le_bytes(*head[16..].first_chunk()?);
    let state = u32::from_le_bytes(*head[32..].first_chunk()?);
    let (kind, compact, ascii) = ((state >> 2) & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
    if length > LONGEST_NAME || !compact || !matches!(kind, 1 | 2 | 4) || (ascii && kind != 1) {
        return None;
    }
    let letters = usize::try_from(length).ok()?.min(most);
    let mut raw = vec![0; letters * kind as usize];
    let from = if ascii { layout.letters.0 } else { layout.letters.1 };
    memory.read(at.checked_add(from.into())?, &mut raw).ok()?;
    let letter = |bytes: &[u8]| {
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        char::from_u32(number).filter(|letter| !letter.is_control()).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    Some(raw.chunks_exact(kind as usize).map(letter).collect())
}
