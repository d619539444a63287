//! HTTP/1.1: one response after the other, also when the requests come all at once and the client reads slowly.

use super::{FIRST, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn get(number: u8, chunks: usize, length: usize) -> String {
    format!("GET /{number}/{chunks}/{length} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Reads until so many body bytes are there.
async fn read_body_bytes(client: &mut (impl AsyncReadExt + Unpin), wanted: usize) {
    let mut seen = 0;
    let mut buffer = [0; 1000];
    while seen < wanted {
        let count = client.read(&mut buffer).await.expect("open");
        assert!(count > 0, "closed after {seen} of {wanted}");
        seen += buffer[..count].iter().filter(|byte| **byte >= FIRST).count();
    }
}

#[tokio::test]
async fn each_response_leaves_with_its_trace_and_answers_of_hyper_s_own_with_none() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (sends, requests, served) = serve(server, |_| {});
    let served = tokio::spawn(async move { drop(served.await) });
    for number in FIRST..FIRST + 20 {
        client.write_all(get(number, 3, 5000).as_bytes()).await.expect("open");
        read_body_bytes(&mut client, 15_000).await;
    }
    assert_eq!(sends.http1_bodies(), (20 * 15_000, 0));
    client.write_all(b"nonsense\r\n\r\n").await.expect("open");
    client.read_to_end(&mut Vec::new()).await.expect("closed in order");
    served.await.expect("not panicked");
    let all = sends.all();
    let (published, refusal) = all.last().expect("a send");
    assert!(refusal.starts_with(b"HTTP/1.1 400"), "{refusal:?}");
    assert_eq!(*published, None, "nobody's request was answered");
    assert!(requests.is_on());
}

#[tokio::test]
async fn pipelined_requests_of_a_slow_reader_are_not_mixed_up() {
    // So little room that responses meet in hyper's buffer.
    let (mut client, server) = tokio::io::duplex(700);
    let (sends, _, served) = serve(server, |_| {});
    let served = tokio::spawn(async move { drop(served.await) });
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let writing = async {
        for number in FIRST..FIRST + 50 {
            writer.write_all(get(number, usize::from(number) % 4, 333).as_bytes()).await.expect("open");
        }
    };
    let expected = (FIRST..FIRST + 50).map(|number| usize::from(number) % 4 * 333).sum();
    tokio::join!(writing, read_body_bytes(&mut reader, expected));
    drop(client);
    served.await.expect("not panicked");
    let (own, none) = sends.http1_bodies();
    assert_eq!(own + none, expected);
    assert!(own * 2 > expected, "most are published: {own} of {expected}");
}
