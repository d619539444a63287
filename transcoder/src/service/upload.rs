//! The request body's way to the codec thread.

use super::deadlines::Patience;
use super::limits::HANGUP_LOOK;
use super::transfer::Transfer;
use crate::pipeline::{Cancel, UploadError, Why};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use prometheus_client::metrics::counter::Counter;
use snowshed_guard::drain;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// What an upload hands its pieces to, and what it watches meanwhile.
pub(super) struct Upload {
    /// To the codec thread.
    pub(super) pieces: mpsc::Sender<Result<Bytes, UploadError>>,
    /// Of the stream.
    pub(super) cancel: Cancel,
    /// That the upload comes on.
    pub(super) transfer: Option<Transfer>,
    /// The longest that it may stand still.
    pub(super) idle: Duration,
    /// Bytes.
    pub(super) received: Counter,
}

impl Upload {
    /// Hands the upload on, piece by piece. Ends when the upload or the stream does; what the client then still sends
    /// is read off for a moment, so that it sees the answer.
    pub(super) async fn pump(self, mut body: Body) {
        let mut patience = Patience::new(self.idle);
        loop {
            let began = Instant::now();
            let next = tokio::select! {
                biased;
                _ = self.cancel.cancelled() => return drain::in_background(body),
                () = self.pieces.closed() => return drain::in_background(body),
                next = timeout(patience.left(), body.frame()) => next,
            };
            let piece = match next {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => piece,
                    // Trailers.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => {
                    // A codec that waits is told in words. One that is busy does not come to the end of what has arrived:
                    // nobody is there to read it.
                    self.pieces.try_send(Err(UploadError::Broken(error.to_string()))).unwrap_or_default();
                    self.cancel.set(Why::Broken);
                    return;
                }
                Err(_) => {
                    self.cancel.set(Why::UploadIdle(self.idle));
                    continue;
                }
            };
            patience.spend(began.elapsed(), piece.len());
            self.received.inc_by(piece.len() as u64);
            self.hand_over(piece).await;
        }
    }

    /// Waits until the codec has room, or the stream has ended. Over HTTP/1.1 nobody reads the connection meanwhile, so
    /// a client that leaves is looked for.
    async fn hand_over(&self, piece: Bytes) {
        let mut sending = std::pin::pin!(self.pieces.send(Ok(piece)));
        loop {
            tokio::select! {
                biased;
                _ = self.cancel.cancelled() => return,
                // A codec that has ended is noticed by who hands over next.
                _ = &mut sending => return,
                () = tokio::time::sleep(HANGUP_LOOK), if self.transfer.is_some() => {}
            }
            if let Some(transfer) = &self.transfer
                && transfer.is_hung_up()
            {
                self.cancel.set(Why::Gone);
                transfer.cut();
            }
        }
    }
}
