//! Tables of lines, as CPython's compiler writes them.

/// `co_lnotab`, up to 3.9: pairs of a step in bytes and a step in lines. `offset`: in bytes.
pub(super) fn of_steps(table: &[u8], first: u32, offset: u32) -> u32 {
    let (mut at, mut line) = (0_u32, first);
    for [bytes, lines] in table.as_chunks::<2>().0 {
        at = at.saturating_add(u32::from(*bytes));
        if at > offset {
            break;
        }
        line = line.saturating_add_signed(i32::from(lines.cast_signed()));
    }
    line
}

/// `co_linetable` of 3.10: pairs of how many bytes further and how many lines; `offset` in instructions of two bytes.
/// `Some(None)`: there, without a line. `None`: beyond the table.
#[expect(clippy::option_option, reason = "what has no line is not the same as what lies elsewhere")]
pub(super) fn of_ranges(table: &[u8], first: u32, offset: u32) -> Option<Option<u32>> {
    let (mut at, mut line) = (0_u32, first);
    for [bytes, lines] in table.as_chunks::<2>().0 {
        at = at.saturating_add(u32::from(*bytes));
        let lines = Some(lines.cast_signed()).filter(|lines| *lines != i8::MIN);
        line = line.saturating_add_signed(lines.unwrap_or(0).into());
        if offset.saturating_mul(2) < at {
            return Some(lines.map(|_| line));
        }
    }
    None
}

/// `co_linetable` since 3.11: entries of a kind, a length in units of two bytes, and what the kind has; `offset` in bytes.
/// `Some(None)`: there, without a line. `None`: beyond the table.
#[expect(clippy::option_option, reason = "what has no line is not the same as what lies elsewhere")]
pub(super) fn of_entries(table: &[u8], first: u32, offset: u32) -> Option<Option<u32>> {
    let mut bytes = table.iter().copied();
    let (mut at, mut line) = (0_u32, first);
    loop {
        let head = bytes.next().filter(|head| head & 0x80 != 0)?;
        let length = u32::from(head & 7) + 1;
        let is_without = match (head >> 3) & 15 {
            // On the same line: one byte of columns.
            0..=9 => bytes.next().is_none(),
            // Up to two lines further: two bytes of columns.
            kind @ 10..=12 => {
                line = line.saturating_add(u32::from(kind) - 10);
                bytes.nth(1).is_none()
            }
            13 => {
                line = line.saturating_add_signed(signed(&mut bytes)?);
                false
            }
            14 => {
                line = line.saturating_add_signed(signed(&mut bytes)?);
                // The last line, and two columns.
                for _ in 0..3 {
                    number(&mut bytes)?;
                }
                false
            }
            _ => true,
        };
        at = at.checked_add(length * 2)?;
        if offset < at {
            return Some((!is_without).then_some(line));
        }
    }
}

/// A number in pieces of six bits, the lowest first.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..36).step_by(6) {
        let byte = bytes.next()?;
        number |= u32::from(byte & 63).checked_shl(shift).unwrap_or(0);
        if byte & 64 == 0 {
            return Some(number);
        }
    }
    None
}

/// The same with its sign in the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i32> {
    let number = number(bytes)?;
    let size = i32::try_from(number >> 1).ok()?;
    Some(if number & 1 == 1 { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of thirteen lines, as CPython 3.9 and 3.11 compiled it, and where the lines begin by their own word.
    #[test]
    fn lines_are_those_that_python_tells() {
        let steps = [0, 2, 2, 2, 6, 253, 4, 6, 8, 1, 10, 1, 4, 1, 2, 255, 36, 2];
        for (offset, line) in
            [(0, 4), (2, 6), (7, 6), (8, 3), (12, 9), (20, 10), (30, 11), (34, 12), (36, 11), (83, 13)]
        {
            assert_eq!(of_steps(&steps, 2, offset), line, "{offset}");
        }
        let entries = [
            248, 128, 0, 224, 8, 9, 224, 8, 9, 136, 65, 137, 5, 240, 7, 3, 9, 15, 128, 65, 240, 12, 0, 14, 15, 240, 0,
            3, 5, 19, 240, 0, 3, 5, 19, 136, 1, 221, 13, 17, 144, 43, 209, 13, 30, 212, 13, 30, 240, 0, 2, 9, 19, 160,
            33, 216, 12, 13, 143, 70, 138, 70, 216, 16, 17,
        ];
        for (offset, line) in [
            (0, None),
            (2, Some(2)),
            (4, Some(4)),
            (6, Some(6)),
            (13, Some(6)),
            (14, Some(3)),
            (18, Some(9)),
            (26, Some(10)),
            (57, Some(10)),
            (58, Some(11)),
            (82, Some(12)),
        ] {
            assert_eq!(of_entries(&entries, 2, offset), Some(line), "{offset}");
        }
    }

    /// From an interpreter of 3.10, as above: its `co_linetable`, and its `co_lines`.
    #[test]
    fn ranges_lead_to_the_line_of_each_instruction() {
        let table = [4, 1, 2, 2, 2, 1, 4, 255, 12, 2, 10, 1, 14, 1];
        for (offset, line) in [(0, 3), (1, 3), (2, 5), (3, 6), (4, 5), (6, 7), (11, 7), (12, 8), (17, 9), (23, 9)] {
            assert_eq!(of_ranges(&table, 2, offset), Some(Some(line)), "{offset}");
        }
        assert_eq!(of_ranges(&table, 2, 24), None, "beyond its end");
        assert_eq!(of_ranges(&[4, 1, 2, 128, 2, 1], 2, 2), Some(None), "there, but of no line");
        assert_eq!(of_ranges(&[0, 255, 2], 0, u32::MAX), None);
    }

    #[test]
    fn a_table_that_breaks_off_or_is_none_tells_nothing() {
        for table in
            [&[][..], &[1], &[0xe8], &[0xf0, 0x40], &[0xff; 3], &[0xe8, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f]]
        {
            assert_eq!(of_entries(table, 7, 4000), None, "{table:?}");
        }
        assert_eq!((of_steps(&[], 7, 9), of_steps(&[1, 1, 1], 7, 9)), (7, 8));
        assert_eq!(of_steps(&[0, 128, 0, 128], 7, 9), 0, "before the first line there is none");
    }
}
