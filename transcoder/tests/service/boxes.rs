//! Reading fragmented MP4 as a player does: which fragments there are, when they begin, and how long they play.

use std::collections::BTreeMap;

/// A box's name and content.
type Box<'a> = (&'a [u8], &'a [u8]);

/// The boxes in `bytes`, which must be whole.
pub(crate) fn boxes(mut bytes: &[u8]) -> Vec<Box<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let size = number(bytes, 0) as usize;
        assert!((8..=bytes.len()).contains(&size), "a box of {size} bytes in {}", bytes.len());
        found.push((&bytes[4..8], &bytes[8..size]));
        bytes = &bytes[size..];
    }
    found
}

/// The first box of this name inside.
pub(crate) fn inside<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    boxes(bytes).into_iter().find(|(found, _)| *found == name).map(|(_, content)| content)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// What one track has in one fragment, in the track's ticks.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) track: u32,
    pub(crate) begin: u64,
    pub(crate) length: u64,
    pub(crate) samples: u32,
    /// The first sample's time of showing, less its time of decoding.
    pub(crate) shift: u32,
    /// The first sample can be decoded alone.
    pub(crate) key: bool,
}

/// Ticks a second of each track.
pub(crate) fn clocks(movie: &[u8]) -> BTreeMap<u32, u32> {
    let moov = inside(movie, b"moov").expect("moov");
    let tracks = boxes(moov).into_iter().filter(|(name, _)| name == b"trak").map(|(_, trak)| {
        let header = inside(trak, b"tkhd").expect("tkhd");
        let media = inside(inside(trak, b"mdia").expect("mdia"), b"mdhd").expect("mdhd");
        assert_eq!((header[0], media[0]), (0, 0), "short headers");
        (number(header, 12), number(media, 12))
    });
    tracks.collect()
}

/// The fragments of a movie, each with what its tracks have in it.
pub(crate) fn fragments(movie: &[u8]) -> Vec<Vec<Run>> {
    let moofs = boxes(movie).into_iter().filter(|(name, _)| name == b"moof");
    moofs
        .map(|(_, moof)| {
            boxes(moof).into_iter().filter(|(name, _)| name == b"traf").map(|(_, traf)| run(traf)).collect()
        })
        .collect()
}

/// ISO/IEC 14496-12, 8.8.7, 8.8.8 and 8.8.12.
fn run(traf: &[u8]) -> Run {
    let header = inside(traf, b"tfhd").expect("tfhd");
    let flags = number(header, 0) & 0xff_ffff;
    let mut at = 8 + if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 };
    let mut default = |flag: u32| {
        let there = flags & flag != 0;
        let value = if there { number(header, at) } else { 0 };
        at += if there { 4 } else { 0 };
        value
    };
    let (duration, _size, sample_flags) = (default(8), default(0x10), default(0x20));
    let time = inside(traf, b"tfdt").expect("tfdt");
    let begin = match time[0] {
        0 => u64::from(number(time, 4)),
        _ => u64::from(number(time, 4)) << 32 | u64::from(number(time, 8)),
    };
    let mut found =
        Run { track: number(header, 4), begin, length: 0, samples: 0, shift: 0, key: sample_flags & 0x1_0000 == 0 };
    for (_, trun) in boxes(traf).into_iter().filter(|(name, _)| name == b"trun") {
        let (flags, samples) = (number(trun, 0) & 0xff_ffff, number(trun, 4));
        let mut at = 8 + if flags & 1 != 0 { 4 } else { 0 };
        if flags & 4 != 0 {
            found.key = number(trun, at) & 0x1_0000 == 0;
            at += 4;
        }
        for sample in 0..samples {
            let mut field = |flag: u32| {
                let there = flags & flag != 0;
                let value = there.then(|| number(trun, at));
                at += if there { 4 } else { 0 };
                value
            };
            let (length, _, flags, shift) = (field(0x100), field(0x200), field(0x400), field(0x800));
            found.length += u64::from(length.unwrap_or(duration));
            if sample == 0 && found.samples == 0 {
                found.shift = shift.unwrap_or(0);
                found.key = flags.map_or(found.key, |flags| flags & 0x1_0000 == 0);
            }
        }
        found.samples += samples;
    }
    found
}
