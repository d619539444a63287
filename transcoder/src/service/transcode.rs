//! `POST /api/v1/transcode`.
//!
//! Each stream has a thread, a place among [`Streams`](super::limits::Streams), and two bounded channels. The status
//! is decided when the first byte of the result is there, so a broken upload is a 422 and not a torso.

use super::body::Transcoded;
use super::problem::Problem;
use super::{App, request, stream};
use crate::faults;
use crate::pipeline::Output;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use snowshed_guard::drain;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The handler.
pub(super) async fn transcode(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let began = Instant::now();
    let admitted = request::settings(&headers).and_then(|settings| Ok((settings, place(&app)?)));
    let (settings, place) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => {
            drain::in_background(body);
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
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1).into_response();
        }
    };
    match output.next().await {
        Some(Output::Data(first)) => {
            app.metrics.first_byte(began.elapsed());
            Span::current().add_event("first_byte", Vec::new());
            let body = Transcoded::new(first.bytes, output, app.metrics.sent.clone());
            let body = faults::infect_result(Body::new(body));
            let media_type = HeaderValue::from_static(settings.container.media_type());
            ([(header::CONTENT_TYPE, media_type)], body).into_response()
        }
        Some(Output::Failed(error)) => Problem::from(error).into_response(),
        Some(Output::Done) | None => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the codec thread died").into_response()
        }
    }
}

fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.streams.take().ok_or_else(|| {
        app.metrics.refused("streams");
        let detail = format!("all {} streams are taken", app.streams.most());
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(1)
    })
}
