//! Clients that people really use, and as many connections as there may be.

use crate::harness::*;
use bytes::Bytes;
use std::process::Output;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A stream that goes on as long as the sender is kept.
async fn hold(service: &Service) -> mpsc::Sender<Bytes> {
    let (sender, body) = streamed();
    let (http, request) = (http2(), post(service, &[], body));
    tokio::spawn(async move {
        let _answer = http.request(request).await;
        std::future::pending::<()>().await;
    });
    sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
    service.streaming(1.0).await;
    sender
}

async fn run(program: &str, arguments: &[&str]) -> Output {
    let run = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, run).await.expect("in time");
    output.unwrap_or_else(|error| {
        panic!("these tests need {program} (Debian: curl, iproute2, nghttp2-client, util-linux): {error}")
    })
}

/// Twelve megabytes that nobody wants.
fn large_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![7; 12 << 20]).expect("written");
    file
}

#[tokio::test]
async fn curl_sees_that_it_is_refused() {
    let service = Service::start(&["--max-streams", "1"]).await;
    let _held = hold(&service).await;
    let file = large_file();
    let upload = format!("@{}", file.path().display());
    let url = format!("{}/api/v1/transcode", service.url);
    let told = "%{http_code} %{size_download} %header{retry-after}";
    // With and without asking first, with a length and in chunks, and over HTTP/2.
    for options in [
        &["--http1.1"][..],
        &["--http1.1", "--header", "expect:"],
        &["--http1.1", "--header", "expect:", "--header", "transfer-encoding: chunked"],
        &["--http2-prior-knowledge"],
    ] {
        let usual = ["--silent", "--show-error", "--output", "/dev/null", "--write-out", told];
        let this = ["--header", "content-type: video/mp4", "--data-binary", &upload, &url];
        let output = run("curl", &[&usual, options, &this].concat()).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let [status, length, retry] = said.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{options:?}: {output:?}")
        };
        assert_eq!((status, output.status.success()), ("429", true), "{options:?}: {output:?}");
        assert!(length.parse().is_ok_and(|length: u64| length > 0), "{options:?}: the reason comes too: {said}");
        // curl before 7.84 prints the words instead of the header.
        assert!(retry == "1" || retry.starts_with('%'), "{options:?}: {said}");
    }
}

#[tokio::test]
async fn h2load_sees_that_all_of_its_requests_are_refused() {
    let service = Service::start(&["--max-streams", "1"]).await;
    let _held = hold(&service).await;
    let file = large_file();
    let data = format!("--data={}", file.path().display());
    let url = format!("{}/api/v1/transcode", service.url);
    let many = ["--requests=24", "--clients=3", "--max-concurrent-streams=4", "--header=content-type: video/mp4"];
    let output = run("h2load", &[&many[..], &[&data, &url]].concat()).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("24 done") && said.contains("0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 0 2xx, 0 3xx, 24 4xx, 0 5xx"), "{said}");
}

/// Every usual connection is taken by somebody who says nothing: those who watch still get in, streams do not.
#[tokio::test]
async fn health_has_connections_of_its_own() {
    /// As many as the service takes before its reserve.
    const USUAL: usize = 4096;
    // This process has the other end of each.
    let raised = ["--pid", &std::process::id().to_string(), "--nofile=8192:"];
    assert!(run("prlimit", &raised).await.status.success(), "as many open files are not allowed here");
    let service = Service::start_limited("8192", &[]).await;
    let before = service.holdings().0;
    let address = service.address().to_owned();
    // Blocking: on loopback that never waits.
    let connect = move || (0..USUAL).map(|_| std::net::TcpStream::connect(&address)).collect::<Result<Vec<_>, _>>();
    let silent = tokio::task::spawn_blocking(connect).await.expect("no panic").expect("connected");
    eventually("all are accepted", || service.holdings().0 >= before + USUAL).await;
    for name in ["healthz", "livez", "metrics"] {
        assert_eq!(answer(&http1(), get(&format!("{}/{name}", service.url))).await.0, 200, "{name}");
    }
    let (status, _, body) = answer(&http1(), post(&service, &[], whole("x"))).await;
    assert_eq!(status, 429, "{body:?}");
    drop(silent);
    eventually("they are given back", || service.holdings().0 <= before + 8).await;
    assert_eq!(answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await.0, 200);
}

