//! One server span per request, from its head to the end of its response body.
//!
//! The handler and the body are polled inside the span, so the thread context is published whenever code of the
//! request runs. Attributes follow OpenTelemetry's conventions for HTTP servers.

use super::{App, Peer};
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::pin::Pin;
use std::task::{Context, Poll};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Wraps routes; the span's name is the router's template, so that there are as many names as routes.
pub(super) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = open(&app, &route, &request);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    // Players ask several times a second: they would drown what is transcoded.
    if route == super::PATH {
        app.metrics.answered(status.as_u16());
    }
    response.map(|inner| Body::new(InSpan { inner: Some(inner), span }))
}

fn open(app: &App, route: &str, request: &Request) -> Span {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let span = info_span!(
        "request",
        otel.name = format_args!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.route = route,
        http.request.method = %request.method(),
        http.response.status_code = Empty,
        network.protocol.version = ?request.version(),
        server.port = app.port,
        client.address = peer.map(|peer| tracing::field::display(peer.ip())),
        client.port = peer.map(|peer| peer.port()),
    );
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
    // Fails only where no OpenTelemetry layer is installed: then there is no trace to continue.
    span.set_parent(parent).unwrap_or_default();
    span
}

/// A body that is polled and dropped inside its request's span.
struct InSpan {
    /// Always there until it is dropped.
    inner: Option<Body>,
    span: Span,
}

impl http_body::Body for InSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        match &mut this.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for InSpan {
    fn drop(&mut self) {
        // Leaving the span is what sets its end time.
        let _entered = self.span.enter();
        drop(self.inner.take());
    }
}
