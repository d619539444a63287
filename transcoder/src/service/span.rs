//! One server span per request, from its head to the end of its response body.
//!
//! The handler and the body are polled inside the span, so the thread context is published whenever code of the
//! request runs. Attributes follow OpenTelemetry's conventions for HTTP servers (1.47): a status of 500 and above and
//! a body that breaks off are errors; a client that leaves is none of ours, so the span's status stays unset and
//! `error.type` says `disconnect`.
//!
//! `error.type` is one of: a status code; a [`Cancellation`]'s name; `decode`, `encode` and whatever else names a step
//! of the pipeline; `upload`; `codec_thread_died`; `_OTHER`.

use super::body::BodyError;
use super::metrics::{Cancellation, Metrics, Refused};
use super::stop::Stop;
use super::{App, Peer};
use crate::pipeline::{Cancel, PipelineError, UploadError};
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use snowshed_guard::connection::Sending;
use snowshed_guard::limit::Overloaded;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What is kept of a `User-Agent`, in bytes.
const USER_AGENT_BYTES: usize = 256;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Wraps routes: `route(…).layer(from_fn_with_state(app, span::layer))`. The span's name and `http.route` are the
/// router's template, so that the number of names is that of the routes.
pub(super) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = open(&app, &route, &request);
    let head_only = request.method() == Method::HEAD;
    let sending = request.extensions().get::<Sending>().cloned();
    if let Some(sending) = &sending {
        span.in_scope(|| sending.bind());
    }
    let (metrics, stop) = (app.metrics, app.stop);
    let mut exchange =
        Exchange { metrics, stop, span, route, began: Instant::now(), stream: None, _sending: sending, whole: false };
    let response = next.run(request).instrument(exchange.span.clone()).await;
    exchange.answered(&response);
    exchange.whole = head_only || http_body::Body::is_end_stream(response.body());
    response.map(|inner| Body::new(InSpan { inner: Some(inner), exchange }))
}

fn open(app: &App, route: &str, request: &Request) -> Span {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let (uri, headers) = (request.uri(), request.headers());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).and_then(|host| host.parse::<Authority>().ok());
    let (method, original) = method(request.method());
    let span = info_span!(
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        error.type = Empty,
        http.route = route,
        http.request.method = method,
        http.request.method_original = original,
        http.response.status_code = Empty,
        network.protocol.name = "http",
        network.protocol.version = version(request.version()),
        server.address = uri.host().or(host.as_ref().map(Authority::host)),
        server.port = app.port,
        client.address = peer.map(|peer| tracing::field::display(peer.ip())),
        client.port = peer.map(|peer| peer.port()),
        url.path = uri.path(),
        url.scheme = uri.scheme_str().unwrap_or("http"),
        user_agent.original = text(header::USER_AGENT).map(|agent| &agent[..agent.len().min(USER_AGENT_BYTES)]),
    );
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // Fails only where no OpenTelemetry layer is installed: then there is no trace to continue.
    span.set_parent(parent).unwrap_or_default();
    span
}

/// A method by its name if the conventions know it; what clients make up is kept apart, so that names stay few.
fn method(method: &Method) -> (&str, Option<&str>) {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH") => {
            (known, None)
        }
        other => ("_OTHER", Some(other)),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// A request until the last of it is gone; its end is told when it is dropped.
struct Exchange {
    metrics: Metrics,
    stop: Stop,
    span: Span,
    route: String,
    began: Instant,
    /// What its answer is the result of.
    stream: Option<Cancel>,
    /// Until the body is gone, so that the connection knows what it still sends.
    _sending: Option<Sending>,
    /// All of the response was taken, or it broke off with an error of our own.
    whole: bool,
}

impl Exchange {
    fn answered(&mut self, response: &Response) {
        let status = response.status();
        self.metrics.answered(&self.route, status.as_u16());
        self.stream = response.extensions().get::<Cancel>().cloned();
        if response.extensions().get::<Overloaded>().is_some() {
            self.metrics.refused("guard");
        } else if let Some(Refused(limit)) = response.extensions().get() {
            self.metrics.refused(limit);
        }
        self.span.record("http.response.status_code", status.as_u16());
        match response.extensions().get::<Cancellation>() {
            Some(why) => self.cancelled(*why),
            None if status.is_server_error() => self.failed(status.as_str()),
            None => {}
        }
    }

