//! Video in, video out, on the thread that calls [`run`].
//!
//! demux → decode → filter → encode → mux, one packet at a time, so that what is in memory is bounded by the codecs'
//! own delay, one output fragment and the channels at both ends. Codecs run single-threaded unless
//! [`Settings::threads`] says more: one stream costs one thread. Nothing here knows HTTP, and nothing touches the file
//! system.
//!
//! What an upload is, its content decides, and each thing as late as it can be: the tracks when their first packets
//! are there, the output's shape when the first picture is decoded.

mod cancel;
mod clock;
mod container;
mod cost;
mod decode;
mod demux;
mod encode;
mod error;
mod filter;
mod intake;
mod io;
mod memory;
mod mux;
mod picture;
mod prologue;
mod rota;
mod sound;
mod stage;
mod turn;

pub(crate) use cancel::{Cancel, Why};
pub(crate) use cost::{UNKNOWN, cost};
pub(crate) use error::{PipelineError, UploadError};
pub(crate) use io::{BodyReader, BodyWriter, DEPTH, Output, Piece, PieceKind};
pub(crate) use rota::Rota;

use demux::Demuxer;
use ffmpeg_next::Packet;
use mux::Muxer;
use picture::Picture;
use prologue::Prologue;
use prometheus_client::metrics::counter::Counter;
use sound::Sound;
use std::time::Duration;

/// Containers that this version makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Fragmented MP4.
    Fmp4,
    /// MPEG transport stream.
    Ts,
}

impl Container {
    /// The media type of the output.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Fmp4 => "video/mp4",
            Self::Ts => "video/mp2t",
        }
    }
}

/// What to make of the upload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// The container.
    pub(crate) container: Container,
    /// Lines of the output, even.
    pub(crate) height: u32,
    /// x264's speed.
    pub(crate) preset: &'static str,
    /// What decides about the picture's size in bytes.
    pub(crate) quality: Quality,
    /// The length of a segment, where the output is delivered in segments: a whole number of `gop`.
    pub(crate) segment: Duration,
    /// Between two key frames.
    pub(crate) gop: Duration,
    /// The longest fragment: what a viewer of fragmented MP4 waits for.
    pub(crate) part: Duration,
    /// Threads that decoder, filter and encoder may each use beside the stream's own; 1: none.
    pub(crate) threads: u32,
}

/// What decides about the picture's size in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quality {
    /// x264's constant rate factor.
    Constant(f32),
    /// Bits a second, which no second exceeds.
    Bitrate(u32),
}

/// x264's presets that a shared machine can afford, fastest first.
pub(crate) const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];

/// Asks for room for so many bytes in all; false if there is none.
pub(crate) type Grow<'a> = &'a dyn Fn(u64) -> Result<(), PipelineError>;

/// Transcodes one upload. Blocks; ends soon after `cancel` is set. `grow` is asked once the real need is known.
///
/// # Errors
/// Says what is wrong with the upload, or which step failed.
pub(crate) fn run(
    upload: BodyReader,
    output: BodyWriter,
    settings: Settings,
    cancel: &Cancel,
    frames: &Counter,
    grow: Grow<'_>,
) -> Result<(), PipelineError> {
    let failure = upload.failure();
    let result = cancel.in_turns(|| stage::run(|| transcode(upload, output, settings, cancel, frames, grow)));
    // A broken upload looks like a broken file from inside, and a client that left like either: say what came first.
    match failure.get() {
        Some(upload) => Err(PipelineError::Upload(upload.clone())),
        None => match (result, cancel.why()) {
            (Err(_), Some(why)) => Err(PipelineError::Ended(why)),
            (result, _) => result,
        },
    }
}

fn transcode(
    upload: BodyReader,
    output: BodyWriter,
    settings: Settings,
    cancel: &Cancel,
    frames: &Counter,
    grow: Grow<'_>,
) -> Result<(), PipelineError> {
    memory::bound_allocations();
    let mut input = Demuxer::open(upload, cancel, &|kept| grow(kept.saturating_add(cost(&settings, UNKNOWN))))?;
    let Prologue { mut packets, video, sound, mut clock } = Prologue::read(&mut input)?;
    let stream = input.track(video).ok_or(PipelineError::NoVideo)?;
    let base = stream.time_base();
    let sound_base = sound.and_then(|sound| input.track(sound)).map(|stream| stream.time_base());
    let mut work = Work {
        picture: Picture::open(&stream, settings)?,
        sound: None,
        muxer: Muxer::open(output, settings)?,
        early: Vec::new(),
        settings,
        cancel,
        frames,
        grow,
    };
    loop {
        let packet = match packets.pop_front() {
            Some(packet) => Some(packet),
            None => input.next_packet()?,
        };
        let Some(mut packet) = packet else { break };
        if packet.stream() == video {
            clock.set(&mut packet, 0, base);
            if work.picture.push(&packet)? {
                work.pictures(&input, sound)?;
            }
        } else if let (true, Some(base)) = (Some(packet.stream()) == sound, sound_base) {
            clock.set(&mut packet, 1, base);
            work.samples(packet)?;
        }
    }
    work.picture.end();
    work.pictures(&input, sound)?;
    work.finish()
}

/// Both tracks on their way into the output.
struct Work<'a> {
    picture: Picture,
    sound: Option<Sound>,
    muxer: Muxer,
    /// Sound that came before the first picture. The demuxer's allowance bounds it.
    early: Vec<Packet>,
    settings: Settings,
    cancel: &'a Cancel,
    frames: &'a Counter,
    grow: Grow<'a>,
}

impl Work<'_> {
    /// Takes the pictures that the decoder has ready through; the first of them makes the output.
    fn pictures(&mut self, input: &Demuxer, sound: Option<usize>) -> Result<(), PipelineError> {
        while self.picture.decode()? {
            if self.cancel.is_set() {
                return Err(PipelineError::Cancelled);
            }
            let first = !self.picture.is_open();
            if first {
                input.trust();
                self.begin(input, sound)?;
            }
            self.picture.take(&mut self.muxer, self.cancel)?;
            self.frames.inc_by(self.picture.take_frames());
            for packet in std::mem::take(&mut self.early) {
                self.samples(packet)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, input: &Demuxer, sound: Option<usize>) -> Result<(), PipelineError> {
        (self.grow)(input.kept().saturating_add(cost(&self.settings, self.picture.size())))?;
        self.picture.begin(&mut self.muxer)?;
        if let Some(stream) = sound.and_then(|sound| input.track(sound)) {
            match Sound::open(&stream, &mut self.muxer) {
                Ok(sound) => self.sound = Some(sound),
                // A picture without its sound is better than none.
                Err(PipelineError::Unsupported(why)) => tracing::info!(%why, "sound left out"),
                Err(error) => return Err(error),
            }
        }
        self.muxer.begin()
    }

    fn samples(&mut self, packet: Packet) -> Result<(), PipelineError> {
        match &mut self.sound {
            Some(sound) => sound.push(&packet, &mut self.muxer, self.cancel),
            None if !self.picture.is_open() => {
                self.early.push(packet);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(), PipelineError> {
        if !self.picture.is_open() {
            return Err(PipelineError::NothingDecoded);
        }
        self.picture.finish(&mut self.muxer, self.cancel)?;
        self.frames.inc_by(self.picture.take_frames());
        if let Some(sound) = &mut self.sound {
            sound.finish(&mut self.muxer, self.cancel)?;
        }
        if self.muxer.is_empty() {
            return Err(PipelineError::NothingDecoded);
        }
        self.muxer.finish()
    }
}
