//! Where Go's runtime keeps the list of its goroutines in a program, with symbols and without.
//!
//! Programs are mostly shipped without symbols. Then two functions of the runtime, which its own table of functions names
//! (`pclntab`), tell where their data lies: addresses are relative to the instruction (x86-64), and which comes first is
//! the same from Go 1.20 to 1.27. What is found so is a candidate: whoever reads there checks that it is what it must be.
//! Invariant: the file is hostile; every read of it is checked.

use super::pclntab;
use object::{Object, ObjectSection, ObjectSymbol};
use std::{fs::File, path::Path};

/// Data of the runtime: how long the list is, where it lies, and the table of reasons to wait.
const DATA: [&str; 3] = ["runtime.allglen", "runtime.allgptr", "runtime.waitReasonStrings"];
/// Functions that use them.
const EACH: &str = "runtime.forEachGRace";
const REASON: &str = "runtime.waitReason.String";
/// How the toolchain's note of itself begins, and where its text is, if it holds one.
const NOTE: &[u8] = b"\xff Go buildinf:";
const TEXT: usize = 32;
/// Bytes of a function that are looked at.
const MOST_CODE: usize = 256;

/// What is known of a program, as its file has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// As in `go1.27.3`.
    pub(crate) version: String,
    /// Where the program begins to run.
    pub(crate) entry: u64,
    pub(crate) length: u64,
    pub(crate) list: u64,
    /// Where the reasons may lie.
    pub(crate) reasons: Vec<u64>,
}

/// `None`: it is not made by Go, or nothing in it tells.
pub(crate) fn of(executable: &Path) -> Option<Places> {
    let file = File::open(executable).ok()?;
    // SAFETY: a running executable cannot be written or shortened (ETXTBSY); the parser checks every offset.
    let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    let elf = object::File::parse(&map[..]).ok()?;
    let version = version(elf.section_by_name(".go.buildinfo")?.data().ok()?)?;
    let (length, list, reasons) = by_symbols(&elf).or_else(|| by_code(&elf))?;
    Some(Places { version, entry: elf.entry(), length, list, reasons })
}

type Data = (u64, u64, Vec<u64>);

fn by_symbols(elf: &object::File<'_>) -> Option<Data> {
    let mut found = [None; DATA.len()];
    for symbol in elf.symbols() {
        if let Some(at) = symbol.name().ok().and_then(|name| DATA.iter().position(|wanted| *wanted == name)) {
            found[at] = Some(symbol.address());
        }
    }
    let [length, list, reasons] = found;
    Some((length?, list?, vec![reasons?]))
}

fn by_code(elf: &object::File<'_>) -> Option<Data> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let [each, reason] = pclntab::code(elf, [EACH, REASON])?;
    let mut loads = data(each, LOAD);
    let (length, list) = (loads.next()?, loads.next()?);
    Some((length, list, data(reason, ADDRESS).collect()))
}

/// `mov` of eight bytes from memory, and `lea`.
const LOAD: u8 = 0x8b;
const ADDRESS: u8 = 0x8d;

/// The addresses that a function's instructions of one kind name, as far as they are told from where they stand.
fn data((address, code): (u64, &[u8]), instruction: u8) -> impl Iterator<Item = u64> {
    let code = &code[..code.len().min(MOST_CODE)];
    code.windows(7).enumerate().filter_map(move |(at, bytes)| {
        // A wide operand, any register, and a distance from the next instruction.
        let is_one = bytes[0] & 0xfb == 0x48 && bytes[1] == instruction && bytes[2] & 0xc7 == 5;
        let distance = i64::from(i32::from_le_bytes(*bytes[3..].first_chunk()?));
        is_one.then(|| address.wrapping_add(at as u64 + 7).wrapping_add_signed(distance))
    })
}

/// The toolchain's version, where the note holds it as text (Go 1.18 and later).
fn version(note: &[u8]) -> Option<String> {
    let is_text = note.starts_with(NOTE) && note.get(NOTE.len() + 1)? & 2 != 0;
    // One byte of length: a version is short.
    let length = usize::from(*note.get(TEXT)?);
    let text = note.get(TEXT + 1..)?.get(..length.min(127))?;
    is_text.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_code_names_is_found_from_where_it_stands() {
        // `mov rcx, [rip+0x10]`, something else, `mov r8, [rip-0x20]`, `lea rdx, [rip+1]`.
        let code = [
            0x48, 0x8b, 0x0d, 0x10, 0, 0, 0, 0x90, 0x48, 0x89, 0xc1, 0x4c, 0x8b, 0x05, 0xe0, 0xff, 0xff, 0xff, 0x48,
            0x8d, 0x15, 1, 0, 0, 0,
        ];
        assert_eq!(data((0x1000, &code), LOAD).collect::<Vec<_>>(), [0x1017, 0xff2]);
        assert_eq!(data((0x1000, &code), ADDRESS).collect::<Vec<_>>(), [0x101a]);
        for cut in 0..code.len() {
            data((u64::MAX, &code[..cut]), LOAD).count();
        }
    }

    #[test]
    fn versions_are_read_and_garbage_is_none() {
        let mut note = [NOTE, &[8, 2]].concat();
        note.resize(TEXT, 0);
        note.extend(b"\x08go1.27.3 and more");
        assert_eq!(version(&note).as_deref(), Some("go1.27.3"));
        for cut in 0..TEXT + 9 {
            assert_eq!(version(&note[..cut]), None, "{cut}");
        }
        note[15] = 0;
        assert_eq!(version(&note), None, "pointers instead of text");
        assert_eq!(of(Path::new("/proc/self/exe")), None);
        assert_eq!(of(Path::new("/nowhere")), None);
    }
}
