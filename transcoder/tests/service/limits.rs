//! More than there is room for: refused at once, by name, and seen by clients that are still uploading; those who watch
//! the service are answered all the while.

use crate::harness::*;
use bytes::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Streams that go on until they are let go.
struct Held(Vec<(mpsc::Sender<Bytes>, JoinHandle<u16>)>);

impl Held {
    async fn start(service: &Service, http: &Http, streams: usize) -> Self {
        Self::beside(0, service, http, streams).await
    }

    /// The same while others are in progress.
    async fn beside(others: usize, service: &Service, http: &Http, streams: usize) -> Self {
        let mut held = Vec::new();
        for _ in 0..streams {
            let (sender, body) = streamed();
            let (http, request) = (http.clone(), post(service, &[], body));
            let response = tokio::spawn(async move { answer(&http, request).await.0.as_u16() });
            sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
            held.push((sender, response));
        }
        service.streaming((others + streams) as f64).await;
        Self(held)
    }

    /// All of them were served in the end.
    async fn end(self) {
        for (sender, response) in self.0 {
            sender.send(ts_with_sound().slice(20_000..)).await.expect("read");
            drop(sender);
            assert_eq!(response.await.expect("not panicked"), 200);
        }
    }
}

/// Uploads this; the limit that it is refused by.
async fn refused(service: &Service, http: &Http, upload: Bytes) -> String {
    limit(http, post(service, &[], whole(upload))).await
}

async fn limit(http: &Http, request: hyper::Request<Body>) -> String {
    let (status, headers, body) = answer(http, request).await;
    assert_eq!((status.as_u16(), headers["retry-after"].as_bytes()), (429, &b"1"[..]), "{body:?}");
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("json");
    problem["limit"].as_str().unwrap_or_else(|| panic!("no limit in {problem}")).to_owned()
}

/// As from another machine: loopback has more than one address.
fn from(address: &str) -> Http {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(address.parse::<IpAddr>().expect("an address")));
    Client::builder(TokioExecutor::new()).build(connector)
}

#[tokio::test]
async fn large_uploads_over_the_limit_see_their_status_on_both_protocols() {
    let service = Service::start(&["--max-streams", "2"]).await;
    let baseline = service.holdings();
    let http = http2();
    let held = Held::start(&service, &http, 2).await;
    let large = Bytes::from(vec![0; 7 << 20]);
    for client in [http1(), http2(), http.clone()] {
        let mut refusals = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (client, request) = (client.clone(), post(&service, &[], whole(large.clone())));
            refusals.spawn(async move { limit(&client, request).await });
        }
        for limit in refusals.join_all().await {
            assert_eq!(limit, "max-streams");
        }
    }
    held.end().await;
    drop(http);
    service.back_to(baseline).await;
}

/// A client that asks first is refused before it has sent anything, and not told to go on.
#[tokio::test]
async fn a_client_that_expects_to_be_told_is_told() {
    let service = Service::start(&["--max-streams", "1"]).await;
    let held = Held::start(&service, &http1(), 1).await;
    let mut stream = TcpStream::connect(service.address()).await.expect("connected");
    let head = "POST /api/v1/transcode HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: 9000000\r\n\
                Expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut said = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut said)).await.expect("in time").expect("an answer");
    assert_eq!(String::from_utf8_lossy(&said), "HTTP/1.1 429");
    held.end().await;
}

#[tokio::test]
async fn memory_is_reserved_at_the_door_and_grown_while_it_is_kept() {
    let service = Service::start(&["--memory-budget", "48MiB"]).await;
    let http = http1();
    let held = Held::start(&service, &http, 1).await;
    // The index at the end: kept in memory until there is none left for it.
    let mut spooled = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\x7f\0\0\0mdat".to_vec();
    spooled.resize(12 << 20, 0);
    assert_eq!(refused(&service, &http, spooled.into()).await, "memory-budget");
    // What it had is given back a moment after its answer.
    service.streaming(1.0).await;
    let second = Held::beside(1, &service, &http, 1).await;
    assert_eq!(refused(&service, &http, ts_with_sound()).await, "memory-budget");
    held.end().await;
    second.end().await;
    assert_eq!(answer(&http, post(&service, &[], whole(ts_with_sound()))).await.0, 200);
}

#[tokio::test]
async fn one_client_leaves_places_to_others() {
    let service = Service::start(&["--max-streams", "4", "--client-share", "0.5"]).await;
    let (one, other) = (from("127.0.0.1"), from("127.0.0.2"));
    let held = Held::start(&service, &one, 2).await;
    assert_eq!(refused(&service, &one, ts_with_sound()).await, "client-share");
    assert_eq!(answer(&other, post(&service, &[], whole(ts_with_sound()))).await.0, 200);
    held.end().await;
    assert_eq!(answer(&one, post(&service, &[], whole(ts_with_sound()))).await.0, 200);
}

#[tokio::test]
async fn those_who_watch_are_answered_when_everything_is_taken() {
    let service = Service::start_limited("64", &["--max-streams", "2"]).await;
    let (streams, watcher) = (http2(), http1());
    let page = |name: &str| get(&format!("{}/{name}", service.url));
    assert_eq!(answer(&watcher, page("healthz")).await.0, 200);
    let held = Held::start(&service, &streams, 2).await;
    assert_eq!(answer(&watcher, page("metrics")).await.0, 200);
    // All descriptors, by connections that say nothing.
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(TcpStream::connect(service.address()).await.expect("the kernel's queue takes it"));
    }
    eventually("no file descriptor is left", || service.holdings().0 >= 64).await;
    for name in ["healthz", "livez", "metrics"] {
        assert_eq!(answer(&streams, page(name)).await.0, 200, "{name} on a connection that is open");
    }
    held.end().await;
}

/// The reservation is an estimate from above, and not so far above that it would turn clients away for nothing.
#[tokio::test]
async fn what_is_reserved_is_what_the_heap_comes_to() {
    for (size, height, streams) in [("320x180", "180", 8), ("1280x720", "720", 3), ("1920x1080", "720", 2)] {
        let service = Service::start(&["--codec-threads", "1"]).await;
        let http = http2();
        let idle = service.metric("transcoder_heap_in_use_bytes").await;
        let clip = video("ts", &format!("{} {SOUND}", picture(size)), QUICK);
        let mut held = Vec::new();
        for _ in 0..streams {
            let (sender, body) = streamed();
            let (http, request) = (http.clone(), post(&service, &[("x-height", height)], body));
            let response = tokio::spawn(async move { answer(&http, request).await.0.as_u16() });
            sender.send(clip.slice(..clip.len() / 2)).await.expect("read");
            held.push((sender, response));
        }
        // Far enough that every codec holds what it will ever hold.
        let started = Instant::now();
        while service.metric("transcoder_frames_total").await < 15.0 * f64::from(streams) {
            assert!(started.elapsed() < DEADLINE, "the streams stand still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let used = service.metric("transcoder_heap_in_use_bytes").await - idle;
        let reserved = service.metric("transcoder_memory_reserved_bytes").await;
        assert!(used <= reserved && reserved <= 4.0 * used, "{size}: {used} bytes used, {reserved} reserved");
        for (sender, response) in held {
            sender.send(clip.slice(clip.len() / 2..)).await.expect("read");
            drop(sender);
            assert_eq!(response.await.expect("not panicked"), 200);
        }
    }
}
