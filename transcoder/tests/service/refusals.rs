//! Bad input: a clear answer, and nothing left behind.

use crate::harness::*;
use bytes::Bytes;
use std::net::TcpListener;

async fn refused(service: &Service, headers: &[(&str, &str)], upload: Bytes) -> (u16, String) {
    let (one, two) = (post(service, headers, whole(upload.clone())), post(service, headers, whole(upload)));
    let (status, head, body) = answer(&http1(), one).await;
    assert_eq!(answer(&http2(), two).await.0, status, "both protocols agree");
    assert_eq!(head["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("json");
    assert_eq!(problem["status"], status.as_u16());
    (status.as_u16(), problem["detail"].as_str().expect("a reason").to_owned())
}

/// Name, headers, upload, and the status and part of the reason that must come back.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Bytes, u16, &'a str);

#[tokio::test]
async fn each_says_what_is_wrong_and_leaves_nothing_behind() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let good = ts_with_sound();
    // A header that promises a picture, and no picture.
    let mut hollow = video("mp4", &picture("160x90"), &format!("{QUICK} -movflags +faststart")).to_vec();
    let data = hollow.windows(4).position(|four| four == b"mdat").expect("media data") + 4;
    hollow[data..].fill(0xff);
    let cases: [Case<'_>; 9] = [
        ("no video type", &[("content-type", "application/json")], good.clone(), 415, "application/json"),
        ("format", &[("x-output-format", "webm")], good.clone(), 400, "hls, fmp4, ts"),
        ("height", &[("x-height", "4000")], good.clone(), 400, "64 to 1080"),
        ("preset", &[("x-preset", "placebo")], good, 400, "ultrafast"),
        ("empty", &[], Bytes::new(), 422, "empty"),
        ("noise", &[], noise.into(), 422, "not a video"),
        ("text", &[], Bytes::from_static(b"#!/bin/sh\necho hello\n"), 422, "not a video"),
        ("sound only", &[], video("ts", SOUND, "-c:a aac"), 422, "no video track"),
        ("hollow", &[], hollow.into(), 422, "no picture could be decoded"),
    ];
    for (name, headers, upload, status, reason) in cases {
        let (got, detail) = refused(&service, headers, upload).await;
        assert_eq!(got, status, "{name}: {detail}");
        assert!(detail.contains(reason), "{name}: {detail}");
    }
    service.back_to(baseline).await;
    assert_eq!(service.metric("transcoder_streams").await, 0.0);
    assert_eq!(service.metric("transcoder_requests_total{status=\"422\"}").await, 10.0);
}

/// 70 MiB that would have to be kept: the client must see the status although it has not sent all of it.
#[tokio::test]
async fn an_index_behind_too_much_data_is_refused() {
    let service = Service::start(&[]).await;
    let mut upload = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\x7f\0\0\0mdat".to_vec();
    upload.resize(70 << 20, 0);
    let upload = Bytes::from(upload);
    for http in [http1(), http2()] {
        let (status, _, body) = answer(&http, post(&service, &[], whole(upload.clone()))).await;
        assert_eq!(status, 422);
        assert!(String::from_utf8_lossy(&body).contains("larger than 64 MiB"), "{body:?}");
    }
}

#[tokio::test]
async fn streams_over_the_maximum_are_told_to_come_back() {
    let service = Service::start(&["--max-streams", "2"]).await;
    let http = http2();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (sender, body) = streamed();
        let (http, request) = (http.clone(), post(&service, &[], body));
        let response = tokio::spawn(async move { head(&http, request).await.status() });
        sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
        held.push((sender, response));
    }
    let mut taken = 0.0;
    while taken < 2.0 {
        taken = service.metric("transcoder_streams").await;
    }
    let (status, headers, _) = answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await;
    assert_eq!(status, 429);
    assert_eq!(headers["retry-after"], "1");
    for (sender, response) in held {
        sender.send(ts_with_sound().slice(20_000..)).await.expect("read");
        drop(sender);
        assert_eq!(response.await.expect("not panicked"), 200);
    }
}

#[tokio::test]
async fn other_paths_and_methods() {
    let service = Service::start(&[]).await;
    for (path, status) in [
        ("/healthz", 200),
        ("/livez", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/faults/loop_stall", 404),
        ("/api/v1/transcode", 405),
    ] {
        assert_eq!(answer(&http1(), get(&format!("{}{path}", service.url))).await.0, status, "{path}");
    }
}

#[test]
fn command_lines_that_cannot_be_followed() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = holder.local_addr().expect("bound").to_string();
    let cases: [(&[&str], &str); 9] = [
        (&["--listen", &held], &held),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--fault", "nope"], "no fault \"nope\""),
        (&["--fault", "loop_stall=soon"], "milliseconds"),
        (&["--fault", "tempfile_fd_leak=2"], "ratio"),
        (&["--max-streams", "0"], "--max-streams"),
        (&["--guard", "https://127.0.0.1:1"], "--guard"),
        (&["--otlp", "not a url"], "--otlp"),
        (&["--nonsense"], "--nonsense"),
    ];
    for (arguments, named) in cases {
        let (code, said) = run_to_end(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}
