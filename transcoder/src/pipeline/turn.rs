//! How a picture must be turned to stand upright: phones write it as they hold it, and say so in a matrix.

use ffmpeg_next::Stream;
use ffmpeg_next::codec::packet::side_data;

/// A quarter turn, a mirror, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The filter that does it, with a comma before it; empty for an upright picture.
    pub(super) filter: &'static str,
    /// Whether width and height change places.
    pub(super) swaps: bool,
}

impl Turn {
    /// What a track asks for.
    pub(super) fn of(stream: &Stream<'_>) -> Self {
        let found = stream.side_data().find(|data| data.kind() == side_data::Type::DisplayMatrix);
        found.map_or(Self::from([1, 0, 0, 1]), |data| {
            // Nine numbers of the machine's byte order: a b u c d v x y w (ISO/IEC 14496-12, 6.2.2).
            let number = |at: usize| {
                let bytes = data.data().get(at * 4..at * 4 + 4).and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, i32::from_ne_bytes)
            };
            Self::from([number(0), number(1), number(3), number(4)])
        })
    }
}

impl From<[i32; 4]> for Turn {
    /// From the matrix that takes (x, y) to (ax + cy, bx + dy). Turns that are no quarters count as the nearest.
    fn from([a, b, c, d]: [i32; 4]) -> Self {
        let size = |number: i32| i64::from(number).abs();
        if size(b) + size(c) > size(a) + size(d) {
            let filter = match (c < 0, b < 0) {
                (true, false) => ",transpose=clock",
                (false, true) => ",transpose=cclock",
                (false, false) => ",transpose=cclock_flip",
                (true, true) => ",transpose=clock_flip",
            };
            return Self { filter, swaps: true };
        }
        let filter = match (a < 0, d < 0) {
            (false, false) => "",
            (true, false) => ",hflip",
            (false, true) => ",vflip",
            (true, true) => ",hflip,vflip",
        };
        Self { filter, swaps: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_and_mirrors() {
        const ONE: i32 = 1 << 16;
        for (matrix, filter, swaps) in [
            ([ONE, 0, 0, ONE], "", false),
            ([0, ONE, -ONE, 0], ",transpose=clock", true),
            ([-ONE, 0, 0, -ONE], ",hflip,vflip", false),
            ([0, -ONE, ONE, 0], ",transpose=cclock", true),
            ([-ONE, 0, 0, ONE], ",hflip", false),
            ([0, ONE, ONE, 0], ",transpose=cclock_flip", true),
            ([0, 0, 0, 0], "", false),
            ([i32::MIN, i32::MIN, i32::MIN, i32::MIN], ",hflip,vflip", false),
        ] {
            assert_eq!(Turn::from(matrix), Turn { filter, swaps }, "{matrix:?}");
        }
    }
}
