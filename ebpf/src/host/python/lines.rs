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