/// More than a process accepts at one go: a client that found no room would try again after a second.
#[tokio::test]
async fn a_burst_of_connections_finds_room() {
    let service = Service::start(&[]).await;
    let address = service.address().to_owned();
    let queue = run("ss", &["--no-header", "--listening", "--tcp", "--numeric", "src", &address]).await;
    let queue = String::from_utf8_lossy(&queue.stdout).into_owned();
    // State, waiting, room.
    let room = queue.split_whitespace().nth(2).and_then(|room| room.parse::<u32>().ok());
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    assert_eq!(room, Some(most.trim().parse::<u32>().expect("a number").min(4096)), "{queue}");
}

/// More threads for one stream make the same pictures, and end with it.
#[tokio::test]
async fn a_stream_may_have_several_codec_threads() {
    let clip = video("ts", &format!("{} {SOUND}", picture("640x360")), QUICK);
    let mut threads = Vec::new();
    for count in ["1", "3"] {
        let service = Service::start(&["--codec-threads", count]).await;
        let (sender, body) = streamed();
        let (http, request) = (http2(), post(&service, &[], body));
        let answer = tokio::spawn(async move { answer(&http, request).await });
        sender.send(clip.slice(..clip.len() / 2)).await.expect("read");
        let started = std::time::Instant::now();
        while service.metric("transcoder_frames_total").await < 5.0 {
            assert!(started.elapsed() < DEADLINE, "no picture was made");
        }
        threads.push(service.holdings().1);
        sender.send(clip.slice(clip.len() / 2..)).await.expect("read");
        drop(sender);
        let (status, _, body) = answer.await.expect("not panicked");
        assert_eq!(status, 200);
        let (_, streams) = probe(&body);
        assert_eq!(streams[0].3, 50, "{count} threads: {streams:?}");
        let busy = "transcoder_codec_threads{state=\"busy\"}";
        let started = std::time::Instant::now();
        while service.metric(busy).await > 0.0 {
            assert!(started.elapsed() < DEADLINE, "the stream's thread does not end");
        }
    }
    assert!(threads[1] > threads[0], "threads with one and with three for a codec: {threads:?}");
}

/// What never fits is no matter of coming back later.
#[tokio::test]
async fn a_stream_that_needs_more_than_the_whole_budget_is_told_so() {
    let service = Service::start(&["--memory-budget", "24MiB"]).await;
    let large = video("ts", &picture("1920x1080"), "-c:v libx264 -preset ultrafast -g 25 -frames:v 20");
    let request = post(&service, &[("x-height", "1080")], whole(large));
    let (status, headers, body) = answer(&http1(), request).await;
    let said = String::from_utf8_lossy(&body);
    assert_eq!(status, 413, "{said}");
    assert!(said.contains("more than all of --memory-budget") && !headers.contains_key("retry-after"), "{said}");
}

/// Nor is one that has hardly begun to say which protocol it speaks.
#[tokio::test]
async fn a_connection_that_says_nothing_is_not_kept() {
    let service = Service::start(&[]).await;
    let mut silent = Vec::new();
    for said in ["", "PRI * HT", "POST /api"] {
        let mut stream = TcpStream::connect(service.address()).await.expect("connected");
        stream.write_all(said.as_bytes()).await.expect("sent");
        silent.push(stream);
    }
    for mut stream in silent {
        let mut rest = Vec::new();
        // Closed, by whatever word.
        let ended = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        drop(ended.expect("the service ends it"));
    }
}
