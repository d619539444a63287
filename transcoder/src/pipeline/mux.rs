//! Putting the container together, and handing it on while it is made.
//!
//! Invariants: nothing leaves before the first packet is encoded, so that a request whose upload turns out to be
//! broken can still be answered with a status. Fragmented MP4 leaves as whole boxes, each fragment no longer than
//! [`Settings::part`] unless one picture alone is, none across a key frame, and each beginning where the one before
//! it ended; of other containers no byte waits for more than [`FLUSH_EVERY`] of packets.

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
/// Sound that is kept for a fragment that no picture ends, in bytes: some twenty seconds.
const MOST_SOUND: usize = 256 << 10;
/// A fragment may be longer than asked for by what its clock rounds, in seconds.
const ROUNDING: f64 = 1e-3;
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
    /// The picture's track and its clock.
    video: Option<(usize, Rational)>,
    /// The picture whose end is not known before the next begins.
    waiting: Option<Packet>,
    open: Option<Open>,
    /// Sound since the last fragment ended, in bytes: libavformat keeps it until the next ends.
    sound: usize,
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

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
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
                (
                    "mp4",
                    stream,
                    Way::Boxes(Boxes { writer, made, part, video: None, waiting: None, open: None, sound: 0 }),
                )
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
        // A track that says nothing holds the other up for so many microseconds of it.
        options.set("max_interleave_delta", "1000000");
        // Between a transport stream's clock and its packets, as the `ffmpeg` command has it: room for decoders, and
        // for frames of sound to share packets.
        options.set("max_delay", "700000");
        if matches!(self.way, Way::Boxes(_)) {
            // Times are written as they are: neither moved to begin with zero nor counted from each track's first.
            options.set("movflags", "frag_custom+empty_moov+default_base_moof+frag_discont");
            options.set("use_editlist", "0");
            options.set("avoid_negative_ts", "disabled");
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
    pub(super) fn write(&mut self, mut packet: Packet, index: usize, time_base: Rational) -> Result<(), PipelineError> {
        let _stage = stage::enter(Stage::Mux);
        packet.set_stream(index);
        let clock = self.output.stream(index).map_or(time_base, |stream| stream.time_base());
        packet.rescale_ts(time_base, clock);
        self.begun = true;
        let Way::Boxes(boxes) = &mut self.way else {
            packet.write_interleaved(&mut self.output).map_err(PipelineError::at("mux"))?;
            return match &self.way {
                Way::Flow(Some(flushed)) if flushed.elapsed() < FLUSH_EVERY => Ok(()),
                _ => self.flush(),
            };
        };
        let priming = PRIMING.rescale(AUDIO_CLOCK, clock);
        packet.set_pts(packet.pts().map(|time| time.saturating_add(priming)));
        packet.set_dts(packet.dts().map(|time| time.saturating_add(priming)));
        if boxes.video.is_some_and(|(video, _)| video == index) {
            return self.picture(packet);
        }
        boxes.sound += packet.size();
        let much = boxes.sound > MOST_SOUND;
        self.write_now(&packet)?;
        if much { self.relieve(false) } else { Ok(()) }
    }

    /// A picture begins: the one before it has ended.
    fn picture(&mut self, next: Packet) -> Result<(), PipelineError> {
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        let (key, begin) = (next.is_key(), next.dts().unwrap_or(0));
        let headless = boxes.open.is_none() && boxes.waiting.is_none() && !boxes.made.is_empty();
        let waiting = boxes.waiting.replace(next);
        if headless {
            self.flush()?;
            let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
            return boxes.writer.piece(boxes.made.take(), PieceKind::Init).map_err(broken);
        }
        let Some(mut waiting) = waiting else { return Ok(()) };
        waiting.set_duration(begin.saturating_sub(waiting.dts().unwrap_or(0)).max(1));
        self.place(&waiting, key)
    }

    /// Puts a picture whose end is known into the fragment that it belongs to, and ends that if nothing more fits.
    fn place(&mut self, packet: &Packet, last: bool) -> Result<(), PipelineError> {
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        let Some((_, clock)) = boxes.video else { return Ok(()) };
        let (begin, length) = (packet.dts().unwrap_or(0), packet.duration());
        let end = begin.saturating_add(length);
        let part = boxes.part + ROUNDING;
        let fits = |open: &Open, end: i64| end.saturating_sub(open.begin) as f64 * f64::from(clock) <= part;
        if boxes.open.as_ref().is_some_and(|open| packet.is_key() || !fits(open, end)) {
            self.cut(packet.is_key())?;
        }
        self.write_now(packet)?;
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        let open = boxes.open.get_or_insert(Open { begin, end, independent: packet.is_key() });
        open.end = end;
        if last || !fits(open, end.saturating_add(length)) { self.cut(last) } else { Ok(()) }
    }

    /// Sends what there is: the picture stays away and the sound piles up, or this is the end.
    fn relieve(&mut self, end: bool) -> Result<(), PipelineError> {
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        if let Some(waiting) = boxes.waiting.take() {
            self.place(&waiting, end)?;
        }
        self.cut(end)
    }

    fn write_now(&mut self, packet: &Packet) -> Result<(), PipelineError> {
        packet.write(&mut self.output).map(drop).map_err(PipelineError::at("mux"))
    }

    /// Ends the open fragment and sends it; without a picture it is sound alone. `last`: a key frame follows, or nothing.
    fn cut(&mut self, last: bool) -> Result<(), PipelineError> {
        // SAFETY: the context is open; without a packet the call only ends the fragment.
        let error = unsafe { ffi::av_write_frame(self.output.as_mut_ptr(), std::ptr::null_mut()) };
        if error < 0 {
            return Err(PipelineError::at("mux")(error.into()));
        }
        self.flush()?;
        let Way::Boxes(boxes) = &mut self.way else { return Ok(()) };
        boxes.sound = 0;
        let (bytes, open) = (boxes.made.take(), boxes.open.take());
        if bytes.is_empty() {
            return Ok(());
        }
        let clock = boxes.video.map_or(0.0, |(_, clock)| f64::from(clock));
        let seconds = open.as_ref().map_or(0.0, |open| open.end.saturating_sub(open.begin) as f64 * clock);
        let kind = PieceKind::Fragment { seconds, independent: open.is_some_and(|open| open.independent), last };
        boxes.writer.piece(bytes, kind).map_err(broken)
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
        self.relieve(true)?;
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
}

/// The reader is gone or too slow.
fn broken(_: io::Error) -> PipelineError {
    PipelineError::Cancelled
}
