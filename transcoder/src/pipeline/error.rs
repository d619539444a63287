//! What can be wrong with an upload, and what can fail on the way.

use super::Why;
use std::io;

/// Why no more of an upload came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// The transfer broke.
    #[error("the transfer broke: {0}")]
    Broken(String),
}

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    /// It was told to end; [`run`](super::run) says why.
    #[error("cancelled")]
    Cancelled,
    /// The client is gone, a deadline has passed, or the service is stopping.
    #[error("{0}")]
    Ended(Why),
    /// It would take more memory than the service may use.
    #[error("the stream needs more memory than is left of --memory-budget")]
    NoMemory,
    /// It would take more than there will ever be.
    #[error("the stream needs {needed} MiB, more than all of --memory-budget ({of} MiB): make its picture smaller")]
    MoreThanAll {
        /// MiB.
        needed: u64,
        /// MiB.
        of: u64,
    },
    /// The upload did not arrive.
    #[error("upload: {0}")]
    Upload(UploadError),
    /// The upload is empty.
    #[error("the upload is empty")]
    Empty,
    /// The container is not known, or broken at its beginning.
    #[error("the upload is not a video that can be read: {0}")]
    Unreadable(ffmpeg_next::Error),
    /// It is none of the containers that are taken.
    #[error("the upload is not a video that can be read: neither MP4, MPEG-TS, Matroska nor WebM")]
    Unrecognised,
    /// So many MiB, and no picture among them.
    #[error("the upload has no picture in its first {0} MiB")]
    NoPictureYet(u64),
    /// There is no picture in it.
    #[error("the upload has no video track")]
    NoVideo,
    /// It is something that this service does not take.
    #[error("the upload cannot be transcoded: {0}")]
    Unsupported(String),
    /// An MP4 with its index at the end that is too large to be kept.
    #[error("MP4 with its index at the end, larger than {0} MiB: move the index to the front (-movflags +faststart)")]
    TooLargeToSpool(u64),
    /// Tracks were found, but not one picture.
    #[error("the upload has a video track, but no picture could be decoded")]
    NothingDecoded,
    /// The memory for the spool could not be had.
    #[error("spool: {0}")]
    Spool(#[source] io::Error),
    /// A codec or the muxer failed on input that should have been fine.
    #[error("{step}: {source}")]
    Codec {
        /// Which one.
        step: &'static str,
        /// What it said.
        source: ffmpeg_next::Error,
    },
}

impl PipelineError {
    /// For `map_err`: which step failed.
    pub(super) fn at(step: &'static str) -> impl FnOnce(ffmpeg_next::Error) -> Self {
        move |source| match source {
            ffmpeg_next::Error::Exit => Self::Cancelled,
            source => Self::Codec { step, source },
        }
    }
}

/// What a codec that is asked for more answers.
pub(super) enum Polled {
    /// Here it is.
    Ready,
    /// It wants input first.
    Starved,
    /// There is no more.
    Ended,
}

impl Polled {
    /// Sorts the two answers that are no errors from those that are.
    pub(super) fn from(result: Result<(), ffmpeg_next::Error>) -> Result<Self, ffmpeg_next::Error> {
        match result {
            Ok(()) => Ok(Self::Ready),
            Err(ffmpeg_next::Error::Eof) => Ok(Self::Ended),
            Err(ffmpeg_next::Error::Other { errno }) if errno == libc::EAGAIN => Ok(Self::Starved),
            Err(error) => Err(error),
        }
    }
}
