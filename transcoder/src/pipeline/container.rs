//! What an upload is, by its first bytes alone: what its sender calls it proves nothing.
//!
//! Invariant: only three demuxers can ever be chosen, and none of them opens other files or addresses. Play lists,
//! scripts and pictures are refused here, before libavformat sees them.

use std::ffi::CStr;
use std::io::{self, Read};

/// How far the recognisable beginning of a container may lie behind junk, and an MP4's index or data behind its head.
const PRELUDE_BYTES: usize = 64 << 10;
/// Sync bytes in a row that make a transport stream.
const SYNCS: usize = 4;
const SYNC: u8 = 0x47;
/// Lengths of its packets: plain, with a time stamp before each, with an error correction behind each.
const TS_PACKETS: [usize; 3] = [188, 192, 204];
/// EBML's first element (RFC 8794, 11.2.1).
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

/// A container that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// MP4 or QuickTime; `spooled` if its index may come after its data.
    Mp4 {
        /// Whether it must be kept as a whole before it can be read.
        spooled: bool,
    },
    /// MPEG transport stream.
    Ts,
    /// Matroska or WebM.
    Matroska,
}

impl Kind {
    /// libavformat's name of the demuxer.
    pub(super) fn demuxer(self) -> &'static CStr {
        match self {
            Self::Mp4 { .. } => c"mov",
            Self::Ts => c"mpegts",
            Self::Matroska => c"matroska",
        }
    }

    /// Tracks that a file may have: each has tables of its own.
    pub(super) fn most_tracks(self) -> i32 {
        match self {
            Self::Mp4 { .. } => 16,
            Self::Ts | Self::Matroska => 64,
        }
    }
}

/// Reads until it is known what this is: the bytes that were read, and `None` for what cannot be taken.
pub(super) fn recognise(upload: &mut impl Read) -> io::Result<(Vec<u8>, Option<Kind>)> {
    let mut prelude = Vec::new();
    let mut piece = vec![0; 4096];
    loop {
        match upload.read(&mut piece)? {
            0 => {
                let kind = kind(&prelude, true);
                return Ok((prelude, kind));
            }
            length => prelude.extend_from_slice(&piece[..length]),
        }
        let known = kind(&prelude, false);
        if known.is_some() || prelude.len() >= PRELUDE_BYTES {
            return Ok((prelude, known));
        }
    }
}

/// What begins like this; `None` if it is nothing known, or more is needed. `whole`: there is no more.
fn kind(head: &[u8], whole: bool) -> Option<Kind> {
    if head.starts_with(&EBML) {
        return Some(Kind::Matroska);
    }
    if begins_with_a_box(head) {
        // Too little of it to tell: the demuxer will say what is wrong.
        return layout(head).or(whole.then_some(Kind::Mp4 { spooled: false }));
    }
    is_transport_stream(head).then_some(Kind::Ts)
}

fn begins_with_a_box(head: &[u8]) -> bool {
    const FIRST: [&[u8]; 10] =
        [b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"uuid", b"sidx"];
    head.get(4..8).is_some_and(|name| FIRST.contains(&name))
}

fn is_transport_stream(head: &[u8]) -> bool {
    TS_PACKETS.into_iter().any(|length| {
        let last = (SYNCS - 1) * length;
        (0..head.len().saturating_sub(last)).any(|at| (0..SYNCS).all(|packet| head[at + packet * length] == SYNC))
    })
}

