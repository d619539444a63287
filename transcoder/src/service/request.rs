//! What a request asks for, by its headers. What makes no sense is named in a 400 before anything starts.
//!
//! The reference of these headers (numbers may have fractions where they are seconds):
//!
//! | header | values | without it |
//! | --- | --- | --- |
//! | `Content-Type` | `video/*`, or 415; what the upload is, its content says | 415 |
//! | `X-Output-Format` | `fmp4`, `ts`: one file; `hls`: segments of fragmented MP4 and a playlist | `fmp4` |
//! | `X-Height` | lines, 64 to 1080; odd ones are rounded down | 240 |
//! | `X-Crf` | constant quality, 0 (best) to 51 | 23 |
//! | `X-Bitrate` | picture's bits a second, 32000 to 50000000, never exceeded over a second; not with `X-Crf` | |
//! | `X-Preset` | x264's: `ultrafast`, `superfast`, `veryfast`, `faster`, `fast`, `medium` | `ultrafast` |
//! | `X-Segment-Seconds` | length of a segment, 0.5 to 10 | 2 |
//! | `X-Gop-Seconds` | between two key frames, 0.5 to 10; a whole number of them must make a segment | a segment |
//! | `X-Part-Seconds` | longest fragment (`moof` and `mdat`), 0.1 to 2 | 0.5 |

use super::problem::Problem;
use crate::pipeline::{Container, PRESETS, Quality, Settings};
use axum::http::{HeaderMap, StatusCode, header};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Lines of the output, where the request does not say.
const HEIGHT: u32 = 240;
/// Quality, where the request does not say: x264's own default.
const CRF: f32 = 23.0;
/// Seconds between key frames, where the request does not say.
const SEGMENT: f64 = 2.0;
/// The longest fragment, where the request does not say.
const PART: f64 = 0.5;
/// Lengths that are a whole number of others may be off by this much of one: decimal fractions are not exact.
const WHOLE: f64 = 1e-6;

/// How the result is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// One file, as the response's body.
    File,
    /// Segments and a playlist.
    Hls,
}

/// What the request's headers ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) settings: Settings,
    pub(super) delivery: Delivery,
}

/// What the request's headers ask for.
pub(super) fn asked(headers: &HeaderMap) -> Result<Asked, Problem> {
    let media_type = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or("nothing");
    if !media_type.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("video/")) {
        let detail = format!("Content-Type: expected video/*, got {media_type:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let (container, delivery) = match text(headers, "X-Output-Format") {
        Some("hls") => (Container::Fmp4, Delivery::Hls),
        Some("ts") => (Container::Ts, Delivery::File),
        None | Some("fmp4") => (Container::Fmp4, Delivery::File),
        Some(got) => return Err(wrong("X-Output-Format", "one of hls, fmp4, ts", got)),
    };
    let preset = match text(headers, "X-Preset") {
        None => PRESETS[0],
        Some(got) => match PRESETS.into_iter().find(|preset| *preset == got) {
            Some(preset) => preset,
            None => return Err(wrong("X-Preset", &format!("one of {}", PRESETS.join(", ")), got)),
        },
    };
    let height = number(headers, "X-Height", "lines", 64..=1080)?.unwrap_or(HEIGHT) & !1;
    let bits = number(headers, "X-Bitrate", "bits a second", 32_000..=50_000_000)?;
    let quality = match (bits, number(headers, "X-Crf", "a quality", 0.0..=51.0)?) {
        (None, crf) => Quality::Constant(crf.unwrap_or(CRF)),
        (Some(bits), None) => Quality::Bitrate(bits),
        (Some(bits), Some(_)) => {
            return Err(wrong("X-Bitrate", "no X-Crf beside it: either decides the quality", &bits.to_string()));
        }
    };
    let segment = number(headers, "X-Segment-Seconds", "seconds", 0.5..=10.0)?.unwrap_or(SEGMENT);
    let gop = number(headers, "X-Gop-Seconds", "seconds", 0.5..=10.0)?.unwrap_or(segment);
    let count = segment / gop;
    if count.round() < 1.0 || (count - count.round()).abs() > WHOLE {
        let expected = format!("a length of which a whole number makes a segment of {segment} s");
        return Err(wrong("X-Gop-Seconds", &expected, &gop.to_string()));
    }
    let part = number(headers, "X-Part-Seconds", "seconds", 0.1..=2.0)?.unwrap_or(PART);
    let settings = Settings {
        container,
        height,
        preset,
        quality,
        segment: Duration::from_secs_f64(segment),
        gop: Duration::from_secs_f64(gop),
        part: Duration::from_secs_f64(part),
        threads: 1,
    };
    Ok(Asked { settings, delivery })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?").trim())
}

