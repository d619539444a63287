//! An upload at the pace of a camera: bytes become available with time, in small pieces.
//!
//! Invariant: once its [`Watcher`] is gone, the upload breaks off within one piece's time, and the stream is reset.
//! Cost: one timer and no copy a piece; HTTP/2's flow control may slow it down further, never speed it up.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::{
    future::Future as _,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How often a piece is sent.
const PIECE: Duration = Duration::from_millis(50);

/// Kept by the one who still wants the answer. HTTP/2 would go on uploading after the answer has been given up.
pub(super) type Watcher = Arc<()>;

/// The client went away.
#[derive(Debug)]
pub(super) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client went away")
    }
}

impl std::error::Error for Gone {}

/// The bytes of a video over some time.
pub(super) struct Paced {
    left: Bytes,
    piece: usize,
    timer: Pin<Box<Sleep>>,
    watcher: Weak<()>,
}

impl Paced {
    pub(super) fn new(video: Bytes, length: Duration, watcher: &Watcher) -> Self {
        let pieces = (length.as_secs_f64() / PIECE.as_secs_f64()).ceil().max(1.0);
        let piece = ((video.len() as f64 / pieces).ceil() as usize).max(1);
        let timer = Box::pin(tokio::time::sleep_until(Instant::now()));
        Self { left: video, piece, timer, watcher: Arc::downgrade(watcher) }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if self.watcher.strong_count() == 0 {
            return Poll::Ready(Some(Err(Gone)));
        }
        // From the time it was due, so that a late wake-up does not slow the whole upload down.
        let next = self.timer.deadline() + PIECE;
        self.timer.as_mut().reset(next);
        let size = self.piece.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn everything_arrives_not_before_its_time() {
        block_on(async {
            let video: Bytes = (0..=255).cycle().take(10_001).collect::<Vec<u8>>().into();
            let (begun, watcher) = (Instant::now(), Watcher::default());
            let received = Paced::new(video.clone(), Duration::from_millis(300), &watcher).collect().await.unwrap();
            assert_eq!(received.to_bytes(), video);
            assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn it_breaks_off_when_nobody_wants_the_answer() {
        block_on(async {
            let watcher = Watcher::default();
            let mut body = Paced::new(vec![0; 1000].into(), Duration::from_millis(500), &watcher);
            assert!(body.frame().await.unwrap().is_ok());
            drop(watcher);
            assert!(body.frame().await.unwrap().is_err());
        });
    }
}
