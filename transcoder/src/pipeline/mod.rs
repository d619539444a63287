//! Video in, video out, on the thread that calls [`run`].
//!
//! demux → decode → filter → encode → mux, one packet at a time, so that what is in memory is bounded by the codecs'
//! own delay, one output fragment (two seconds) and the channels at both ends. Codecs run single-threaded: one
//! stream costs one thread. Nothing here knows HTTP, and nothing touches the file system.

mod cancel;
mod cost;
mod decode;
mod demux;
mod encode;
mod error;
mod filter;
mod io;
mod mux;
mod stage;
mod track;

pub(crate) use cancel::{Cancel, Why};
pub(crate) use cost::{UNKNOWN, cost};
pub(crate) use error::{PipelineError, UploadError};
pub(crate) use io::{BodyReader, BodyWriter, DEPTH, Output, Piece, PieceKind};

use demux::Demuxer;
use ffmpeg_next::media;
use mux::Muxer;
use prometheus_client::metrics::counter::Counter;
use std::time::Duration;
use track::Track;

/// Containers that this version makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Fragmented MP4.
    Fmp4,
    /// MPEG transport stream.
    Ts,
}

impl Container {
    /// All of them, by the name that requests use.
    pub(crate) const ALL: [(&'static str, Self); 2] = [("fmp4", Self::Fmp4), ("ts", Self::Ts)];

    /// The media type of the output.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Fmp4 => "video/mp4",
            Self::Ts => "video/mp2t",
        }
    }
}

/// What to make of the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The container.
    pub(crate) container: Container,
    /// Lines of the output, even.
    pub(crate) height: u32,
    /// x264's speed.
    pub(crate) preset: &'static str,
    /// Between two key frames, and so the length of a segment.
    pub(crate) segment: Duration,
    /// The longest fragment: what a viewer of fragmented MP4 waits for.
    pub(crate) part: Duration,
}

/// x264's presets that a shared machine can afford, fastest first.
pub(crate) const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];

/// Asks for room for so many bytes in all; false if there is none.
pub(crate) type Grow<'a> = &'a dyn Fn(u64) -> bool;

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
    let result = stage::run(|| transcode(upload, output, settings, cancel, frames, grow));
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
    let mut input = Demuxer::open(upload, cancel, &|kept| grow(kept.saturating_add(cost(&settings, UNKNOWN))))?;
    let mut muxer = Muxer::open(output, settings)?;
    let mut tracks = Vec::with_capacity(2);
    for kind in [media::Type::Video, media::Type::Audio] {
        let Some(stream) = input.best(kind) else {
            if kind == media::Type::Video {
                return Err(PipelineError::NoVideo);
            }
            continue;
        };
        if kind == media::Type::Video && !grow(input.kept().saturating_add(cost(&settings, picture_size(&stream)))) {
            return Err(PipelineError::NoMemory);
        }
        match Track::open(&stream, input.origin(), settings, &mut muxer) {
            Ok(track) => tracks.push(track),
            // A picture without its sound is better than none.
            Err(error @ PipelineError::Unsupported(_)) if kind == media::Type::Audio => {
                tracing::info!(%error, "sound left out");
            }
            Err(error) => return Err(error),
        }
    }
    muxer.begin()?;
    while let Some(packet) = input.next_packet()? {
        if cancel.is_set() {
            return Err(PipelineError::Cancelled);
        }
        if let Some(track) = tracks.iter_mut().find(|track| track.reads(&packet)) {
            track.push(packet, &mut muxer, cancel)?;
            frames.inc_by(track.take_frames());
        }
    }
    for track in &mut tracks {
        track.finish(&mut muxer, cancel)?;
        frames.inc_by(track.take_frames());
    }
    if muxer.is_empty() {
        return Err(PipelineError::NothingDecoded);
    }
    muxer.finish()
}

/// What the container says of the pictures' size.
fn picture_size(stream: &ffmpeg_next::Stream<'_>) -> (u32, u32) {
    let parameters = stream.parameters();
    // SAFETY: the parameters live as long as the stream; the fields are plain integers.
    let (width, height) = unsafe { ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height) };
    (width.unsigned_abs(), height.unsigned_abs())
}
