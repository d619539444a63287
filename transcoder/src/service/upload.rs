//! The request body's way to the codec thread.

use super::limits::UPLOAD_IDLE;
use crate::pipeline::UploadError;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use prometheus_client::metrics::counter::Counter;
use snowshed_guard::drain;
use tokio::sync::mpsc;

/// Hands the upload on, piece by piece. Ends when the upload or the codec does; what the client then still sends is
/// read off for a moment, so that it sees the answer.
pub(super) async fn pump(mut body: Body, pieces: mpsc::Sender<Result<Bytes, UploadError>>, received: Counter) {
    loop {
        let next = tokio::select! {
            () = pieces.closed() => {
                drain::rest_of(body).await;
                return;
            }
            next = tokio::time::timeout(UPLOAD_IDLE, body.frame()) => next,
        };
        let piece = match next {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => Ok(piece),
                // Trailers.
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Err(UploadError::Broken(error.to_string())),
            Err(_) => Err(UploadError::Idle(UPLOAD_IDLE.as_secs())),
        };
        received.inc_by(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        let last = piece.is_err();
        // A codec that has ended is noticed at the top of the loop.
        let gone = pieces.send(piece).await.is_err();
        if last && !gone {
            return;
        }
    }
}
