//! The body of a segment or part on its way to a viewer.
//!
//! Invariant: it holds no bytes of its own. Each part is taken from the window when the connection asks for it, so a
//! slow viewer costs one part; if the segment has gone meanwhile, the transfer breaks off.

use super::super::Metrics;
use super::session::Session;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Parts of one segment.
pub(super) struct Media {
    pub(super) session: Arc<Session>,
    pub(super) number: u64,
    pub(super) parts: Range<usize>,
    /// Bytes still to be sent.
    pub(super) left: usize,
    pub(super) metrics: Metrics,
}

/// Why a transfer was broken off.
#[derive(Debug, thiserror::Error)]
#[error("segment {0} is no longer kept")]
pub(super) struct Gone(u64);

impl http_body::Body for Media {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        let Some(part) = self.parts.next() else { return Poll::Ready(None) };
        let Some(bytes) = self.session.give(self.number, part) else {
            self.parts = 0..0;
            return Poll::Ready(Some(Err(Gone(self.number))));
        };
        self.left = self.left.saturating_sub(bytes.len());
        self.metrics.sent.inc_by(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
