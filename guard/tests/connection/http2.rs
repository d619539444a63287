//! HTTP/2: many streams at once on one connection.

use super::{FIRST, serve};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Twenty requests at once, three times over; each answer's bytes are its own.
async fn twenty_streams(client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, chunks: usize, length: usize) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(20_000).initial_connection_window_size(100_000);
    let (sender, connection) =
        builder.handshake::<_, Empty<bytes::Bytes>>(TokioIo::new(client)).await.expect("connected");
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let mut open = tokio::task::JoinSet::new();
        for number in FIRST..FIRST + 20 {
            let mut sender = sender.clone();
            open.spawn(async move {
                let uri = format!("http://a/{number}/{chunks}/{length}");
                let request = Request::get(uri).body(Empty::new()).expect("a request");
                let answer = sender.send_request(request).await.expect("answered");
                let body = answer.into_body().collect().await.expect("whole").to_bytes();
                assert_eq!(body.len(), chunks * length);
                assert!(body.iter().all(|byte| *byte == number), "bytes of another stream");
            });
        }
        while let Some(done) = open.join_next().await {
            done.expect("right");
        }
    }
    drop(sender);
    connection.await.expect("not panicked").expect("closed in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_send_over_tcp_belongs_to_the_trace_that_is_published() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let client = tokio::spawn(async move {
        let client = TcpStream::connect(address).await.expect("connected");
        twenty_streams(client, 40, 3000).await;
    });
    let (server, _) = listener.accept().await.expect("accepted");
    let (sends, requests, served) = serve(server, |_| {});
    drop(served.await);
    client.await.expect("right");
    assert_eq!(sends.http2_bodies(), (3 * 20 * 40 * 3000, 0), "all of it is published");
    assert!(requests.is_on());
    let traces: std::collections::BTreeSet<_> = sends.all().iter().filter_map(|(published, _)| *published).collect();
    assert_eq!(traces.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_takes_little_at_a_time_changes_nothing() {
    for room in [50, 333, 5000] {
        let (client, server) = tokio::io::duplex(room);
        let client = tokio::spawn(twenty_streams(client, 5, 999));
        let (sends, _, served) = serve(server, |_| {});
        drop(served.await);
        client.await.expect("right");
        let (own, none) = sends.http2_bodies();
        assert_eq!(own + none, 3 * 20 * 5 * 999);
        assert!(own * 2 > own + none, "most are published: {own} with, {none} without, room for {room}");
    }
}