fn number<T>(headers: &HeaderMap, name: &str, of: &str, within: RangeInclusive<T>) -> Result<Option<T>, Problem>
where
    T: FromStr + PartialOrd + Display,
{
    let Some(got) = text(headers, name) else { return Ok(None) };
    // What is no number at all (also "NaN") is in no range.
    match got.parse::<T>() {
        Ok(value) if within.contains(&value) => Ok(Some(value)),
        _ => Err(wrong(name, &format!("{of} from {} to {}", within.start(), within.end()), got)),
    }
}

fn wrong(name: &str, expected: &str, got: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("{name}: expected {expected}, got {got:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    fn asked_by(pairs: &[(&'static str, &'static str)]) -> Result<Asked, StatusCode> {
        let headers =
            pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        asked(&headers.collect()).map_err(|problem| problem.into_response().status())
    }

    fn video(pairs: &[(&'static str, &'static str)]) -> Result<Asked, StatusCode> {
        asked_by(&[pairs, &[("content-type", "Video/MP4")]].concat())
    }

    const USUAL: Settings = Settings {
        container: Container::Fmp4,
        height: 240,
        preset: "ultrafast",
        quality: Quality::Constant(23.0),
        segment: Duration::from_secs(2),
        gop: Duration::from_secs(2),
        part: Duration::from_millis(500),
        threads: 1,
    };

    #[test]
    fn defaults_and_all_options() {
        assert_eq!(video(&[]), Ok(Asked { settings: USUAL, delivery: Delivery::File }));
        let all = [
            ("x-output-format", "ts"),
            ("x-height", "481"),
            ("x-preset", "fast"),
            ("x-bitrate", "800000"),
            ("x-segment-seconds", "6"),
            ("x-gop-seconds", "1.5"),
            ("x-part-seconds", "0.25"),
        ];
        let settings = Settings {
            container: Container::Ts,
            height: 480,
            preset: "fast",
            quality: Quality::Bitrate(800_000),
            segment: Duration::from_secs(6),
            gop: Duration::from_millis(1500),
            part: Duration::from_millis(250),
            ..USUAL
        };
        assert_eq!(video(&all), Ok(Asked { settings, delivery: Delivery::File }));
    }

    #[test]
    fn segments_are_muxed_as_fragmented_mp4() {
        let wanted = Settings { quality: Quality::Constant(30.5), ..USUAL };
        assert_eq!(
            video(&[("x-output-format", "hls"), ("x-crf", "30.5")]),
            Ok(Asked { settings: wanted, delivery: Delivery::Hls })
        );
    }

    #[test]
    fn key_frames_come_as_often_as_segments_and_fit_into_them() {
        let lengths = |pairs: &[_]| video(pairs).map(|asked| (asked.settings.segment, asked.settings.gop));
        let seconds = Duration::from_secs_f64;
        assert_eq!(lengths(&[("x-segment-seconds", "4")]), Ok((seconds(4.0), seconds(4.0))));
        assert_eq!(
            lengths(&[("x-segment-seconds", "2.1"), ("x-gop-seconds", "0.7")]),
            Ok((seconds(2.1), seconds(0.7)))
        );
        for (segment, gop) in [("4", "3"), ("1", "2"), ("2", "1.9")] {
            let got = lengths(&[("x-segment-seconds", segment), ("x-gop-seconds", gop)]);
            assert_eq!(got, Err(StatusCode::BAD_REQUEST), "{gop} s in {segment} s");
        }
    }

    #[test]
    fn wrong_headers_are_refused_before_anything_starts() {
        for media_type in [None, Some("text/plain"), Some("video"), Some("videos/mp4")] {
            let headers: Vec<_> = media_type.map(|media_type| ("content-type", media_type)).into_iter().collect();
            assert_eq!(asked_by(&headers), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{media_type:?}");
        }
        for (name, value) in [
            ("x-output-format", "avi"),
            ("x-output-format", "HLS"),
            ("x-height", "63"),
            ("x-height", "1081"),
            ("x-height", "tall"),
            ("x-height", "-240"),
            ("x-preset", "placebo"),
            ("x-crf", "52"),
            ("x-crf", "-1"),
            ("x-crf", "NaN"),
            ("x-bitrate", "31999"),
            ("x-bitrate", "1e6"),
            ("x-bitrate", "99999999999999"),
            ("x-segment-seconds", "0.4"),
            ("x-segment-seconds", "inf"),
            ("x-gop-seconds", "11"),
            ("x-part-seconds", "0"),
            ("x-part-seconds", ""),
        ] {
            assert_eq!(video(&[(name, value)]), Err(StatusCode::BAD_REQUEST), "{name}: {value}");
        }
        assert_eq!(video(&[("x-crf", "20"), ("x-bitrate", "500000")]), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_refusal_names_header_expectation_and_value() {
        let headers = [("content-type", "video/mp4"), ("x-crf", "sharp")]
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let problem = asked(&headers.into_iter().collect()).expect_err("refused");
        assert!(
            format!("{problem:?}").contains(r#"X-Crf: expected a quality from 0 to 51, got \"sharp\""#),
            "{problem:?}"
        );
    }
}
