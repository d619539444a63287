//! Clients that go away, and files that run out: what a stream held is given back.

use crate::harness::*;
use std::collections::BTreeSet;
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

/// The ids of the codec threads.
fn codec_threads(pid: u32) -> BTreeSet<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("alive").filter_map(Result::ok);
    let codecs = tasks
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == "transcode"));
    codecs.map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

/// One thread, one after another: cancelled, broken, whole; none leaves anything to the next.
#[tokio::test]
async fn a_thread_goes_on_with_the_next_stream() {
    let service = Service::start(&["--max-streams", "1"]).await;
    let mut threads = BTreeSet::new();
    for round in 0..6 {
        if round % 2 == 0 {
            let (sender, body) = streamed();
            let (http, request) = (http2(), post(&service, &[("x-output-format", "ts")], body));
            let response = tokio::spawn(async move { head(&http, request).await });
            sender.send(ts_with_sound().slice(..30_000)).await.expect("read");
            service.streaming(1.0).await;
            response.abort();
        } else {
            assert_eq!(answer(&http1(), post(&service, &[], whole("no video"))).await.0, 422);
        }
        service.streaming(0.0).await;
        let (status, _, body) = answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await;
        assert_eq!((status.as_u16(), probe(&body).1[0].3), (200, 50));
        service.streaming(0.0).await;
        threads.extend(codec_threads(service.pid));
    }
    // A thread that idled for too long on a slow machine has ended, and another was started.
    assert!(threads.len() <= 3, "{} threads for 18 streams", threads.len());
}

/// A client that leaves while its upload is held up: nobody reads the connection then, and its end must be seen all
/// the same.
#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_up_frees_its_stream() {
    let service = Service::start(&[]).await;
    let upload = video("ts", "-f lavfi -i testsrc2=size=640x360:rate=25:duration=8", QUICK);
    let mut stream = TcpStream::connect(service.address()).await.expect("connected");
    let head = "POST /api/v1/transcode HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp2t\r\nX-Preset: medium\r\nX-Height: 1080\r\n\
         Content-Length: 99000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&upload[..400_000.min(upload.len())]).await.expect("sent");
    service.streaming(1.0).await;
    drop(stream);
    service.streaming(0.0).await;
}
