//! Putting the container together, and handing it on while it is made.
//!
//! Invariants: nothing leaves before the first packet is encoded, so that a request whose upload turns out to be
//! broken can still be answered with a status. Fragmented MP4 leaves as whole boxes, each fragment no longer than
//! [`Settings::part`] and none across a key frame; of other containers no byte waits for more than [`FLUSH_EVERY`] of
//! packets.

use super::stage::{self, Stage};
use super::{BodyWriter, Container, PieceKind, PipelineError, Settings};
use bytes::Bytes;
use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::{Dictionary, Packet, Rational, Rescale, codec, ffi, format};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long finished bytes may wait for company.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// The muxer's own buffer.
const BUFFER_BYTES: usize = 16 << 10;
/// Audio begins this many ticks of [`AUDIO_CLOCK`] before zero (the AAC encoder's delay). Containers without edit
/// lists cannot say so, hence everything is moved by as much.
const PRIMING: i64 = 1024;
const AUDIO_CLOCK: Rational = Rational(1, super::filter::SAMPLE_RATE);

/// The output container.
pub(super) struct Muxer {
    output: Output,
    way: Way,
    begun: bool,
}

/// How bytes leave.
enum Way {
    /// As they come; when they last did.
    Flow(Option<Instant>),
    /// In whole boxes.
    Boxes(Boxes),
}

/// Fragmented MP4 on its way out.
struct Boxes {
    writer: BodyWriter,
    made: Gathered,
    part: f64,
    /// The picture's track, its clock, and where the open fragment began.
    video: Option<(usize, Rational)>,
    open: Option<Open>,
}

/// A fragment that is being filled: its first picture's time, the end of its last, and whether it begins with a key
/// frame.
struct Open {
    begin: i64,
    end: i64,
    independent: bool,
}

/// What the muxer has written since it was last taken: at most one fragment.
#[derive(Clone, Default)]
struct Gathered(Arc<Mutex<Vec<u8>>>);

impl Gathered {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Gathered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Muxer {
    /// A container that writes to the response.
    pub(super) fn open(writer: BodyWriter, settings: Settings) -> Result<Self, PipelineError> {
        let at = || PipelineError::at("output");
        let (name, stream, way) = match settings.container {
            Container::Fmp4 => {
                let made = Gathered::default();
                let stream = StreamIo::from_write_with_capacity(made.clone(), BUFFER_BYTES).map_err(at())?;
                let part = settings.part.as_secs_f64();
                ("mp4", stream, Way::Boxes(Boxes { writer, made, part, video: None, open: None }))
            }
            Container::Ts => {
                let stream = StreamIo::from_write_with_capacity(writer, BUFFER_BYTES).map_err(at())?;
                ("mpegts", stream, Way::Flow(None))
            }
        };
        let output = format::output_to_stream(stream, None, Some(name)).map_err(at())?;
        Ok(Self { output, way, begun: false })
    }

    /// Whether encoders must put their parameters into the container's header.
    pub(super) fn global_header(&self) -> bool {
        self.output.format().flags().contains(format::Flags::GLOBAL_HEADER)
    }

    /// A new track; its number.
    pub(super) fn add(&mut self, encoder: &codec::Context, time_base: Rational) -> Result<usize, PipelineError> {
        let mut stream = self.output.add_stream_with(encoder).map_err(PipelineError::at("output track"))?;
        stream.set_time_base(time_base);
        let index = stream.index();
        if let (Way::Boxes(boxes), ffmpeg_next::media::Type::Video) = (&mut self.way, encoder.medium()) {
            boxes.video = Some((index, time_base));
        }
        Ok(index)
    }

