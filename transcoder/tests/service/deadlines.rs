//! Clients that take their time: each deadline ends its stream, says so where that is still possible, and never makes
//! a torso look whole.

use crate::harness::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Sends `upload` in small pieces for as long as somebody takes them; the status and the detail of the answer.
async fn drips(service: &Service, http: &Http, upload: Bytes, piece: usize) -> (u16, String) {
    let (sender, body) = streamed();
    let (http, request) = (http.clone(), post(service, &[], body));
    let answered = tokio::spawn(async move { answer(&http, request).await });
    let pieces = (0..upload.len()).step_by(piece).map(|at| upload.slice(at..upload.len().min(at + piece)));
    for piece in pieces {
        if answered.is_finished() || sender.send(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, headers, body) = answered.await.expect("not panicked");
    assert_eq!(headers["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("json");
    drop(sender);
    (status.as_u16(), problem["detail"].as_str().expect("a reason").to_owned())
}

#[tokio::test]
async fn an_upload_that_stands_still_or_drips_is_answered_408() {
    let service = Service::start(&["--idle-timeout", "500ms"]).await;
    let baseline = service.holdings();
    for http in [http1(), http2()] {
        let (sender, body) = streamed();
        // Less than a picture: no answer has begun.
        sender.send(ts_with_sound().slice(..2_000)).await.expect("kept");
        let (status, _, body) = answer(&http, post(&service, &[], body)).await;
        assert_eq!(status, 408, "{body:?}");
        assert!(String::from_utf8_lossy(&body).contains("--idle-timeout"), "{body:?}");
        drop(sender);
        // A byte in 20 ms is not nothing, but nearly.
        let (status, detail) = drips(&service, &http, ts_with_sound(), 1).await;
        assert_eq!(status, 408, "{detail}");
        assert!(detail.contains("--idle-timeout"), "{detail}");
    }
    service.back_to(baseline).await;
}

/// The first byte's deadline holds however lively the upload is, also while it is spooled.
#[tokio::test]
async fn a_first_byte_that_does_not_come_is_a_408() {
    let service = Service::start(&["--first-byte-timeout", "800ms"]).await;
    let baseline = service.holdings();
    let mut spooled = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\x7f\0\0\0mdat".to_vec();
    spooled.resize(60 << 20, 0);
    for upload in [Bytes::from(spooled), ts_with_sound()] {
        let (status, detail) = drips(&service, &http2(), upload, 200).await;
        assert_eq!(status, 408, "{detail}");
        assert!(detail.contains("--first-byte-timeout"), "{detail}");
    }
    service.back_to(baseline).await;
}

#[tokio::test]
async fn a_stream_that_is_not_done_in_time_is_broken_off() {
    let service = Service::start(&["--total-timeout", "1500ms"]).await;
    let baseline = service.holdings();
    for http in [http1(), http2()] {
        let (sender, body) = streamed();
        sender.send(ts_with_sound()).await.expect("kept");
        let response = head(&http, post(&service, &[("x-output-format", "ts")], body)).await;
        assert_eq!(response.status(), 200, "it has begun");
        let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("it ends");
        assert!(body.is_err(), "it looks whole");
        drop(sender);
    }
    service.back_to(baseline).await;
}

/// A picture that is larger than what waits in windows, sockets and pieces.
fn large() -> Bytes {
    video("ts", "-f lavfi -i testsrc2=size=640x360:rate=25:duration=8", QUICK)
}

#[tokio::test]
async fn a_result_that_is_not_read_is_broken_off() {
    let service = Service::start(&["--idle-timeout", "700ms"]).await;
    let baseline = service.holdings();
    let http = http2_with_small_stream_windows();
    let response = head(&http, post(&service, &[("x-height", "480")], whole(large()))).await;
    assert_eq!(response.status(), 200);
    service.streaming(0.0).await;
    // The connection is still good for others; the stream is not.
    assert_eq!(answer(&http, get(&format!("{}/healthz", service.url))).await.0, 200);
    let rest = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("it ends");
    assert!(rest.is_err(), "it looks whole");
    drop(http);
    service.back_to(baseline).await;
}

/// Takes a few bytes at a time, and would for minutes.
#[tokio::test]
async fn a_result_that_is_hardly_read_is_broken_off() {
    let service = Service::start(&["--idle-timeout", "700ms"]).await;
    let baseline = service.holdings();
    let upload = large();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let mut stream = socket.connect(service.address().parse().expect("an address")).await.expect("connected");
    let head = format!(
        "POST /api/v1/transcode HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp2t\r\nX-Height: 480\r\n\
         Content-Length: {}\r\n\r\n",
        upload.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let (mut reads, mut writes) = stream.into_split();
    let uploading = tokio::spawn(async move { writes.write_all(&upload).await.map(|()| writes) });
    let (hurry, mut in_a_hurry) = tokio::sync::oneshot::channel::<()>();
    let reading = tokio::spawn(async move {
        let mut said = Vec::new();
        let mut drop = [0; 4];
        while in_a_hurry.try_recv().is_err() {
            match reads.read(&mut drop).await {
                Ok(length) if length > 0 => said.extend_from_slice(&drop[..length]),
                _ => return said,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What was on its way; a reset ends it as well.
        reads.read_to_end(&mut said).await.map(|_| ()).unwrap_or_default();
        said
    });
    service.streaming(1.0).await;
    service.streaming(0.0).await;
    hurry.send(()).unwrap_or_default();
    let said = tokio::time::timeout(DEADLINE, reading).await.expect("broken off").expect("not panicked");
    assert!(said.starts_with(b"HTTP/1.1 200"));
    assert!(!said.ends_with(b"0\r\n\r\n"), "it looks whole");
    drop(uploading);
    service.back_to(baseline).await;
}

/// One that waits for its client is not held against it: reading and sending at one's own pace is fine.
#[tokio::test]
async fn a_slow_client_that_goes_on_is_served() {
    let service = Service::start(&["--idle-timeout", "1s"]).await;
    let (sender, body) = streamed();
    let (http, request) = (http1(), post(&service, &[], body));
    let answered = tokio::spawn(async move { answer(&http, request).await });
    let upload = ts_with_sound();
    for at in (0..upload.len()).step_by(8192) {
        sender.send(upload.slice(at..upload.len().min(at + 8192))).await.expect("read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(sender);
    let (status, _, body) = answered.await.expect("not panicked");
    assert_eq!((status.as_u16(), probe(&body).1[0].3), (200, 50));
    drop(TcpStream::connect(service.address()).await.expect("still there"));
}
