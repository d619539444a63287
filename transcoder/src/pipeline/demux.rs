//! Taking the container apart, while it arrives if that is possible.
//!
//! An MP4 whose index (`moov`) comes after its media data can only be read with seeks. It is found out from the first
//! box headers and spooled to anonymous memory, up to [`SPOOL_BYTES`]; all other uploads are read as they come.

use super::stage::{self, Stage};
use super::{BodyReader, Cancel, Grow, PipelineError};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::{Dictionary, Error, Packet, Stream, format, media};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::os::fd::FromRawFd;

/// The largest MP4 with its index at the end.
const SPOOL_BYTES: u64 = 64 << 20;
/// Between two questions whether there is memory for more of it.
const SPOOL_STEP: u64 = 1 << 20;
/// How far into an MP4 its index or data must begin, or it is spooled to be safe.
const PRELUDE_BYTES: usize = 64 << 10;
/// Broken packets in a row after which the rest is given up.
const MOST_BROKEN: u32 = 1000;

/// The upload's packets.
pub(super) struct Demuxer {
    input: Input,
    broken: u32,
    /// Bytes of the upload that are kept in memory.
    kept: u64,
}

impl Demuxer {
    /// Reads as much as it takes to know the tracks.
    pub(super) fn open(mut upload: BodyReader, cancel: &Cancel, grow: Grow<'_>) -> Result<Self, PipelineError> {
        let _stage = stage::enter(Stage::Demux);
        let (prelude, layout) = read_prelude(&mut upload).map_err(PipelineError::Spool)?;
        if prelude.is_empty() {
            return Err(PipelineError::Empty);
        }
        let upload = Cursor::new(prelude).chain(upload);
        let mut kept = 0;
        let stream = match layout {
            Layout::Streamable => StreamIo::from_read(upload),
            Layout::NeedsSeek => {
                let file;
                (file, kept) = spool(upload, grow)?;
                StreamIo::from_read_seek(file)
            }
        }
        .map_err(PipelineError::at("input"))?;
        let mut options = Dictionary::new();
        // Latency against certainty: a second of media or this many bytes is enough to know the tracks.
        options.set("probesize", "1000000");
        options.set("analyzeduration", "1000000");
        let stop = cancel.clone();
        let input = format::input_from_stream_with_interrupt(stream, None, Some(options), move || stop.is_set())
            .map_err(PipelineError::Unreadable)?;
        Ok(Self { input, broken: 0, kept })
    }

    /// Bytes of the upload that are kept in memory while it is read.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// The track of a kind that a player would choose.
    pub(super) fn best(&self, kind: media::Type) -> Option<Stream<'_>> {
        self.input.streams().best(kind)
    }

    /// Where the upload's clock begins, in microseconds; output clocks begin at zero.
    pub(super) fn origin(&self) -> i64 {
        // SAFETY: the context is open and lives as long as `self`; the field is a plain integer.
        let start = unsafe { (*self.input.as_ptr()).start_time };
        if start == ffmpeg_next::ffi::AV_NOPTS_VALUE { 0 } else { start }
    }

    /// The next packet, in a fresh buffer (a reused one would leak its old contents); `None` at the end.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, PipelineError> {
        let _stage = stage::enter(Stage::Demux);
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {
                    self.broken = 0;
                    stage::made(Stage::Demux, packet.size());
                    return Ok(Some(packet));
                }
                Err(Error::Eof) => return Ok(None),
                Err(Error::InvalidData) if self.broken < MOST_BROKEN => self.broken += 1,
                Err(error) => return Err(PipelineError::at("demux")(error)),
            }
        }
    }
}

/// How a container can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Streamable,
    NeedsSeek,
}

/// Reads until the layout is known.
fn read_prelude(upload: &mut impl Read) -> io::Result<(Vec<u8>, Layout)> {
    let mut prelude = Vec::new();
    let mut piece = vec![0; 4096];
    loop {
        if let Some(layout) = layout(&prelude) {
            return Ok((prelude, layout));
        }
        match upload.read(&mut piece)? {
            // Too short to tell: the demuxer will say what is wrong with it.
            0 => return Ok((prelude, Layout::Streamable)),
            length => prelude.extend_from_slice(&piece[..length]),
        }
    }
}

