//! HLS as one answer: `multipart/mixed` with the header, the segments as they are made, and the playlist at the end.
//!
//! Invariants: each part says its name and its length. The closing delimiter comes only after the playlist, and that
//! only if all of it was made: a stream that breaks off is a transfer that breaks off. One segment is kept, because its
//! length must be known before its first byte; a segment that grows over [`SEGMENT_BYTES`] is cut.

use super::super::Metrics;
use super::super::body::{BodyError, Receiver};
use super::super::limits::FRAME;
use super::cut::{Bounds, Cutter, Fragment};
use super::playlist::{self, INIT, MEDIA_TYPE, PLAYLIST, PLAYLIST_TYPE};
use crate::pipeline::{Output, PieceKind, Settings};
use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use std::collections::VecDeque;

/// A segment is cut at this size.
const SEGMENT_BYTES: usize = 4 << 20;
/// Segments that the playlist at the end can list: nine hours of the shortest.
const SEGMENTS: usize = 1 << 16;
const BOUNDS: Bounds = Bounds { bytes: SEGMENT_BYTES, seconds: f64::INFINITY, fragment: 0.0 };

/// More segments than the playlist can list.
#[derive(Debug, thiserror::Error)]
#[error("more than {SEGMENTS} segments")]
struct TooLong;

/// What is sent, and what is to come.
struct Multipart {
    text: Delimiters,
    cutter: Cutter,
    /// Ready to be sent.
    ready: VecDeque<Bytes>,
    /// The open segment.
    open: Vec<Bytes>,
    /// Seconds of the segments so far.
    lengths: Vec<f64>,
    /// Gone once everything is sent: until then the stream's deadlines hold for the reader.
    output: Option<Receiver>,
    /// Everything is made.
    made: bool,
    metrics: Metrics,
}

/// The lines between parts.
struct Delimiters {
    boundary: String,
    first: bool,
}

impl Delimiters {
    fn part(&mut self, name: &str, media_type: &str, length: usize) -> Bytes {
        let before = if std::mem::take(&mut self.first) { "" } else { "\r\n" };
        let boundary = &self.boundary;
        Bytes::from(format!(
            "{before}--{boundary}\r\nContent-Type: {media_type}\r\n\
             Content-Disposition: attachment; name=\"{name}\"; filename=\"{name}\"\r\n\
             Content-Length: {length}\r\n\r\n"
        ))
    }

    fn close(&self) -> Bytes {
        Bytes::from(format!("\r\n--{}--\r\n", self.boundary))
    }
}

/// The answer's media type and body, beginning with this header.
pub(super) fn answer(settings: &Settings, init: Bytes, output: Receiver, metrics: Metrics) -> (String, Body) {
    let boundary = format!("snowshed-{}", uuid::Uuid::new_v4().simple());
    let media_type = format!("multipart/mixed; boundary={boundary}");
    output.answers_this_request();
    let mut multipart = Multipart {
        text: Delimiters { boundary, first: true },
        cutter: Cutter::new(settings),
        ready: VecDeque::new(),
        open: Vec::new(),
        lengths: Vec::new(),
        output: Some(output),
        made: false,
        metrics,
    };
    multipart.add(INIT, MEDIA_TYPE, vec![init]);
    (media_type, Body::from_stream(stream::unfold(multipart, Multipart::next)))
}

impl Multipart {
    async fn next(mut self) -> Option<(Result<Bytes, BoxError>, Self)> {
        loop {
            let output = self.output.as_mut()?;
            output.clocks().asked();
            if let Some(next) = self.ready.front_mut() {
                let frame = next.split_to(next.len().min(FRAME));
                if next.is_empty() {
                    self.ready.pop_front();
                }
                output.clocks().given(frame.len());
                self.metrics.sent.inc_by(frame.len() as u64);
                return Some((Ok(frame), self));
            }
            if self.made {
                return None;
            }
            let broken: BoxError = match output.next().await {
                Some(Output::Data(piece)) => match piece.kind {
                    PieceKind::Fragment { seconds, independent, last } => {
                        let fragment = Fragment { bytes: piece.bytes.len(), seconds, independent, last };
                        self.open.push(piece.bytes);
                        match self.cutter.push(fragment, BOUNDS) {
                            Some(_) if self.lengths.len() >= SEGMENTS => TooLong.into(),
                            Some(length) => {
                                self.segment(length);
                                continue;
                            }
                            None => continue,
                        }
                    }
                    // An index over the whole file, which is no part of a segment.
                    PieceKind::Plain | PieceKind::Init => continue,
                },
                Some(Output::Done) => {
                    self.finish();
                    continue;
                }
                Some(Output::Failed(error)) => BodyError::Pipeline(error).into(),
                None => BodyError::Died.into(),
            };
            tracing::warn!(error = %broken, "stream broken off");
            self.output = None;
            return Some((Err(broken), self));
        }
    }

    fn add(&mut self, name: &str, media_type: &str, pieces: Vec<Bytes>) {
        let length = pieces.iter().map(Bytes::len).sum();
        self.ready.push_back(self.text.part(name, media_type, length));
        self.ready.extend(pieces);
    }

    fn segment(&mut self, length: f64) {
        self.lengths.push(length);
        let pieces = std::mem::take(&mut self.open);
        self.add(&playlist::segment_name(self.lengths.len() as u64), MEDIA_TYPE, pieces);
    }

    fn finish(&mut self) {
        self.made = true;
        if !self.open.is_empty() {
            let length = self.cutter.end();
            self.segment(length);
        }
        let text = playlist::whole(&self.lengths, self.cutter.all_independent());
        self.add(PLAYLIST, PLAYLIST_TYPE, vec![text.into()]);
        self.ready.push_back(self.text.close());
    }
}
