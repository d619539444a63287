//! The response body: what the codec thread has made, in order.
//!
//! Invariant: dropping it (the client is gone, the stream was reset) ends the codec thread within milliseconds. An
//! error in the middle breaks the transfer off, so that nobody takes a torso for the whole.

use crate::pipeline::{Cancel, Output, PipelineError};
use bytes::Bytes;
use http_body::Frame;
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// The receiving end of a codec thread's output; dropping it cancels the thread.
pub(super) struct Receiver {
    pieces: mpsc::Receiver<Output>,
    cancel: Cancel,
}

impl Receiver {
    /// Of this channel, which `cancel` belongs to.
    pub(super) fn new(pieces: mpsc::Receiver<Output>, cancel: Cancel) -> Self {
        Self { pieces, cancel }
    }

    /// The first piece, or how it ended without any; `None` if the thread died.
    pub(super) async fn next(&mut self) -> Option<Output> {
        self.pieces.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.cancel.set();
    }
}

/// The rest of a stream, after its first piece.
pub(super) struct Transcoded {
    first: Option<Bytes>,
    /// Gone once the stream has ended.
    rest: Option<Receiver>,
    sent: Counter,
}

/// Why a transfer was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Pipeline(PipelineError),
    #[error("the codec thread died")]
    Died,
}

impl Transcoded {
    /// Sends `first`, then what comes.
    pub(super) fn new(first: Bytes, rest: Receiver, sent: Counter) -> Self {
        Self { first: Some(first), rest: Some(rest), sent }
    }

    fn data(&self, bytes: Bytes) -> Frame<Bytes> {
        self.sent.inc_by(bytes.len() as u64);
        Frame::data(bytes)
    }
}

impl http_body::Body for Transcoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = match (self.first.take(), &mut self.rest) {
            (Some(first), _) => return Poll::Ready(Some(Ok(self.data(first)))),
            (None, Some(rest)) => ready!(rest.pieces.poll_recv(cx)),
            (None, None) => return Poll::Ready(None),
        };
        let end = match next {
            Some(Output::Data(piece)) => {
                return Poll::Ready(Some(Ok(self.data(piece.bytes))));
            }
            Some(Output::Done) => None,
            Some(Output::Failed(error)) => {
                tracing::warn!(%error, "stream broken off");
                Some(Err(BodyError::Pipeline(error)))
            }
            None => Some(Err(BodyError::Died)),
        };
        self.rest = None;
        Poll::Ready(end)
    }
}
