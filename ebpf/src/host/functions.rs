//! Where functions begin, by the table that linkers sort for the unwinder (`.eh_frame_hdr`, Linux Standard Base).
//!
//! Invariant: the table is the target's file and may say anything; what it says is in bounds or nothing.

/// What linkers write: version 1; a pointer relative to itself, a count, and a table relative to the section, all of four bytes.
const HEAD: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
/// The head, the pointer and the count.
const TABLE: usize = 12;
const ENTRY: usize = 8;

/// The beginning of the function that holds an address, both as offsets from the section's own address; `None` where
/// the table is of another kind, or begins after it.
pub(super) fn start(section: &[u8], address: i64) -> Option<i64> {
    let (head, count) = (section.get(..4)?, section.get(8..TABLE)?);
    let count = usize::try_from(u32::from_le_bytes(count.try_into().ok()?)).ok()?;
    let entries = section.get(TABLE..)?;
    let count = count.min(entries.len() / ENTRY);
    if head != HEAD {
        return None;
    }
    let begins = |at: usize| {
        let bytes = entries.get(at * ENTRY..)?.first_chunk::<4>()?;
        Some(i64::from(i32::from_le_bytes(*bytes)))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if begins(middle)? <= address { low = middle + 1 } else { high = middle }
    }
    begins(low.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
    use std::fs;

    #[test]
    fn functions_of_this_program_begin_where_its_symbols_say() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = object::File::parse(&bytes[..]).unwrap();
        let section = elf.section_by_name(".eh_frame_hdr").expect("linkers make it");
        let (text, base) = (section.data().unwrap(), i64::try_from(section.address()).unwrap());
        let mut all = 0;
        for symbol in elf.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 8) {
            let address = i64::try_from(symbol.address()).unwrap();
            // What is written by hand has several symbols in one function, or no entry.
            if !symbol.name().is_ok_and(|name| name.contains("snowshed")) {
                continue;
            }
            for inside in [0, 1, i64::try_from(symbol.size()).unwrap() - 1] {
                assert_eq!(start(text, address + inside - base), Some(address - base), "{:?}", symbol.name());
            }
            all += 1;
        }
        assert!(all > 100, "{all} functions");
    }

    #[test]
    fn what_is_no_such_table_says_nothing() {
        let table = |count: u32, begins: &[i32]| {
            let mut bytes = HEAD.to_vec();
            bytes.extend([0; 4]);
            bytes.extend(count.to_le_bytes());
            bytes.extend(begins.iter().flat_map(|start| [start.to_le_bytes(), [9; 4]]).flatten());
            bytes
        };
        let whole = table(3, &[-300, -200, 100]);
        let starts = [-301, -300, -201, -200, 99, 100, i64::MAX].map(|address| start(&whole, address));
        assert_eq!(starts, [None, Some(-300), Some(-300), Some(-200), Some(-200), Some(100), Some(100)]);
        assert_eq!(start(&table(u32::MAX, &[5, 7]), 6), Some(5), "more than there are");
        for length in 0..whole.len() {
            let _in_bounds = start(&whole[..length], 150);
        }
        let mut other = whole;
        other[3] = 0x1b;
        assert_eq!((start(&other, 150), start(&[], 0)), (None, None));
    }
}