/// Walks the box headers (ISO/IEC 14496-12, 4.2) up to the index or the data; `None` if more is needed.
fn layout(head: &[u8]) -> Option<Layout> {
    const FIRST: [&[u8]; 7] = [b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"];
    if head.len() < 16 {
        return None;
    }
    if !FIRST.contains(&&head[4..8]) {
        return Some(Layout::Streamable);
    }
    let mut at = 0usize;
    while let Some(header) = head.get(at..at.saturating_add(16)) {
        match &header[4..8] {
            b"moov" | b"moof" => return Some(Layout::Streamable),
            b"mdat" => return Some(Layout::NeedsSeek),
            _ => {}
        }
        let size = match u32::from_be_bytes([header[0], header[1], header[2], header[3]]) {
            1 => header[8..16].iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte)),
            size => u64::from(size),
        };
        if size < 8 {
            return Some(Layout::Streamable);
        }
        at = at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
    }
    (head.len() >= PRELUDE_BYTES || at > PRELUDE_BYTES).then_some(Layout::NeedsSeek)
}

/// Copies the upload into anonymous memory. Runs on the codec's thread, as everything here.
/// With its length; `grow` is asked before each step.
fn spool(upload: impl Read, grow: Grow<'_>) -> Result<(File, u64), PipelineError> {
    // SAFETY: the name is a C string; the call has no other precondition.
    let fd = unsafe { libc::memfd_create(c"upload".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(PipelineError::Spool(io::Error::last_os_error()));
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    let mut upload = upload.take(SPOOL_BYTES + 1);
    let mut length = 0;
    loop {
        if !grow(length + SPOOL_STEP) {
            return Err(PipelineError::NoMemory);
        }
        let step = io::copy(&mut (&mut upload).take(SPOOL_STEP), &mut file).map_err(PipelineError::Spool)?;
        length += step;
        if length > SPOOL_BYTES {
            return Err(PipelineError::TooLargeToSpool(SPOOL_BYTES >> 20));
        }
        if step < SPOOL_STEP {
            break;
        }
    }
    file.rewind().map_err(PipelineError::Spool)?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(list: &[(&[u8; 4], u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, size) in list {
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(*kind);
            out.resize(out.len() + (*size as usize - 8).min(1 << 20), 0);
        }
        out
    }

    #[test]
    fn the_index_decides() {
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"moov", 90)])), Some(Layout::Streamable));
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"free", 8), (b"mdat", 90)])), Some(Layout::NeedsSeek));
        assert_eq!(layout(&boxes(&[(b"ftyp", 24), (b"moof", 90)])), Some(Layout::Streamable));
    }

    #[test]
    fn other_containers_stream_and_short_heads_ask_for_more() {
        assert_eq!(layout(&[0x47; 400]), Some(Layout::Streamable));
        assert_eq!(layout(b"\0\0\0\x18ftyp"), None);
        assert_eq!(layout(&boxes(&[(b"ftyp", 24)])), None);
    }

    #[test]
    fn hostile_sizes_end_the_walk() {
        for size in [[0, 0, 0, 0], [0, 0, 0, 7]] {
            let mut head = boxes(&[(b"ftyp", 24)]);
            head[..4].copy_from_slice(&size);
            assert_eq!(layout(&head), Some(Layout::Streamable));
        }
        let mut head = boxes(&[(b"free", 40)]);
        head[..4].copy_from_slice(&1u32.to_be_bytes());
        head[8..16].copy_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(layout(&head), Some(Layout::NeedsSeek), "a jump to nowhere is spooled, within the bound");
    }

    #[test]
    fn the_spool_is_bounded() {
        assert!(matches!(spool(io::repeat(1), &|_| true), Err(PipelineError::TooLargeToSpool(64))));
        assert!(matches!(spool(io::repeat(1), &|bytes| bytes < 9 << 20), Err(PipelineError::NoMemory)));
        let mut text = String::new();
        let (mut file, length) = spool(&b"abc"[..], &|_| true).expect("fits");
        file.read_to_string(&mut text).expect("rewound");
        assert_eq!((text.as_str(), length), ("abc", 3));
    }
}
