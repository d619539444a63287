//! `/metrics`: OpenMetrics with exemplars for those who accept it, Prometheus' older text format for everybody else.
//!
//! The older one is made from the newer by lines. It differs in the names of counters' families, in types, and in
//! having no exemplars and no end mark.

use super::super::App;
use super::super::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The handler.
pub(in crate::service) async fn page(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT);
    let openmetrics = wants_openmetrics(accept.iter().filter_map(|value| value.to_str().ok()));
    let answer = |media_type, page| ([(header::CONTENT_TYPE, media_type), (header::VARY, "accept")], page);
    match app.metrics.render(&app) {
        Ok(page) if openmetrics => answer(OPENMETRICS, page).into_response(),
        Ok(page) => answer(TEXT, to_text(&page)).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether OpenMetrics 1.0 is accepted, and nothing that we have is liked better.
fn wants_openmetrics<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let (mut openmetrics, mut text) = (0.0f32, 0.0f32);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0f32, None);
        for parameter in parts {
            match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                Some(("version", value)) => version = Some(value),
                _ => {}
            }
        }
        match &*media_type {
            "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                openmetrics = openmetrics.max(quality);
            }
            "text/plain" if matches!(version, None | Some("0.0.4")) => text = text.max(quality),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= text
}

/// OpenMetrics as text format 0.0.4.
fn to_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(without_exemplar(line));
            out.push('\n');
            continue;
        };
        if let Some(told) = comment.strip_prefix("HELP ") {
            // It carries the family's name, which the next line's type decides.
            help = told.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = comment.strip_prefix("TYPE ").and_then(|told| told.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            out.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        }
    }
    out
}

/// A sample up to its exemplar. Label values may hold anything between their quotes.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_which() {
        let wants = |accept: &str| wants_openmetrics([accept].into_iter());
        // Prometheus 2.42 and 2.5x, as they ask.
        assert!(wants(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(wants("application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(wants("APPLICATION/openmetrics-text"));
        for text in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.9",
            "application/openmetrics-text;q=x",
            ";;=,,;q",
        ] {
            assert!(!wants(text), "{text:?}");
        }
    }

    #[test]
    fn the_older_format() {
        let openmetrics = "# HELP x_bytes Bytes.\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\n\
            x_bytes_total{path=\"a # {b} \\\" # \"} 3 # {trace_id=\"ab\"} 1.0 1.5\n\
            # HELP x_build What.\n# TYPE x_build info\nx_build_info{version=\"1\"} 1\n\
            # HELP y Why.\n# TYPE y unknown\ny NaN\n# EOF\n";
        let text = "# HELP x_bytes_total Bytes.\n# TYPE x_bytes_total counter\n\
            x_bytes_total{path=\"a # {b} \\\" # \"} 3\n\
            # HELP x_build_info What.\n# TYPE x_build_info gauge\nx_build_info{version=\"1\"} 1\n\
            # HELP y Why.\n# TYPE y untyped\ny NaN\n";
        assert_eq!(to_text(openmetrics), text);
    }
}
