//! Names of Go functions, from the table that Go's own tracebacks use: it is there without DWARF and symbols too.
//!
//! Layout: Go 1.20 and later, as written by `cmd/link/internal/ld/pcln.go` and read by `debug/gosym`. What the
//! compiler inlined is told as the function that it was inlined into, with that one's first line. Cost: nothing is kept; a look-up is a binary
//! search in the mapped file. Invariant: every read is checked: a table that lies gives no name.

use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};

/// Of the layout that is read here.
const MAGIC: u32 = 0xffff_fff1;
/// A name or path is cut after so many bytes.
const LONGEST: usize = 512;

/// A function, and the place in its source.
pub(crate) type Named = (String, Option<(String, u32)>);

/// The function whose code lies at this offset of a file.
pub(crate) fn resolve(file: &[u8], offset: u64) -> Option<Named> {
    let elf = object::File::parse(file).ok()?;
    let table = table(&elf)?;
    let address = elf.segments().find_map(|segment| {
        let (start, length) = segment.file_range();
        let executable = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
        let inside = executable && start <= offset && offset < start.saturating_add(length);
        inside.then(|| segment.address().wrapping_add(offset - start))
    })?;
    table.look_up(address)
}

/// Addresses and code of functions by their names; `None`: one of them is not there.
pub(crate) fn code<'a, const N: usize>(elf: &object::File<'a>, names: [&str; N]) -> Option<[(u64, &'a [u8]); N]> {
    let mut found = [None; N];
    let text = elf.section_by_name(".text")?;
    let (start, bytes) = (text.address(), text.data().ok()?);
    table(elf)?.find(&names, |at, address| found[at] = Some(address));
    let code = |address: u64| Some((address, bytes.get(usize::try_from(address.checked_sub(start)?).ok()?..)?));
    let found = found.map(|address| address.and_then(code));
    found.iter().all(Option::is_some).then(|| found.map(Option::unwrap_or_default))
}

fn table<'a>(elf: &object::File<'a>) -> Option<Table<'a>> {
    let section = [".gopclntab", ".data.rel.ro.gopclntab"].iter().find_map(|name| elf.section_by_name(name))?;
    Some(Table { bytes: section.data().ok()?, text: elf.section_by_name(".text")?.address() })
}

struct Table<'a> {
    bytes: &'a [u8],
    /// Where code begins, if the table does not tell.
    text: u64,
}

