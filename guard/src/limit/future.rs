//! The response to come: the inner service's, or the refusal.

use super::{GuardedBody, Overloaded, Permit};
use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// Future of [`Limit`](super::Limit). Dropping it gives the request's place back.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Admitted { #[pin] inner: F, permit: Option<Permit> },
        Refused { overloaded: Overloaded },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, permit: Permit) -> Self {
        Self { state: State::Admitted { inner, permit: Some(permit) } }
    }

    pub(super) fn refused(overloaded: Overloaded) -> Self {
        Self { state: State::Refused { overloaded } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<GuardedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Admitted { inner, permit } => {
                inner.poll(cx).map_ok(|response| response.map(|body| GuardedBody::admitted(body, permit.take())))
            }
            StateProj::Refused { overloaded } => Poll::Ready(Ok(overloaded.response().map(GuardedBody::refused))),
        }
    }
}
