//! How sessions end, and what they may keep.

use crate::harness::*;
use crate::hls_live::{clip, first, frames_by_url, open, playlist, status};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use std::time::{Duration, Instant};

/// 24 seconds, which make about two megabytes at 180 lines: more than a window of one.
fn long() -> Bytes {
    video("ts", "-f lavfi -i testsrc2=size=320x180:rate=25:duration=24", QUICK)
}

const SMALL_WINDOW: [&str; 2] = ["--session-window", "1MiB"];
const BYTES: usize = 1 << 20;

/// Polls until the service has no stream.
async fn no_stream(service: &Service) {
    let start = Instant::now();
    while service.metric("transcoder_streams").await > 0.0 {
        assert!(start.elapsed() < DEADLINE, "a stream is still there");
    }
}

/// Waits for the POST's answer to break off.
async fn broken_off(body: hyper::body::Incoming) {
    let end = tokio::time::timeout(DEADLINE, body.collect()).await.expect("in time");
    assert!(end.is_err(), "an upload that was broken off must not look like a success");
}

#[tokio::test]
async fn one_that_nobody_asks_for_ends_by_itself() {
    let service = Service::start(&["--session-idle", "1"]).await;
    let baseline = service.holdings();
    for http in [http1(), http2()] {
        let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
        broken_off(live.answer.into_body()).await;
        assert_eq!(status(&http, &live.playlist).await, 404);
        no_stream(&service).await;
        drop((live.sender, http));
    }
    assert_eq!(service.metric("transcoder_sessions_ended_total{reason=\"idle\"}").await, 2.0);
    assert_eq!(service.metric("transcoder_cancellations_total{reason=\"idle\"}").await, 2.0);
    service.back_to(baseline).await;
}

#[tokio::test]
async fn viewers_keep_it_alive_and_a_finished_one_goes_when_they_do() {
    let service = Service::start(&["--session-idle", "1"]).await;
    let alone = service.metric("transcoder_tasks").await;
    let http = http2();
    let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
    let (url, began) = (live.playlist.clone(), Instant::now());
    // One request that waits is enough, and it is bounded: the stream does not go on.
    let next = playlist(&http, &url).await.segments.len() + 2;
    assert_eq!(status(&http, &format!("{url}?_HLS_msn={next}")).await, 503);
    assert!(began.elapsed() > Duration::from_secs(3), "it waits for three target durations");
    let watching = tokio::spawn({
        let (http, url) = (http.clone(), url.clone());
        async move { while !playlist(&http, &format!("{url}?_HLS_msn={next}")).await.is_ended() {} }
    });
    live.finish(clip().slice(first(&clip(), 3.5, 7.0).len()..)).await;
    watching.await.expect("not panicked");
    drop(http);
    // A look at it would keep it: so look at the task that it is.
    let start = Instant::now();
    while service.metric("transcoder_tasks").await > alone {
        assert!(start.elapsed() < DEADLINE, "it is still there");
    }
    assert_eq!(status(&http1(), &url).await, 404);
}

#[tokio::test]
async fn somebody_ends_it() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    let (http, viewer) = (http1(), http2());
    let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
    let next = playlist(&viewer, &live.playlist).await.segments.len() + 1;
    let waiting = tokio::spawn({
        let (viewer, url) = (viewer.clone(), format!("{}?_HLS_msn={next}", live.playlist));
        async move { status(&viewer, &url).await }
    });
    let end = || Request::delete(&live.session).body(whole("")).expect("a request");
    assert_eq!(answer(&viewer, end()).await.0, 204);
    assert_eq!(waiting.await.expect("not panicked"), 404);
    assert_eq!(answer(&viewer, end()).await.0, 404);
    assert_eq!(status(&viewer, &live.playlist).await, 404);
    broken_off(live.answer.into_body()).await;
    no_stream(&service).await;
    drop((live.sender, http, viewer));
    service.back_to(baseline).await;
}

#[tokio::test]
async fn an_uploader_that_leaves_ends_the_playlist() {
    let service = Service::start(&[]).await;
    for http in [http1(), http2()] {
        let live = open(&service, &http, first(&clip(), 5.0, 7.0), &[]).await;
        let viewer = http1();
        let made = playlist(&viewer, &live.playlist).await;
        let (url, next) = (live.playlist.clone(), made.segments.len() + 1);
        drop((live.sender, live.answer, http));
        no_stream(&service).await;
        let ended = playlist(&viewer, &format!("{url}?_HLS_msn={next}")).await;
        assert!(ended.is_ended() && ended.segments.len() >= made.segments.len(), "{}", ended.text);
        assert!(frames_by_url(&url) >= 50);
    }
}