impl Table<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// A number of the header.
    fn long(&self, index: usize) -> Option<usize> {
        let bytes = self.bytes.get(8 + 8 * index..)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    }

    fn string(&self, at: usize) -> Option<String> {
        let bytes = self.bytes.get(at..)?;
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// How many functions there are, and where code begins.
    fn header(&self) -> Option<(usize, u64)> {
        let is_known = self.word(0)? == MAGIC && self.bytes.get(7) == Some(&8);
        let (count, text) = (self.long(0)?, self.long(2)? as u64);
        // Position-independent programs have it filled in when they are loaded.
        let text = if text == 0 { self.text } else { text };
        (is_known && count > 0 && count <= self.bytes.len()).then_some((count, text))
    }

    /// Tells of each of these names where its function begins.
    fn find(&self, wanted: &[&str], mut tell: impl FnMut(usize, u64)) -> Option<()> {
        let (count, text) = self.header()?;
        let (names, functions) = (self.long(3)?, self.long(7)?);
        for index in 0..count {
            let at = functions.checked_add(index.checked_mul(8)?)?;
            let (entry, function) = (self.word(at)?, self.word(at.checked_add(4)?)? as usize);
            let name = names.checked_add(self.word(functions.checked_add(function)?.checked_add(4)?)? as usize)?;
            let is = |wanted: &&str| {
                let end = name.saturating_add(wanted.len());
                self.bytes.get(name..end) == Some(wanted.as_bytes()) && self.bytes.get(end) == Some(&0)
            };
            if let Some(which) = wanted.iter().position(is) {
                tell(which, text.wrapping_add(entry.into()));
            }
        }
        Some(())
    }

    fn look_up(&self, address: u64) -> Option<Named> {
        let (count, text) = self.header()?;
        let [names, units, files, values, functions] = [3, 4, 5, 6, 7].map(|index| self.long(index));
        let (names, units, files, values, functions) = (names?, units?, files?, values?, functions?);
        let target = u32::try_from(address.checked_sub(text)?).ok()?;
        let entry = |index: usize| self.word(functions.checked_add(index.checked_mul(8)?)?);
        if entry(0)? > target || entry(count)? <= target {
            return None;
        }
        // The last function that begins at or before the target.
        let (mut low, mut high) = (0, count);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if entry(middle)? <= target { low = middle } else { high = middle }
        }
        let function =
            functions.checked_add(self.word(functions.checked_add(low.checked_mul(8)?.checked_add(4)?)?)? as usize)?;
        let field = |index: usize| self.word(function.checked_add(4 * index)?);
        let name = self.string(names.checked_add(field(1)? as usize)?)?;
        let begin = field(0)?;
        let value = |index, at| self.value(values.checked_add(field(index)? as usize)?, begin, at);
        let file = |at| {
            let number = usize::try_from(value(5, at)?).ok()?.checked_add(field(8)? as usize)?;
            self.word(units.checked_add(number.checked_mul(4)?)?)
        };
        let place = || {
            let own = file(begin)?;
            // Code of another file is that of an inlined call, whose own place says nothing of this function.
            let line = if file(target)? == own { u32::try_from(value(6, target)?).ok()? } else { field(9)? };
            Some((self.string(files.checked_add(own as usize)?)?, line))
        };
        Some((name, place()))
    }

    /// A value that changes along the code: pairs of a zigzag difference of the value and of the address.
    fn value(&self, mut at: usize, begin: u32, target: u32) -> Option<i32> {
        let quantum = u32::from(*self.bytes.get(6)?);
        let (mut value, mut pc, mut first) = (-1_i32, begin, true);
        loop {
            let difference = self.varint(&mut at)?;
            if difference == 0 && !first {
                return None;
            }
            first = false;
            let half = (difference >> 1).cast_signed();
            value = value.wrapping_add(if difference & 1 == 1 { !half } else { half });
            pc = pc.checked_add(self.varint(&mut at)?.checked_mul(quantum)?)?;
            if target < pc {
                return Some(value);
            }
        }
    }

    fn varint(&self, at: &mut usize) -> Option<u32> {
        let (mut value, mut shift) = (0_u32, 0);
        loop {
            let byte = *self.bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions: `main.f` from 0 on, of `/a.go`, whose line is 7 and from its fourth byte on 9; `main.g` from 16.
    fn table() -> Vec<u8> {
        let mut bytes = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        let (names, units, files, values, functions) = (72_u64, 88_u64, 92_u64, 100_u64, 116_u64);
        [2, 1, 0x1000, names, units, files, values, functions].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(b"main.f\0main.g\0\0\0");
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(b"/a.go\0\0\0");
        // From -1: +1 for 32 bytes; then +8 for four and +2 for 28.
        bytes.extend([2, 32, 0, 16, 4, 4, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        [0_u32, 20, 16, 60, 32].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        for (entry, name) in [(0_u32, 0_u32), (16, 7)] {
            [entry, name, 0, 0, 0, 0, 3, 0, 0, 5].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn functions_and_lines_are_found() {
        let bytes = table();
        let table = Table { bytes: &bytes, text: 0 };
        let f = |line| Some(("main.f".to_owned(), Some(("/a.go".to_owned(), line))));
        assert_eq!(table.look_up(0x1000), f(7));
        assert_eq!(table.look_up(0x1003), f(7));
        assert_eq!(table.look_up(0x1004), f(9));
        assert_eq!(table.look_up(0x1010).unwrap().0, "main.g");
        assert_eq!(table.look_up(0x1020), None, "past the end");
        assert_eq!(table.look_up(0xfff), None, "before the beginning");
        let mut found = [0; 2];
        table.find(&["main.g", "main"], |at, address| found[at] = address);
        assert_eq!(found, [0x1010, 0], "whole names only");
    }

    #[test]
    fn a_table_that_lies_gives_no_name_and_does_no_harm() {
        let whole = table();
        for cut in 0..whole.len() {
            Table { bytes: &whole[..cut], text: 0 }.look_up(0x1004);
            Table { bytes: &whole[..cut], text: 0 }.find(&["main.g"], |_, _| ());
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                Table { bytes: &bytes, text: 0 }.look_up(0x1004);
                Table { bytes: &bytes, text: 0 }.find(&["main.g"], |_, _| ());
            }
        }
        assert_eq!(resolve(b"no ELF", 0), None);
    }
}
