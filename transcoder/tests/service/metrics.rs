//! The metrics page: both formats, what requests leave on it, and that it is there when nothing else is.

use crate::harness::*;
use hyper::{Request, StatusCode};
use std::time::{Duration, Instant};

/// What Prometheus 2.42 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Waits for a value of one that moves there by itself.
async fn until(service: &Service, name: &str, value: f64) {
    let start = Instant::now();
    loop {
        let now = service.metric(name).await;
        if now == value {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{name} is {now} instead of {value}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn page(http: &Http, service: &Service, accept: Option<&str>) -> (String, String) {
    let mut request = Request::get(format!("{}/metrics", service.url));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let (status, headers, page) = answer(http, request.body(whole("")).expect("a request")).await;
    assert_eq!(status, StatusCode::OK);
    let media_type = headers["content-type"].to_str().expect("text").to_owned();
    (media_type, String::from_utf8(page.to_vec()).expect("text"))
}

#[tokio::test]
async fn both_formats_tell_the_same_and_exemplars_name_the_request() {
    let service = Service::start(&[]).await;
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let http = http2();
    assert_eq!(answer(&http, post(&service, &[("traceparent", &traceparent)], whole(ts_with_sound()))).await.0, 200);
    assert_eq!(answer(&http, post(&service, &[("content-type", "text/plain")], whole("x"))).await.0, 415);
    let ended = "transcoder_request_duration_seconds_count{route=\"/api/v1/transcode\"}";
    until(&service, ended, 2.0).await;
    // The codec's thread and place are given back after the last byte, not before it.
    until(&service, "transcoder_codec_threads{state=\"busy\"}", 0.0).await;
    until(&service, "transcoder_streams", 0.0).await;

    let (media_type, text) = page(&http, &service, None).await;
    assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
    let (media_type, openmetrics) = page(&http, &service, Some(PROMETHEUS)).await;
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(openmetrics.ends_with("# EOF\n") && !text.contains("# EOF"));
    assert!(!text.contains(" # "), "an exemplar in a format that has none: {text}");

    for (series, value) in [
        ("transcoder_requests_total{route=\"/api/v1/transcode\",status=\"200\"}", 1.0),
        ("transcoder_requests_total{route=\"/api/v1/transcode\",status=\"415\"}", 1.0),
        ("transcoder_request_duration_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("transcoder_first_byte_seconds_count", 1.0),
        ("transcoder_frames_total", 50.0),
        ("transcoder_received_bytes_total", ts_with_sound().len() as f64),
        ("transcoder_streams", 0.0),
        ("transcoder_streams_max", 64.0),
        ("transcoder_queue_pieces{direction=\"upload\"}", 0.0),
        ("transcoder_queue_pieces{direction=\"result\"}", 0.0),
        ("transcoder_codec_threads{state=\"busy\"}", 0.0),
        ("transcoder_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(sum(&text, series), Some(value), "{series} in {text}");
    }
    for reason in ["disconnect", "idle", "first_byte", "total", "shutdown"] {
        let series = format!("transcoder_cancellations_total{{reason=\"{reason}\"}}");
        assert_eq!(sum(&text, &series), Some(0.0), "{series}");
    }
    for (family, kind) in [
        ("requests_total", "counter"),
        ("first_byte_seconds", "histogram"),
        ("heap_in_use_bytes", "gauge"),
        ("build_info", "gauge"),
        ("cpu_seconds_total", "counter"),
    ] {
        assert!(text.contains(&format!("# TYPE transcoder_{family} {kind}\n")), "{family} in {text}");
    }
    for family in ["request_duration_seconds", "first_byte_seconds"] {
        let named = openmetrics.lines().find(|line| {
            line.starts_with("transcoder_") && line.contains(TRACE) && line.contains(&format!("{family}_bucket"))
        });
        let exemplar = named.unwrap_or_else(|| panic!("no exemplar for {family} in {openmetrics}"));
        let (_, exemplar) = exemplar.split_once(" # ").expect("an exemplar");
        let labels = exemplar.split_once('}').expect("labels").0;
        assert!(labels.starts_with(&format!("{{trace_id=\"{TRACE}\",span_id=\"")), "{exemplar}");
        assert!(!labels.contains("b7ad6b7169203331"), "the client's span is not ours: {exemplar}");
    }
}

#[tokio::test]
async fn an_unsampled_trace_is_no_exemplar() {
    let service = Service::start(&[]).await;
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let refused = post(&service, &[("traceparent", &traceparent), ("content-type", "text/plain")], whole("x"));
    assert_eq!(answer(&http1(), refused).await.0, 415);
    until(&service, "transcoder_request_duration_seconds_count", 1.0).await;
    let (_, openmetrics) = page(&http1(), &service, Some(PROMETHEUS)).await;
    assert!(!openmetrics.contains(TRACE) && !openmetrics.contains("trace_id"), "{openmetrics}");
}

#[tokio::test]
async fn refusals_and_clients_that_leave_are_counted_by_reason() {
    let service = Service::start(&["--max-streams", "1"]).await;
    let (sender, body) = streamed();
    let (http, request) = (http1(), post(&service, &[], body));
    // The answer's head may come at any time; its body is not given up before the client leaves.
    let open = tokio::spawn(async move {
        let _answer = http.request(request).await;
        std::future::pending::<()>().await;
    });
    sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
    until(&service, "transcoder_codec_threads{state=\"busy\"}", 1.0).await;
    assert_eq!(answer(&http1(), post(&service, &[], whole("x"))).await.0, 429);
    assert_eq!(service.metric("transcoder_refusals_total{reason=\"max-streams\"}").await, 1.0);
    let left = "transcoder_cancellations_total{reason=\"disconnect\"}";
    assert_eq!(service.metric(left).await, 0.0);
    open.abort();
    until(&service, left, 1.0).await;
    until(&service, "transcoder_codec_threads{state=\"busy\"}", 0.0).await;
    assert_eq!(service.metric(left).await, 1.0);
    // Only now: an upload that ends is answered whole.
    drop(sender);
}

#[tokio::test]
async fn the_page_is_whole_when_no_file_descriptor_is_left() {
    let service = Service::start_limited("40", &[]).await;
    let http = http2();
    let address = service.url.strip_prefix("http://").expect("a URL").to_owned();
    let mut held = Vec::new();
    let text = loop {
        let (_, text) = page(&http, &service, None).await;
        let (open, most) = (sum(&text, "transcoder_open_fds"), sum(&text, "transcoder_max_fds"));
        assert_eq!(most, Some(40.0));
        // More, if whoever started this has left it descriptors beyond the limit.
        if open >= most {
            break text;
        }
        assert!(held.len() < 200, "{open:?} of {most:?} after {} connections", held.len());
        held.push(tokio::net::TcpStream::connect(&address).await.expect("the kernel accepts"));
    };
    for value in ["heap_in_use_bytes", "resident_bytes", "tasks", "threads", "cpu_seconds_total"] {
        let value = sum(&text, &format!("transcoder_{value}"));
        assert!(value.is_some_and(|value| value > 0.0), "{value:?} in {text}");
    }
}
