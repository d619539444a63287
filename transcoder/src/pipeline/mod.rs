//! Video in, video out, on the thread that calls [`run`].
//!
//! demux → decode → filter → encode → mux, one packet at a time, so that what is in memory is bounded by the codecs'
//! own delay, one output fragment (two seconds) and the channels at both ends. Codecs run single-threaded: one
//! stream costs one thread. Nothing here knows HTTP, and nothing touches the file system.

mod decode;
mod demux;
mod encode;
mod error;
mod filter;
mod io;
mod mux;
mod track;

pub(crate) use error::{PipelineError, UploadError};
pub(crate) use io::{BodyReader, BodyWriter, Cancel, DEPTH, Output, Piece, PieceKind};

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

/// Transcodes one upload. Blocks; ends soon after `cancel` is set.
///
/// # Errors
/// Says what is wrong with the upload, or which step failed.
pub(crate) fn run(
    upload: BodyReader,
    output: BodyWriter,
    settings: Settings,
    cancel: &Cancel,
    frames: &Counter,
) -> Result<(), PipelineError> {
    let failure = upload.failure();
    let result = transcode(upload, output, settings, cancel, frames);
    // A broken upload looks like a broken file from inside, and a client that left like either: say what came first.
    match failure.get() {
        Some(upload) => Err(PipelineError::Upload(upload.clone())),
        None if result.is_err() && cancel.is_set() => Err(PipelineError::Cancelled),
        None => result,
    }
}

fn transcode(
    upload: BodyReader,
    output: BodyWriter,
    settings: Settings,
    cancel: &Cancel,
    frames: &Counter,
) -> Result<(), PipelineError> {
    let mut input = Demuxer::open(upload, cancel)?;
    let mut muxer = Muxer::open(output, settings)?;
    let mut tracks = Vec::with_capacity(2);
    for kind in [media::Type::Video, media::Type::Audio] {
        let Some(stream) = input.best(kind) else {
            if kind == media::Type::Video {
                return Err(PipelineError::NoVideo);
            }
            continue;
        };
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
