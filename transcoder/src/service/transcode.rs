//! `POST /api/v1/transcode`.
//!
//! Each stream has a thread, a place among [`Streams`](super::admission::Streams), and two bounded channels. The status
//! is decided when the first byte of the result is there, so a broken upload is a 422 and not a torso.

use super::admission::Place;
use super::body::Transcoded;
use super::limits::RETRY_AFTER;
use super::problem::Problem;
use super::request::{self, Asked, Delivery};
use super::{App, Peer, Reserved, hls, stream};
use crate::faults;
use crate::pipeline::{self, Output, Settings};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use snowshed_guard::drain;
use std::time::Instant;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The handler.
pub(super) async fn transcode(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    reserved: Option<Extension<Reserved>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let began = Instant::now();
    let admitted = request::asked(&headers).and_then(|asked| {
        let place = if reserved.is_some() { Err(Problem::connections()) } else { place(&app, peer, &asked.settings) };
        Ok((asked, place?))
    });
    let (Asked { settings, delivery }, place) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => {
            // Who asks before it sends has not sent, and is not asked to.
            if !headers.contains_key(header::EXPECT) {
                drain::in_background(body);
            }
            return problem.into_response();
        }
    };
    let body = match faults::infect(body).await {
        Ok(body) => body,
        Err(error) => return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let mut output = match stream::start(&app, settings, body, place) {
        Ok(output) => output,
        Err(error) => {
            let detail = format!("no thread for this stream: {error}");
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER).into_response();
        }
    };
    match output.next().await {
        Some(Output::Data(first)) => {
            app.metrics.first_byte(began.elapsed());
            Span::current().add_event("first_byte", Vec::new());
            if delivery == Delivery::Hls {
                return hls::answer(&app, &headers, &settings, first, output);
            }
            let cancel = output.cancel();
            let body = Transcoded::new(first.bytes, output, app.metrics.sent.clone());
            let body = faults::infect_result(Body::new(body));
            let media_type = HeaderValue::from_static(settings.container.media_type());
            ([(header::CONTENT_TYPE, media_type)], Extension(cancel), body).into_response()
        }
        Some(Output::Failed(error)) => Problem::from(error).into_response(),
        Some(Output::Done) | None => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the codec thread died").into_response()
        }
    }
}

/// A place for a stream of this client.
fn place(app: &App, peer: Peer, settings: &Settings) -> Result<Place, Problem> {
    if app.stop.is_draining() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping").retry_after(RETRY_AFTER));
    }
    Ok(app.streams.take(peer.0.ip(), pipeline::cost(settings, pipeline::UNKNOWN))?)
}
