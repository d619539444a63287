//! Taking the container apart while it arrives.
//!
//! Invariants: the demuxer is one of three, named by [`container`](super::container) and not found by libavformat;
//! it can open nothing else. Nothing is decoded here to find out more: what tracks are like, their first frames tell,
//! so that the first packet does not wait for the hundredth.

use super::container::{self, Kind};
use super::intake::{Allowance, BEFORE_PICTURE, Intake};
use super::stage::{self, Stage};
use super::{BodyReader, Cancel, Grow, PipelineError, decode};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::util::interrupt;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, Rescale, Stream, ffi, media};
use std::ptr;

/// Broken packets in a row after which the rest is given up.
const MOST_BROKEN: u32 = 1000;
/// The clock in which tracks are compared.
pub(super) const MICROSECONDS: Rational = Rational(1, 1_000_000);

/// The upload's packets.
pub(super) struct Demuxer {
    input: Input,
    kind: Kind,
    allowance: Allowance,
    cancel: Cancel,
    broken: u32,
    /// Bytes of the upload that are kept in memory.
    kept: u64,
}

impl Demuxer {
    /// Reads the container's header. `grow` is asked before more of the upload is kept.
    pub(super) fn open(upload: BodyReader, cancel: &Cancel, grow: Grow<'_>) -> Result<Self, PipelineError> {
        let _stage = stage::enter(Stage::Demux);
        let mut intake = Intake::new(upload, cancel.clone());
        let allowance = intake.allowance();
        let (prelude, kind) = container::recognise(&mut intake).map_err(PipelineError::Spool)?;
        if prelude.is_empty() {
            return Err(PipelineError::Empty);
        }
        let kind = kind.ok_or(PipelineError::Unrecognised)?;
        let intake = intake.again(prelude);
        let mut kept = 0;
        let stream = match kind {
            Kind::Mp4 { spooled: true } => {
                let file;
                (file, kept) = intake.spool(grow)?;
                StreamIo::from_read_seek(file)
            }
            _ => StreamIo::from_read(intake),
        }
        .map_err(PipelineError::at("input"))?;
        let input = open(stream, kind, cancel).map_err(|error| match error {
            _ if allowance.is_used_up() => PipelineError::NoPictureYet(BEFORE_PICTURE >> 20),
            error => PipelineError::Unreadable(error),
        })?;
        Ok(Self { input, kind, allowance, cancel: cancel.clone(), broken: 0, kept })
    }

    /// Bytes of the upload that are kept in memory while it is read.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// A picture was decoded: this is a video, and may be as long as it likes.
    pub(super) fn trust(&self) {
        self.allowance.lift();
    }