/// Without a viewer the upload waits and the window stays within its bound.
#[tokio::test]
async fn a_viewer_that_never_comes_costs_one_window() {
    let service = Service::start(&SMALL_WINDOW).await;
    let baseline = service.holdings();
    let http = http2();
    let live = open(&service, &http, long(), &[("x-height", "180")]).await;
    // Frames stand still: the codec waits.
    let mut frames = (-1.0, Instant::now());
    while frames.1.elapsed() < Duration::from_millis(500) {
        let now = service.metric("transcoder_frames_total").await;
        if now != frames.0 {
            frames = (now, Instant::now());
        }
    }
    assert!((50.0..550.0).contains(&frames.0), "{} of 600 frames", frames.0);
    let kept = playlist(&http, &live.playlist).await;
    let mut bytes = 0;
    for (name, _) in &kept.segments {
        let head = Request::head(format!("{}/{name}", live.session)).body(whole("")).expect("a request");
        bytes +=
            answer(&http, head).await.1["content-length"].to_str().expect("text").parse::<usize>().expect("a number");
    }
    assert!((BYTES / 2..=BYTES).contains(&bytes), "{bytes} bytes kept of {BYTES}");
    assert_eq!(kept.value("#EXT-X-MEDIA-SEQUENCE:"), "1", "nothing goes that nobody has taken");
    let window = service.metric("transcoder_session_window_bytes").await;
    assert!((bytes as f64..=BYTES as f64).contains(&window), "{window} bytes told, {bytes} in whole segments");
    assert_eq!(service.metric("transcoder_sessions{state=\"running\"}").await, 1.0);
    let end = Request::delete(&live.session).body(whole("")).expect("a request");
    assert_eq!(answer(&http, end).await.0, 204);
    broken_off(live.answer.into_body()).await;
    assert_eq!(service.metric("transcoder_session_window_bytes").await, 0.0);
    assert_eq!(service.metric("transcoder_sessions_ended_total{reason=\"deleted\"}").await, 1.0);
    drop((live.sender, http));
    service.back_to(baseline).await;
}

/// One who takes every segment sees all of a stream that is larger than its window: the upload is paced by it.
#[tokio::test]
async fn a_viewer_paces_an_upload_that_is_faster() {
    let service = Service::start(&SMALL_WINDOW).await;
    let (http, viewer) = (http1(), http2());
    let live = open(&service, &http, long(), &[("x-height", "180")]).await;
    let (url, session) = (live.playlist.clone(), live.session.clone());
    let uploaded = tokio::spawn(live.finish(Bytes::new()));
    let (mut all, mut taken) = (answer(&viewer, get(&format!("{session}/init.mp4"))).await.2.to_vec(), 0);
    loop {
        let now = playlist(&viewer, &format!("{url}?_HLS_msn={}", taken + 1)).await;
        let oldest: usize = now.value("#EXT-X-MEDIA-SEQUENCE:").parse().expect("a number");
        assert!(oldest <= taken + 1, "segment {} went before it was taken", taken + 1);
        for (name, _) in now.segments.iter().skip(taken + 1 - oldest) {
            all.extend_from_slice(&answer(&viewer, get(&format!("{session}/{name}"))).await.2);
            taken += 1;
        }
        if now.is_ended() && taken + 1 == oldest + now.segments.len() {
            break;
        }
    }
    uploaded.await.expect("not panicked");
    assert_eq!(probe(&all).1[0].3, 600);
    assert!(playlist(&viewer, &url).await.value("#EXT-X-MEDIA-SEQUENCE:") != "1", "it was larger than its window");
}

/// Viewers who look and take nothing do not stop the stream for ever; one who comes then gets going.
#[tokio::test]
async fn viewers_who_pause_do_not_stop_the_stream() {
    let service = Service::start(&[&SMALL_WINDOW[..], &["--session-idle", "3"]].concat()).await;
    let (http, viewer) = (http1(), http2());
    let live = open(&service, &http, long(), &[("x-height", "180")]).await;
    let (url, session) = (live.playlist.clone(), live.session.clone());
    let uploaded = tokio::spawn(live.finish(Bytes::new()));
    let start = Instant::now();
    let ended = loop {
        let now = playlist(&viewer, &url).await;
        if now.is_ended() {
            break now;
        }
        assert!(start.elapsed() < DEADLINE, "it still waits: {}", now.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    uploaded.await.expect("not panicked");
    assert_ne!(ended.value("#EXT-X-MEDIA-SEQUENCE:"), "1");
    assert_eq!(status(&viewer, &format!("{session}/segment-00001.m4s")).await, 404);
    assert!(frames_by_url(&url) > 50);
}

/// The end of the service does not wait for viewers, and not longer for an upload than was said.
#[tokio::test]
async fn the_end_of_the_service_is_the_end_of_sessions() {
    let service = Service::start(&["--drain-timeout", "500ms"]).await;
    let (http, viewer) = (http2(), http1());
    let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
    let next = playlist(&viewer, &live.playlist).await.segments.len() + 1;
    let waiting = tokio::spawn({
        let url = format!("{}?_HLS_msn={next}", live.playlist);
        async move { viewer.request(get(&url)).await.is_ok_and(|answer| answer.status() == 200) }
    });
    let (code, took) = service.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    broken_off(live.answer.into_body()).await;
    // Either the last of the playlist or a connection that is closed.
    waiting.await.expect("not panicked");
    drop(live.sender);
}
