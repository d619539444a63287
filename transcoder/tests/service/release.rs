//! Clients that go away, files that run out, and the end.

use crate::harness::*;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_client_that_leaves_frees_everything() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    for http in [http1(), http2()] {
        let mut open = Vec::new();
        for _ in 0..6 {
            let (sender, body) = streamed();
            let (http, request) = (http.clone(), post(&service, &[("x-output-format", "ts")], body));
            let response = tokio::spawn(async move { head(&http, request).await });
            // Half of it: some of these are answered already, all of them wait for more.
            sender.send(ts_with_sound().slice(..ts_with_sound().len() / 2)).await.expect("read");
            open.push((sender, response));
        }
        eventually("six codec threads", || service.holdings().1 >= baseline.1 + 6).await;
        let mut answered = Vec::new();
        for (index, (sender, response)) in open.into_iter().enumerate() {
            if index % 2 == 0 {
                // Goes away in the middle of the answer.
                answered.push((sender, response.await.expect("not panicked")));
            } else {
                // Goes away before it.
                response.abort();
            }
        }
        drop((answered, http));
        service.back_to(baseline).await;
    }
    assert_eq!(service.metric("transcoder_streams").await, 0.0);
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_upload_frees_its_stream() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    let address = service.url.strip_prefix("http://").expect("http");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head =
        "POST /api/v1/transcode HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp2t\r\nContent-Length: 900000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&ts_with_sound()[..30_000]).await.expect("sent");
    eventually("a codec thread", || service.holdings().1 > baseline.1).await;
    drop(stream);
    service.back_to(baseline).await;
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_its_own_stream_alone() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    let http = http2_with_small_stream_windows();
    // Large results that nobody reads: their windows fill up, on the same connection as the one that is read.
    let upload = video("ts", "-f lavfi -i testsrc2=size=640x360:rate=25:duration=6", QUICK);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let response = head(&http, post(&service, &[("x-height", "480")], whole(upload.clone()))).await;
        assert_eq!(response.status(), 200);
        stalled.push(response);
    }
    let (status, _, body) = answer(&http, post(&service, &[], whole(ts_with_sound()))).await;
    assert_eq!((status.as_u16(), probe(&body).1[0].3), (200, 50));
    assert_eq!(service.metric("transcoder_streams").await, 4.0, "the stalled ones are still open");
    drop((stalled, http));
    service.back_to(baseline).await;
}

#[tokio::test]
async fn survives_without_file_descriptors_and_recovers() {
    let service = Service::start_limited("40", &[]).await;
    let address = service.url.strip_prefix("http://").expect("http").to_owned();
    let mut connections = Vec::new();
    for _ in 0..60 {
        connections.push(TcpStream::connect(&address).await.expect("the kernel's queue takes it"));
    }
    eventually("no file descriptor is left", || service.holdings().0 >= 40).await;
    // It must not spin: processor time over a while is next to nothing.
    let before = cpu_ticks(service.pid);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = cpu_ticks(service.pid) - before;
    assert!(used <= 10, "{used} ticks of 10 ms in half a second: it spins");
    drop(connections);
    let (status, _, body) = answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await;
    assert_eq!((status.as_u16(), probe(&body).1[0].3), (200, 50));
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[tokio::test]
async fn sigterm_ends_it_with_streams_open() {
    let service = Service::start(&[]).await;
    let idle = TcpStream::connect(service.url.strip_prefix("http://").expect("http")).await.expect("connected");
    let (sender, body) = streamed();
    let (http, request) = (http2(), post(&service, &[], body));
    let response = tokio::spawn(async move { head(&http, request).await.into_body().collect().await.is_err() });
    sender.send(ts_with_sound()).await.expect("read");
    let mut taken = 0.0;
    while taken < 1.0 {
        taken = service.metric("transcoder_streams").await;
    }
    let (code, took) = service.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    assert!(response.await.expect("not panicked"), "a stream that is cut must not look whole");
    drop((sender, idle));
}

#[tokio::test]
async fn sigterm_lets_a_stream_that_can_end_end() {
    let service = Service::start(&[]).await;
    let address = service.url.strip_prefix("http://").expect("http").to_owned();
    let (sender, body) = streamed();
    let (http, request) = (http1(), post(&service, &[("x-output-format", "ts")], body));
    let answered = tokio::spawn(async move { answer(&http, request).await });
    let upload = ts_with_sound();
    sender.send(upload.slice(..upload.len() / 2)).await.expect("read");
    let mut taken = 0.0;
    while taken < 1.0 {
        taken = service.metric("transcoder_streams").await;
    }
    let ended = tokio::spawn(service.terminate());
    // The listener is closed at once; the stream goes on.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sender.send(upload.slice(upload.len() / 2..)).await.expect("read");
    drop(sender);
    let (status, _, body) = answered.await.expect("not panicked");
    assert_eq!((status.as_u16(), probe(&body).1[0].3), (200, 50));
    assert_eq!(ended.await.expect("not panicked").0, Some(0));
}

/// A client that speaks nonsense gets an answer or a closed connection, and the service goes on.
#[tokio::test]
async fn nonsense_on_the_wire() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    for nonsense in ["\r\n\r\n\0\0", "POST / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{ff}nonsense-frames"]
    {
        let mut stream =
            TcpStream::connect(service.url.strip_prefix("http://").expect("http")).await.expect("connected");
        stream.write_all(nonsense.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("closed");
        let mut said = Vec::new();
        // Reset or closed: both are ends.
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.expect("it ends").unwrap_or_default();
    }
    service.back_to(baseline).await;
    assert_eq!(answer(&http1(), get(&format!("{}/healthz", service.url))).await.0, 200);
}