    /// A client that left is no error of the service; whatever else cut a request off is.
    fn cancelled(&self, why: Cancellation) {
        self.metrics.cancelled(why);
        if why == Cancellation::Disconnect {
            self.span.record("error.type", why.name());
        } else {
            self.failed(why.name());
        }
    }

    /// Nobody takes the rest: a deadline has cut the stream off, or the service's end, or its client is gone.
    fn why_not_whole(&self) -> Cancellation {
        match self.stream.as_ref().and_then(Cancel::why) {
            Some(why) => why.into(),
            None if self.stop.is_ending() => Cancellation::Shutdown,
            None => Cancellation::Disconnect,
        }
    }

    fn failed(&self, kind: &str) {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("error.type", kind);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The exemplar is the thread's context; and leaving the span is what sets its end time.
        let _entered = self.span.enter();
        if !self.whole {
            self.cancelled(self.why_not_whole());
        }
        self.metrics.ended(&self.route, self.began.elapsed());
    }
}

/// Why a body broke off: its client's doing, or what to call the error.
fn why_broken(error: &axum::Error) -> Result<Cancellation, &'static str> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyError>() {
            Some(BodyError::Pipeline(PipelineError::Upload(UploadError::Broken(_)))) => {
                return Ok(Cancellation::Disconnect);
            }
            Some(BodyError::Pipeline(PipelineError::Ended(why))) => return Ok((*why).into()),
            Some(BodyError::Pipeline(PipelineError::Codec { step, .. })) => return Err(step),
            Some(BodyError::Pipeline(_)) => return Err("upload"),
            Some(_) => return Err("codec_thread_died"),
            None => cause = error.source(),
        }
    }
    Err("_OTHER")
}

/// A body that is polled and dropped inside its request's span.
struct InSpan {
    /// Always there until it is dropped.
    inner: Option<Body>,
    exchange: Exchange,
}

impl http_body::Body for InSpan {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { inner: Some(inner), exchange } = &mut *self else { return Poll::Ready(None) };
        let _entered = exchange.span.enter();
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        match &polled {
            // Whoever takes a last frame that says so need not ask again.
            Poll::Ready(Some(Ok(_))) => exchange.whole = inner.is_end_stream(),
            Poll::Ready(Some(Err(error))) => {
                exchange.whole = true;
                match why_broken(error) {
                    Ok(why) => exchange.cancelled(why),
                    Err(kind) => exchange.failed(kind),
                }
            }
            Poll::Ready(None) => exchange.whole = true,
            Poll::Pending => {}
        }
        polled
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
        let _entered = self.exchange.span.enter();
        drop(self.inner.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Why;
    use std::time::Duration;

    #[test]
    fn made_up_methods_and_versions_have_few_names() {
        assert_eq!(method(&Method::DELETE), ("DELETE", None));
        let made_up = Method::from_bytes(b"get").expect("a token");
        assert_eq!(method(&made_up), ("_OTHER", Some("get")));
        assert_eq!((version(Version::HTTP_2), version(Version::HTTP_11)), ("2", "1.1"));
    }

    #[test]
    fn what_broke_a_body_is_found_under_its_wrappings() {
        let wrapped = |error: BodyError| axum::Error::new(axum::Error::new(error));
        assert_eq!(why_broken(&wrapped(BodyError::Died)), Err("codec_thread_died"));
        assert_eq!(why_broken(&wrapped(BodyError::Pipeline(PipelineError::NoVideo))), Err("upload"));
        let codec = PipelineError::Codec { step: "encode", source: ffmpeg_next::Error::Bug };
        assert_eq!(why_broken(&wrapped(BodyError::Pipeline(codec))), Err("encode"));
        let left = PipelineError::Upload(UploadError::Broken("reset".into()));
        assert_eq!(why_broken(&wrapped(BodyError::Pipeline(left))), Ok(Cancellation::Disconnect));
        let slow = PipelineError::Ended(Why::ReaderIdle(Duration::from_secs(60)));
        assert_eq!(why_broken(&wrapped(BodyError::Pipeline(slow))), Ok(Cancellation::Idle));
        assert_eq!(why_broken(&axum::Error::new(std::fmt::Error)), Err("_OTHER"));
    }
}