/// Walks the box headers (ISO/IEC 14496-12, 4.2) up to the index or the data; `None` if more is needed.
fn layout(head: &[u8]) -> Option<Kind> {
    let mut at = 0usize;
    while let Some(header) = head.get(at..at.saturating_add(16)) {
        match &header[4..8] {
            b"moov" | b"moof" => return Some(Kind::Mp4 { spooled: false }),
            b"mdat" => return Some(Kind::Mp4 { spooled: true }),
            _ => {}
        }
        let size = match u32::from_be_bytes([header[0], header[1], header[2], header[3]]) {
            1 => header[8..16].iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte)),
            size => u64::from(size),
        };
        if size < 8 {
            return Some(Kind::Mp4 { spooled: false });
        }
        at = at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
    }
    (head.len() >= PRELUDE_BYTES || at > PRELUDE_BYTES).then_some(Kind::Mp4 { spooled: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMED: Option<Kind> = Some(Kind::Mp4 { spooled: false });
    const SPOOLED: Option<Kind> = Some(Kind::Mp4 { spooled: true });

    fn boxes(list: &[(&[u8; 4], u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, size) in list {
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(*kind);
            out.resize(out.len() + (*size as usize - 8).min(1 << 20), 0);
        }
        out
    }

    fn packets(length: usize, junk: usize) -> Vec<u8> {
        let mut out = vec![0; junk];
        for _ in 0..SYNCS {
            out.push(SYNC);
            out.resize(out.len() + length - 1, 0);
        }
        out
    }

    #[test]
    fn the_index_decides() {
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"moov", 90)])), STREAMED);
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"free", 8), (b"mdat", 90)])), SPOOLED);
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"moof", 90)])), STREAMED);
    }

    #[test]
    fn short_heads_ask_for_more() {
        for head in [&b"\0\0\0\x18ftyp"[..], &boxes(&[(b"ftyp", 24)]), &[SYNC; 100], b"", &EBML[..3]] {
            assert_eq!(kind(head, false), None, "{head:?}");
        }
        assert_eq!(kind(b"\0\0\0\x18ftyp", true), STREAMED, "there is no more: the demuxer shall say what is wrong");
    }

    #[test]
    fn transport_streams_by_their_rhythm_also_behind_junk() {
        for length in TS_PACKETS {
            assert_eq!(kind(&packets(length, 0), false), Some(Kind::Ts), "{length}");
            assert_eq!(kind(&packets(length, 1000), false), Some(Kind::Ts), "{length}");
        }
        let mut broken = packets(188, 0);
        broken[188] = 0;
        assert_eq!(kind(&broken, true), None);
    }

    #[test]
    fn what_could_open_other_files_is_nothing() {
        for text in [
            "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            "ffconcat version 1.0\nfile /etc/passwd\n",
            "file '/etc/passwd'\n",
            "<!DOCTYPE html><video src=x>",
            "<?xml version=\"1.0\"?><MPD></MPD>",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\n",
            "\u{89}PNG\r\n",
            "RIFF\0\0\0\0AVI ",
        ] {
            let long = text.repeat(PRELUDE_BYTES / text.len());
            assert_eq!(kind(text.as_bytes(), true), None, "{text}");
            assert_eq!(kind(long.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn hostile_sizes_end_the_walk() {
        for size in [[0, 0, 0, 0], [0, 0, 0, 7]] {
            let mut head = boxes(&[(b"ftyp", 24)]);
            head[..4].copy_from_slice(&size);
            assert_eq!(layout(&head), STREAMED);
        }
        let mut head = boxes(&[(b"free", 40)]);
        head[..4].copy_from_slice(&1u32.to_be_bytes());
        head[8..16].copy_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(layout(&head), SPOOLED, "a jump to nowhere is spooled, within the bound");
    }

    #[test]
    fn any_head_gets_an_answer() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut head = boxes(&[(b"ftyp", 24), (b"free", 40), (b"uuid", 60)]);
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % head.len();
                head[at] = (state >> 56) as u8;
            }
            head.truncate((state >> 20) as usize % 140);
            let (read, known) = recognise(&mut &head[..]).expect("memory cannot fail");
            assert_eq!(read, head, "nothing is lost");
            assert!(known.is_none() || known == Some(Kind::Mp4 { spooled: true }) || known == STREAMED, "{head:?}");
        }
    }

    #[test]
    fn junk_is_read_to_a_bound() {
        let (read, kind) = recognise(&mut io::repeat(b'x')).expect("read");
        assert_eq!((read.len(), kind), (PRELUDE_BYTES, None));
    }
}