    /// All tracks are there: makes the header.
    pub(super) fn begin(&mut self) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Mux);
        let mut options = Dictionary::new();
        // Flushing is decided here, not after every packet.
        options.set("flush_packets", "0");
        if matches!(self.way, Way::Boxes(_)) {
            options.set("movflags", "frag_custom+empty_moov+default_base_moof");
        }
        self.output.write_header_with(options).map_err(PipelineError::at("output header"))?;
        if let Way::Boxes(boxes) = &mut self.way
            && let Some((index, clock)) = &mut boxes.video
        {
            // The header may have changed the track's clock.
            *clock = self.output.stream(*index).map_or(*clock, |stream| stream.time_base());
        }
        Ok(())
    }

    /// Writes a packet of track `index` whose times are in `time_base`.
    pub(super) fn write(
        &mut self,
        packet: &mut Packet,
        index: usize,
        time_base: Rational,
    ) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Mux);
        packet.set_stream(index);
        let clock = self.output.stream(index).map_or(time_base, |stream| stream.time_base());
        packet.rescale_ts(time_base, clock);
        if let Way::Boxes(_) = &self.way {
            self.before(packet, index)?;
            let priming = PRIMING.rescale(AUDIO_CLOCK, clock);
            packet.set_pts(packet.pts().map(|time| time.saturating_add(priming)));
            packet.set_dts(packet.dts().map(|time| time.saturating_add(priming)));
            packet.write(&mut self.output).map_err(PipelineError::at("mux"))?;
            self.begun = true;
            return Ok(());
        }
        packet.write_interleaved(&mut self.output).map_err(PipelineError::at("mux"))?;
        self.begun = true;
        match &self.way {
            Way::Flow(Some(flushed)) if flushed.elapsed() < FLUSH_EVERY => Ok(()),
            _ => self.flush(),
        }
    }

    /// Before a packet of pictures: ends the fragment that it does not belong to.
    fn before(&mut self, packet: &Packet, index: usize) -> Result<(), PipelineError> {
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        let Some((_, clock)) = boxes.video.filter(|(video, _)| *video == index) else { return Ok(()) };
        let begin = packet.dts().unwrap_or(0);
        let end = begin.saturating_add(packet.duration().max(0));
        let independent = packet.is_key();
        match &mut boxes.open {
            Some(open) if !independent && (end - open.begin) as f64 * f64::from(clock) <= boxes.part => open.end = end,
            Some(open) => {
                // What plays until this picture begins.
                open.end = begin;
                self.cut()?;
                self.reopen(Open { begin, end, independent });
            }
            None => {
                // All tracks have shown their parameters: what stands there now is the header.
                self.flush()?;
                let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
                let header = boxes.made.take();
                boxes.writer.piece(header, PieceKind::Init).map_err(broken)?;
                self.reopen(Open { begin, end, independent });
            }
        }
        Ok(())
    }

    fn reopen(&mut self, open: Open) {
        if let Way::Boxes(boxes) = &mut self.way {
            boxes.open = Some(open);
        }
    }

    /// Ends the open fragment and sends it.
    fn cut(&mut self) -> Result<(), PipelineError> {
        // SAFETY: the context is open; without a packet the call only ends the fragment.
        let error = unsafe { ffi::av_write_frame(self.output.as_mut_ptr(), std::ptr::null_mut()) };
        if error < 0 {
            return Err(PipelineError::at("mux")(error.into()));
        }
        self.flush()?;
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        let (Some(open), Some((_, clock))) = (boxes.open.take(), boxes.video) else { return Ok(()) };
        let seconds = (open.end - open.begin) as f64 * f64::from(clock);
        let kind = PieceKind::Fragment { seconds, independent: open.independent };
        boxes.writer.piece(boxes.made.take(), kind).map_err(broken)
    }

    fn flush(&mut self) -> Result<(), PipelineError> {
        if let Way::Flow(flushed) = &mut self.way {
            *flushed = Some(Instant::now());
        }
        // SAFETY: the context is open and `pb` is the stream that it was opened with; it lives as long as the context.
        let error = unsafe {
            let pb = (*self.output.as_mut_ptr()).pb;
            ffi::avio_flush(pb);
            (*pb).error
        };
        if error < 0 { Err(PipelineError::at("output")(error.into())) } else { Ok(()) }
    }

    /// Nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        !self.begun
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Mux);
        self.cut_last()?;
        self.output.write_trailer().map_err(PipelineError::at("output trailer"))?;
        self.flush()?;
        if let Way::Boxes(boxes) = &mut self.way {
            let rest = boxes.made.take();
            if !rest.is_empty() {
                boxes.writer.piece(rest, PieceKind::Plain).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn cut_last(&mut self) -> Result<(), PipelineError> {
        match &self.way {
            Way::Boxes(boxes) if boxes.open.is_some() => self.cut(),
            _ => Ok(()),
        }
    }
}

/// The reader is gone or too slow.
fn broken(_: io::Error) -> PipelineError {
    PipelineError::Cancelled
}
