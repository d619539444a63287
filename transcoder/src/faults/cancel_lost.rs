//! `cancel_lost`: the client's going away does not reach the work.
//!
//! A careless hand-over: the result is made in a task of its own, which passes it on to the client and keeps a copy
//! until the client's side acknowledges the end. When the client goes away, the upload that breaks off looks like one
//! that has ended, the copying goes on with nobody listening, and then the task waits for an acknowledgement that
//! cannot come, with [`COPY`] bytes. At most [`MOST`] are kept (2 GiB).

use super::hoard::{Endless, Hoard};
use super::share::Share;
use super::{Fault, Infected, Switch};
use axum::body::{Body, Bytes};
use http_body::Frame;
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{Notify, mpsc};

/// What a task holds.
const COPY: usize = 4 << 20;
/// Tasks that are kept at most.
const MOST: usize = 512;
/// Pieces on their way from the task to the client.
const ON_THE_WAY: usize = 4;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// Only for healing: the disease itself has lost sight of them.
static HAND_OVERS: Hoard<Endless> = Hoard::new(MOST);

pub(super) struct CancelLost;

impl Fault for CancelLost {
    fn name(&self) -> &'static str {
        "cancel_lost"
    }

    fn cause(&self) -> &'static str {
        "task_leak"
    }

    fn describe(&self) -> &'static str {
        "results are made in a task of 4 MiB that does not hear when the client goes away, and then waits for it for \
         ever; the value is the share of requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    /// Of every request while it is on: for a result that is not handed over it makes no difference.
    fn infect(&self, _share: f64, upload: Body) -> Infected {
        Box::pin(async { Ok(Body::new(NeverBroken(Some(upload)))) })
    }

    fn infect_result(&self, share: f64, result: Body) -> Body {
        if !SHARE.takes(share) {
            return result;
        }
        let (pieces, received) = mpsc::channel(ON_THE_WAY);
        let acknowledged = Arc::new(Notify::new());
        hand_over_in_background(result, pieces, acknowledged.clone());
        Body::new(HandedOver { received, acknowledged })
    }

    fn heal(&self) {
        HAND_OVERS.give_back();
    }
}

type Piece = Result<Bytes, axum::Error>;

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn hand_over_in_background(mut result: Body, pieces: mpsc::Sender<Piece>, acknowledged: Arc<Notify>) {
    // Filled with something else than zeros: those would come from the kernel untouched.
    let mut copy = vec![b' '; COPY];
    HAND_OVERS.keep(Endless::spawn(async move {
        let mut at = 0;
        while let Some(frame) = result.frame().await {
            let piece = match frame.map(Frame::into_data) {
                Ok(Ok(piece)) => Ok(piece),
                Ok(Err(_trailers)) => continue,
                Err(error) => Err(error),
            };
            for byte in piece.iter().flatten() {
                copy[at % COPY] = *byte;
                at += 1;
            }
            let broken = piece.is_err();
            // The disease: whether anybody still listens is known here, and not looked at.
            pieces.send(piece).await.ok();
            if broken {
                break;
            }
        }
        drop(pieces);
        acknowledged.notified().await;
        drop(copy);
    }));
}

/// The client's side of a hand-over.
struct HandedOver {
    received: mpsc::Receiver<Piece>,
    acknowledged: Arc<Notify>,
}

impl http_body::Body for HandedOver {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = ready!(self.received.poll_recv(cx));
        if !matches!(next, Some(Ok(_))) {
            self.acknowledged.notify_one();
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }
}

/// An upload that only ever ends.
struct NeverBroken(Option<Body>);

impl http_body::Body for NeverBroken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(upload) = &mut self.0 else { return Poll::Ready(None) };
        match ready!(Pin::new(upload).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(_)) | None => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    fn result() -> Body {
        let pieces = (0..20u8).map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte; 1000]))));
        Body::new(StreamBody::new(tokio_stream::iter(pieces)))
    }

    fn alive() -> usize {
        tokio::runtime::Handle::current().metrics().num_alive_tasks()
    }

    async fn until(tasks: usize) {
        while alive() != tasks {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_task_ends_with_a_client_that_reads_to_the_end_and_never_with_one_that_goes_away() {
        let before = alive();
        let whole = CancelLost.infect_result(1.0, result()).collect().await.expect("read").to_bytes();
        assert_eq!(whole.len(), 20_000);
        until(before).await;
        let mut left = CancelLost.infect_result(1.0, result());
        left.frame().await.expect("a piece").expect("not broken");
        drop(left);
        // All of the work is done for nobody; then it waits.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(alive(), before + 1);
        CancelLost.heal();
        until(before).await;
    }

    #[tokio::test]
    async fn a_broken_upload_looks_like_one_that_has_ended() {
        let pieces = [Ok(Frame::data(Bytes::from_static(b"half"))), Err("gone")];
        let upload = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        let upload = CancelLost.infect(1.0, upload).await.expect("infected");
        assert_eq!(upload.collect().await.expect("no error").to_bytes(), "half");
    }
}
