//! Wraps a service.

use super::{Limit, Limiter};
use std::sync::Arc;
use tower::Layer;

/// Enforces a [`Limiter`] on the services that it wraps.
#[derive(Clone, Debug, Default)]
pub struct LimitLayer {
    limiter: Limiter,
    route: Option<Arc<str>>,
}

impl LimitLayer {
    /// A layer that obeys this limiter.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { limiter, route: None }
    }

    /// Lists the requests under this name (method and template, as in `POST /api/v1/transcode`) instead of under
    /// method and path, which may be different for each of them.
    #[must_use]
    pub fn route(mut self, route: &str) -> Self {
        self.route = Some(route.into());
        self
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Limit<S> {
        Limit::new(inner, self.limiter.clone(), self.route.clone())
    }
}
