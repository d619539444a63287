//! `POST /api/v1/transcode`.
//!
//! Each stream has a thread, a place among [`Streams`](super::limits::Streams), and two bounded channels. The status
//! is decided when the first byte of the result is there, so a broken upload is a 422 and not a torso.

use super::body::{Receiver, Transcoded};
use super::limits::CODEC_STACK;
use super::problem::Problem;
use super::{App, memory, upload};
use crate::faults;
use crate::pipeline::{self, BodyReader, BodyWriter, Cancel, Container, Output, PRESETS, Settings};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use snowshed_guard::drain;
use std::io;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Lines of the output, where the request does not say.
const HEIGHT: u32 = 240;
const HEIGHTS: std::ops::RangeInclusive<u32> = 64..=1080;

/// The handler.
pub(super) async fn transcode(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let began = Instant::now();
    let admitted = settings(&headers).and_then(|settings| Ok((settings, place(&app)?)));
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
    let mut output = match start(&app, settings, body, place) {
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
            let body = Transcoded::new(first, output, app.metrics.sent.clone());
            let media_type = HeaderValue::from_static(settings.container.media_type());
            ([(header::CONTENT_TYPE, media_type)], Body::new(body)).into_response()
        }
        Some(Output::Failed(error)) => Problem::from(error).into_response(),
        Some(Output::Done) | None => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the codec thread died").into_response()
        }
    }
}

fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.streams.take().ok_or_else(|| {
        let detail = format!("all {} streams are taken", app.streams.most());
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(1)
    })
}

/// Starts the codec thread and the task that feeds it.
fn start(app: &App, settings: Settings, body: Body, place: OwnedSemaphorePermit) -> io::Result<Receiver> {
    let (pieces, received) = mpsc::channel(pipeline::DEPTH);
    let (made, output) = mpsc::channel(pipeline::DEPTH);
    let cancel = Cancel::default();
    let receiver = Receiver::new(output, cancel.clone());
    let reader = BodyReader::new(received);
    let writer = BodyWriter::new(made, Handle::current(), cancel.clone());
    let frames = app.metrics.frames.clone();
    let streams = app.streams.clone();
    let span = info_span!("transcode", height = settings.height, preset = settings.preset);
    std::thread::Builder::new().name("transcode".into()).stack_size(CODEC_STACK).spawn(move || {
        // The thread's context for all that the codecs open and send.
        let entered = span.enter();
        let result = pipeline::run(reader, writer.clone(), settings, &cancel, &frames);
        writer.end(result);
        drop(entered);
        if streams.taken() == 1 {
            memory::trim();
        }
        drop(place);
    })?;
    tokio::spawn(upload::pump(body, pieces, app.metrics.received.clone()));
    Ok(receiver)
}

/// What the request's headers ask for.
fn settings(headers: &HeaderMap) -> Result<Settings, Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    let media_type = text(header::CONTENT_TYPE.as_str()).unwrap_or("nothing");
    if !media_type.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("video/")) {
        let detail = format!("Content-Type: expected video/*, got {media_type:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let wrong = |name: &str, expected: &str, got: &str| {
        Problem::new(StatusCode::BAD_REQUEST, format!("{name}: expected {expected}, got {got:?}"))
    };
    let container = match text("x-output-format") {
        None => Container::Fmp4,
        Some(asked) => match Container::ALL.iter().find(|(name, _)| *name == asked) {
            Some((_, container)) => *container,
            None => return Err(wrong("X-Output-Format", "one of fmp4, ts (all that this version makes)", asked)),
        },
    };
    let height = match text("x-height") {
        None => HEIGHT,
        Some(asked) => match asked.parse::<u32>() {
            Ok(height) if HEIGHTS.contains(&height) => height & !1,
            _ => return Err(wrong("X-Height", "lines from 64 to 1080", asked)),
        },
    };
    let preset = match text("x-preset") {
        None => PRESETS[0],
        Some(asked) => match PRESETS.into_iter().find(|preset| *preset == asked) {
            Some(preset) => preset,
            None => return Err(wrong("X-Preset", &format!("one of {}", PRESETS.join(", ")), asked)),
        },
    };
    Ok(Settings { container, height, preset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &'static str)]) -> Result<Settings, StatusCode> {
        let headers =
            pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        settings(&headers.collect()).map_err(|problem| problem.into_response().status())
    }

    #[test]
    fn defaults_and_all_options() {
        let usual = Settings { container: Container::Fmp4, height: 240, preset: "ultrafast" };
        assert_eq!(asked(&[("content-type", "Video/MP4")]), Ok(usual));
        let all =
            [("content-type", "video/mp2t"), ("x-output-format", "ts"), ("x-height", "481"), ("x-preset", "fast")];
        assert_eq!(asked(&all), Ok(Settings { container: Container::Ts, height: 480, preset: "fast" }));
    }

    #[test]
    fn wrong_headers_are_refused_before_anything_starts() {
        for media_type in [None, Some("text/plain"), Some("video"), Some("videos/mp4")] {
            let headers: Vec<_> = media_type.map(|media_type| ("content-type", media_type)).into_iter().collect();
            assert_eq!(asked(&headers), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{media_type:?}");
        }
        for wrong in [("x-output-format", "hls"), ("x-height", "63"), ("x-height", "tall"), ("x-preset", "placebo")] {
            assert_eq!(asked(&[("content-type", "video/mp4"), wrong]), Err(StatusCode::BAD_REQUEST), "{wrong:?}");
        }
    }
}