    /// A track.
    pub(super) fn track(&self, index: usize) -> Option<Stream<'_>> {
        self.input.stream(index)
    }

    /// The track of a kind that a player would choose; sound from the same programme as the picture `beside`.
    pub(super) fn best(&self, kind: media::Type, beside: Option<usize>) -> Option<usize> {
        let rank = |stream: &Stream<'_>| {
            // SAFETY: the stream and its parameters live as long as the context; plain integers are read.
            let (flags, width, height, channels) = unsafe {
                let raw = &*stream.as_ptr();
                (raw.disposition, (*raw.codecpar).width, (*raw.codecpar).height, (*raw.codecpar).channels)
            };
            let still = ffi::AV_DISPOSITION_ATTACHED_PIC | ffi::AV_DISPOSITION_TIMED_THUMBNAILS;
            (
                flags & still == 0,
                decode::is_taken(stream.parameters().id()),
                beside.is_none_or(|beside| self.share_a_programme(beside, stream.index())),
                flags & ffi::AV_DISPOSITION_DEFAULT != 0,
                i64::from(width) * i64::from(height),
                channels,
                std::cmp::Reverse(stream.index()),
            )
        };
        let tracks = self.input.streams().filter(|stream| stream.parameters().medium() == kind);
        tracks.map(|stream| (rank(&stream), stream.index())).filter(|(rank, _)| rank.0).max().map(|(_, index)| index)
    }

    fn share_a_programme(&self, one: usize, other: usize) -> bool {
        let Ok(one) = i32::try_from(one) else { return false };
        // SAFETY: the context is open; the call reads its list of programmes, which lives as long as the context.
        let programme = unsafe {
            let context = self.input.as_ptr().cast_mut();
            let found = ffi::av_find_program_from_stream(context, ptr::null_mut(), one);
            if found.is_null() { None } else { Some(&*found) }
        };
        let Some(programme) = programme.filter(|programme| !programme.stream_index.is_null()) else { return true };
        // SAFETY: libavformat keeps as many indices there as it says.
        let members =
            unsafe { std::slice::from_raw_parts(programme.stream_index, programme.nb_stream_indexes as usize) };
        members.iter().any(|member| *member as usize == other)
    }

    /// Reads nothing of the other tracks from now on.
    pub(super) fn keep_only(&mut self, kept: &[usize]) {
        for index in 0..self.input.nb_streams() as usize {
            let discard =
                if kept.contains(&index) { ffi::AVDiscard::AVDISCARD_DEFAULT } else { ffi::AVDiscard::AVDISCARD_ALL };
            // SAFETY: `index` is below the number of streams; the field is the caller's to set.
            unsafe { (**(*self.input.as_mut_ptr()).streams.add(index)).discard = discard };
        }
    }

    /// When a track begins, in microseconds of the upload's clock, as far as that is known yet.
    pub(super) fn start(&self, index: usize) -> Option<i64> {
        let stream = self.input.stream(index)?;
        // Known from the track's first packet; before that, where there is an index, from its first entry.
        let mut start = stream.start_time();
        if start == ffi::AV_NOPTS_VALUE {
            // SAFETY: the stream lives as long as the context, and its index is not touched meanwhile.
            start = unsafe { ffi::avformat_index_get_entry(stream.as_ptr().cast_mut(), 0).as_ref() }?.timestamp;
        }
        Some(start.rescale(stream.time_base(), MICROSECONDS))
    }

    /// The next packet, in a fresh buffer (a reused one would leak its old contents); `None` at the end.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, PipelineError> {
        let _stage = stage::enter(Stage::Demux);
        loop {
            if self.cancel.is_set() {
                return Err(PipelineError::Cancelled);
            }
            let mut packet = Packet::empty();
            let result = packet.read(&mut self.input);
            if self.allowance.is_used_up() {
                return Err(PipelineError::NoPictureYet(BEFORE_PICTURE >> 20));
            }
            match result {
                Ok(()) => {
                    self.broken = 0;
                    stage::made(Stage::Demux, packet.size());
                    return Ok(Some(packet));
                }
                Err(Error::Eof) => return Ok(None),
                Err(Error::Exit) => return Err(PipelineError::Cancelled),
                // Damage, of which the demuxers tell in many ways (EAGAIN: no sync byte for 64 KiB).
                Err(_) if self.broken < MOST_BROKEN => self.broken += 1,
                // What was read so far stands, as of an upload that ends too early.
                Err(error) if self.allowance.is_lifted() => {
                    tracing::info!(%error, "the rest cannot be read");
                    return Ok(None);
                }
                Err(error) => return Err(PipelineError::Unreadable(error)),
            }
        }
    }
}

fn open(mut stream: StreamIo, kind: Kind, cancel: &Cancel) -> Result<Input, Error> {
    let stop = cancel.clone();
    let interrupt = interrupt::new(Box::new(move || stop.is_set()));
    let mut options = Dictionary::new();
    // How far a transport stream's tables are looked for.
    options.set("probesize", "5000000");
    // SAFETY: the context is made here; until it is open it is ours alone. `stream` and the interrupt's closure are
    // handed to the `Input` that owns the context from then on, and outlive it. A failed opening frees the context.
    unsafe {
        let format = ffi::av_find_input_format(kind.demuxer().as_ptr());
        let mut context = ffi::avformat_alloc_context();
        if format.is_null() || context.is_null() {
            ffi::avformat_free_context(context);
            return Err(Error::DemuxerNotFound);
        }
        (*context).pb = stream.as_mut_ptr();
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
        (*context).interrupt_callback = interrupt.interrupt;
        (*context).io_open = Some(open_nothing);
        (*context).max_streams = kind.most_tracks();
        let mut options = options.disown();
        let error = ffi::avformat_open_input(&mut context, ptr::null(), format, &mut options);
        drop(Dictionary::own(options));
        if error < 0 {
            return Err(Error::from(error));
        }
        Ok(Input::wrap_with_custom_io_and_interrupt(context, stream, interrupt.guard))
    }
}

/// What demuxers call for references to other files or addresses: there are none for an upload.
unsafe extern "C" fn open_nothing(
    _: *mut ffi::AVFormatContext,
    _: *mut *mut ffi::AVIOContext,
    _: *const libc::c_char,
    _: libc::c_int,
    _: *mut *mut ffi::AVDictionary,
) -> libc::c_int {
    ffi::AVERROR(libc::EPERM)
}
