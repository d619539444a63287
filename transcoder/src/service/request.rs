//! What a request asks for, by its headers. What makes no sense is named in a 400 before anything starts.

use super::problem::Problem;
use crate::pipeline::{Container, PRESETS, Settings};
use axum::http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// Lines of the output, where the request does not say.
const HEIGHT: u32 = 240;
const HEIGHTS: std::ops::RangeInclusive<u32> = 64..=1080;
/// Seconds between key frames, where the request does not say.
const SEGMENT: Duration = Duration::from_secs(2);
/// The longest fragment.
const PART: Duration = Duration::from_millis(500);

/// What the request's headers ask for.
pub(super) fn settings(headers: &HeaderMap) -> Result<Settings, Problem> {
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
    Ok(Settings { container, height, preset, segment: SEGMENT, part: PART })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    fn asked(pairs: &[(&'static str, &'static str)]) -> Result<Settings, StatusCode> {
        let headers =
            pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        settings(&headers.collect()).map_err(|problem| problem.into_response().status())
    }

    #[test]
    fn defaults_and_all_options() {
        let usual =
            Settings { container: Container::Fmp4, height: 240, preset: "ultrafast", segment: SEGMENT, part: PART };
        assert_eq!(asked(&[("content-type", "Video/MP4")]), Ok(usual));
        let all =
            [("content-type", "video/mp2t"), ("x-output-format", "ts"), ("x-height", "481"), ("x-preset", "fast")];
        assert_eq!(asked(&all), Ok(Settings { container: Container::Ts, height: 480, preset: "fast", ..usual }));
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
