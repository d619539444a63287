//! The response body: what the codec thread has made, in order.
//!
//! Invariant: dropping it (the client is gone, the stream was reset) ends the codec thread within milliseconds. An
//! error in the middle breaks the transfer off, so that nobody takes a torso for the whole. It leaves in frames of at
//! most [`FRAME`], so that what a slow reader takes is seen, and little waits behind a window that is closed.

use super::deadlines::Clocks;
use super::limits::FRAME;
use super::stream::Owner;
use super::transfer;
use crate::pipeline::{Cancel, Output, PipelineError, Why};
use bytes::Bytes;
use http_body::Frame;
use prometheus_client::metrics::counter::Counter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// The receiving end of a stream; dropping it ends the stream.
pub(super) struct Receiver {
    pieces: mpsc::Receiver<Output>,
    owner: Arc<Owner>,
}

impl Receiver {
    /// Of this channel, which belongs to `owner`.
    pub(super) fn new(pieces: mpsc::Receiver<Output>, owner: Arc<Owner>) -> Self {
        Self { pieces, owner }
    }

    /// What ends the stream, and knows why it ended.
    pub(super) fn cancel(&self) -> Cancel {
        self.owner.cancel.clone()
    }

    /// The next piece, or how it ended; `None` if the thread died. A stream that was ended from outside says so at
    /// once, however long its codec takes to notice.
    pub(super) async fn next(&mut self) -> Option<Output> {
        let next = tokio::select! {
            biased;
            next = self.pieces.recv() => next,
            why = self.owner.cancel.cancelled() => Some(Output::Failed(PipelineError::Ended(why))),
        };
        if let Some(Output::Data(_)) = next {
            self.owner.clocks.first_byte();
        }
        next
    }

    /// Its result is the answer of the request that is worked on: if the stream is ended while nobody reads that, the
    /// transfer is broken off.
    pub(super) fn answers_this_request(&self) {
        if let Some(transfer) = transfer::current() {
            // Set once: a stream has one answer.
            self.owner.answer.set(transfer).unwrap_or_default();
        }
    }

    /// Its deadlines.
    pub(super) fn clocks(&self) -> &Clocks {
        &self.owner.clocks
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.owner.cancel.set(Why::Gone);
    }
}

type Ending = Pin<Box<dyn Future<Output = Why> + Send>>;

/// The rest of a stream, after its first piece.
pub(super) struct Transcoded {
    /// Of the last piece, not sent yet.
    current: Bytes,
    /// Gone once the stream has ended.
    rest: Option<Receiver>,
    ended: Ending,
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
        let cancel = rest.owner.cancel.clone();
        rest.answers_this_request();
        Self { current: first, ended: Box::pin(async move { cancel.cancelled().await }), rest: Some(rest), sent }
    }

    /// The next frame of the current piece.
    fn frame(&mut self, clocks: &Clocks) -> Frame<Bytes> {
        let bytes = self.current.split_to(self.current.len().min(FRAME));
        self.sent.inc_by(bytes.len() as u64);
        clocks.given(bytes.len());
        Frame::data(bytes)
    }
}

/// Tells that a transfer is broken off; its span learns it by itself.
fn tell(why: &dyn std::fmt::Display) {
    tracing::warn!(error = %why, "stream broken off");
}

impl http_body::Body for Transcoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        let owner = rest.owner.clone();
        owner.clocks.asked();
        if this.current.is_empty() {
            let next = match (rest.pieces.poll_recv(cx), this.ended.as_mut().poll(cx)) {
                (Poll::Ready(next), _) => next,
                (Poll::Pending, ended) => Some(Output::Failed(PipelineError::Ended(ready!(ended)))),
            };
            let end = match next {
                Some(Output::Data(piece)) => {
                    this.current = piece.bytes;
                    return Poll::Ready(Some(Ok(this.frame(&owner.clocks))));
                }
                Some(Output::Done) => None,
                Some(Output::Failed(error)) => {
                    tell(&error);
                    Some(Err(BodyError::Pipeline(error)))
                }
                None => {
                    tell(&BodyError::Died);
                    Some(Err(BodyError::Died))
                }
            };
            this.rest = None;
            return Poll::Ready(end);
        }
        Poll::Ready(Some(Ok(this.frame(&owner.clocks))))
    }
}

impl Drop for Transcoded {
    fn drop(&mut self) {
        // Broken off while the client did not read, and so did not ask either.
        if let Some(rest) = &self.rest
            && let Some(why) = rest.owner.cancel.why().filter(|why| *why != Why::Gone)
        {
            tell(&why);
        }
    }
}
