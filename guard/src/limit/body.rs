//! The response body, which keeps the request's place until it has ended or been dropped: a stream counts as open as
//! long as it streams.

use super::Permit;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// Body of [`Limit`](super::Limit)'s responses.
    #[derive(Debug)]
    pub struct GuardedBody<B> {
        #[pin]
        inner: Inner<B>,
        permit: Option<Permit>,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<B> {
        Admitted { #[pin] body: B },
        Refused { #[pin] problem: Full<Bytes> },
    }
}

impl<B> GuardedBody<B> {
    pub(super) fn admitted(body: B, permit: Option<Permit>) -> Self {
        Self { inner: Inner::Admitted { body }, permit }
    }

    pub(super) fn refused(problem: Bytes) -> Self {
        Self { inner: Inner::Refused { problem: Full::new(problem) }, permit: None }
    }
}

impl<B: Body<Data = Bytes>> Body for GuardedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(match this.inner.project() {
            InnerProj::Admitted { body } => body.poll_frame(cx),
            InnerProj::Refused { problem } => problem.poll_frame(cx).map_err(|never| match never {}),
        });
        if !matches!(frame, Some(Ok(_))) {
            this.permit.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Admitted { body } => body.is_end_stream(),
            Inner::Refused { problem } => problem.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Admitted { body } => body.size_hint(),
            Inner::Refused { problem } => problem.size_hint(),
        }
    }
}
