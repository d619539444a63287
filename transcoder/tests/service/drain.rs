//! The end of the service: streams may end, nothing new begins, and nobody waits longer than was said.

use crate::harness::*;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Half of an upload is there, the other half comes when it is asked for.
async fn half_way(service: &Service) -> (mpsc::Sender<bytes::Bytes>, JoinHandle<Option<bytes::Bytes>>) {
    let (sender, body) = streamed();
    let (http, request) = (http1(), post(service, &[("x-output-format", "ts")], body));
    let answered = tokio::spawn(async move {
        let response = http.request(request).await.ok()?;
        let whole = response.status() == 200;
        response.into_body().collect().await.ok().filter(|_| whole).map(|body| body.to_bytes())
    });
    let upload = ts_with_sound();
    sender.send(upload.slice(..upload.len() / 2)).await.expect("read");
    service.streaming(1.0).await;
    (sender, answered)
}

async fn no_more_connections(address: &str) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One request on a connection of its own that is kept.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    while !said.ends_with(b"\n") && !said.ends_with(b"}") {
        let mut piece = [0; 4096];
        let length = tokio::time::timeout(DEADLINE, stream.read(&mut piece)).await.expect("in time").expect("read");
        assert!(length > 0, "closed after {said:?}");
        said.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(said).expect("text")
}

#[tokio::test]
async fn streams_end_by_themselves_and_open_connections_are_told() {
    let service = Service::start(&[]).await;
    let address = service.address().to_owned();
    let (sender, answered) = half_way(&service).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(&address).await.expect("connected"));
        let healthy = ask(open.last_mut().expect("pushed"), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    }
    service.signal_end();
    no_more_connections(&address).await;
    let post = "POST /api/v1/transcode HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: 0\r\n\r\n";
    for (stream, (request, status, says)) in open.iter_mut().zip([
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "503", "draining"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "200", "ok"),
        (post, "503", "stopping"),
    ]) {
        let said = ask(stream, request).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")) && said.contains(says), "{said}");
        assert!(said.contains("connection: close"), "{said}");
    }
    let upload = ts_with_sound();
    sender.send(upload.slice(upload.len() / 2..)).await.expect("read");
    drop(sender);
    let body = answered.await.expect("not panicked").expect("whole");
    assert_eq!(probe(&body).1[0].3, 50);
    assert_eq!(service.ended().await.0, Some(0));
}

#[tokio::test]
async fn http2_is_told_to_go_away_while_its_stream_ends() {
    let service = Service::start(&[]).await;
    let stream = TcpStream::connect(service.address()).await.expect("connected");
    let (mut http, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let (sender, body) = streamed();
    let response = http.send_request(post(&service, &[], body));
    let upload = ts_with_sound();
    sender.send(upload.slice(..upload.len() / 2)).await.expect("read");
    service.streaming(1.0).await;
    service.signal_end();
    // Refused as soon as the client knows; what it sent before that is answered.
    let start = std::time::Instant::now();
    while let Ok(answer) = http.send_request(get(&format!("{}/healthz", service.url))).await {
        assert!([200, 503].contains(&answer.status().as_u16()));
        assert!(start.elapsed() < DEADLINE, "never told");
    }
    sender.send(upload.slice(upload.len() / 2..)).await.expect("read");
    drop(sender);
    let body = response.await.expect("an answer").into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(probe(&body).1[0].3, 50);
    drop(http);
    assert_eq!(service.ended().await.0, Some(0));
}

#[tokio::test]
async fn streams_that_do_not_end_are_cut_in_time_and_at_the_second_asking_at_once() {
    for (drain, asks) in [("300ms", 1), ("1h", 2)] {
        let service = Service::start(&["--drain-timeout", drain]).await;
        let idle = TcpStream::connect(service.address()).await.expect("connected");
        let (sender, answered) = half_way(&service).await;
        let address = service.address().to_owned();
        service.signal_end();
        no_more_connections(&address).await;
        if asks == 2 {
            assert!(!answered.is_finished());
            service.signal_end();
        }
        assert_eq!(service.ended().await.0, Some(0), "{drain}");
        assert_eq!(answered.await.expect("not panicked"), None, "a stream that is cut must not look whole");
        drop((sender, idle));
    }
}

#[tokio::test]
async fn without_streams_it_ends_at_once() {
    let service = Service::start(&["--drain-timeout", "1h"]).await;
    assert_eq!(answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await.0, 200);
    let idle = TcpStream::connect(service.address()).await.expect("connected");
    assert_eq!(service.terminate().await.0, Some(0));
    drop(idle);
}
