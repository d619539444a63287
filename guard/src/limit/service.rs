//! The decision, made when the request's head is there and before its body is read.

use super::{Limiter, ResponseFuture};
use crate::{clock, context, drain};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

/// A service behind a [`Limiter`].
#[derive(Clone, Debug)]
pub struct Limit<S> {
    inner: S,
    limiter: Limiter,
    route: Option<Arc<str>>,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, limiter: Limiter, route: Option<Arc<str>>) -> Self {
        Self { inner, limiter, route }
    }
}

impl<S, B, R> Service<Request<B>> for Limit<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + 'static,
    B::Data: Send,
    R: Body<Data = Bytes>,
{
    type Response = Response<super::GuardedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = match &self.route {
            Some(route) => Cow::Borrowed(&**route),
            None => Cow::Owned(format!("{} {}", request.method(), request.uri().path())),
        };
        match self.limiter.try_enter(clock::monotonic_ns(), context::current(), &route) {
            Ok(permit) => ResponseFuture::admitted(self.inner.call(request), permit),
            Err(overloaded) => {
                drain::in_background(request.into_body());
                ResponseFuture::refused(overloaded)
            }
        }
    }
}
