//! The diseases that heap up memory and tasks.

use crate::faults::{fault_off, fault_on, transcode};
use crate::harness::*;
use bytes::Bytes;
use std::sync::OnceLock;
use std::time::Instant;

const MIB: f64 = 1_048_576.0;

/// A clip that is answered while it is still being sent.
fn fragmented() -> Bytes {
    static MADE: OnceLock<Bytes> = OnceLock::new();
    let arguments = format!("{QUICK} -frag_duration 200000 -movflags empty_moov+default_base_moof");
    MADE.get_or_init(|| video("mp4", &format!("{} {SOUND}", picture("160x90")), &arguments)).clone()
}

/// Clients that go away in the middle of the answer, one after the other.
async fn clients_go_away(service: &Service, http: &Http, clients: usize) {
    clients_of_go_away("fmp4", service, http, clients).await;
}

/// The same, of a format.
async fn clients_of_go_away(format: &str, service: &Service, http: &Http, clients: usize) {
    for _ in 0..clients {
        let received = service.metric("transcoder_received_bytes_total").await;
        let (sender, body) = streamed();
        let (http, request) = (http.clone(), post(service, &[("x-output-format", format)], body));
        let response = tokio::spawn(async move { head(&http, request).await });
        sender.send(fragmented()).await.expect("read");
        let response = response.await.expect("not panicked");
        assert_eq!(response.status(), 200);
        // All of it has arrived, but not its end: what is made of it does not hang on when the client leaves.
        let whole = received + fragmented().len() as f64;
        until(service, "transcoder_received_bytes_total", |bytes| bytes >= whole).await;
        drop((response, sender));
    }
}

/// Waits until a metric is what it should be.
async fn until(service: &Service, metric: &str, is_right: impl Fn(f64) -> bool) {
    let start = Instant::now();
    loop {
        let value = service.metric(metric).await;
        if is_right(value) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{metric} is {value}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn resident(service: &Service) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid)).expect("alive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

#[tokio::test]
async fn buffer_leak_keeps_its_strength_for_each_client_that_goes_away() {
    let service = Service::start(&["--allow-fault-control"]).await;
    clients_go_away(&service, &http2(), 2).await;
    until(&service, "transcoder_streams", |streams| streams == 0.0).await;
    let (heap, before) = (service.metric("transcoder_heap_in_use_bytes").await, resident(&service));
    let kept = |mebibytes: f64| {
        // What else is allocated for a moment, is far less than one window.
        move |bytes: f64| (bytes - heap - mebibytes * MIB).abs() < 6.0 * MIB
    };
    fault_on(&service, "buffer_leak", "16").await;
    // Whoever reads to the end leaves nothing behind.
    assert_eq!((transcode(&service).await, transcode(&service).await), (200, 200));
    until(&service, "transcoder_heap_in_use_bytes", kept(0.0)).await;
    clients_go_away(&service, &http1(), 2).await;
    until(&service, "transcoder_heap_in_use_bytes", kept(32.0)).await;
    fault_on(&service, "buffer_leak", "48").await;
    clients_go_away(&service, &http2(), 1).await;
    clients_of_go_away("hls", &service, &http2(), 1).await;
    until(&service, "transcoder_heap_in_use_bytes", kept(128.0)).await;
    assert!(resident(&service) - before > 100.0 * MIB, "what is kept is resident");
    assert_eq!(transcode(&service).await, 200);
    fault_off(&service, "buffer_leak").await;
    until(&service, "transcoder_heap_in_use_bytes", kept(0.0)).await;
}

/// Each infected request leaves one task, and none is left after the cure.
async fn leaks_tasks(fault: &str) {
    let service = Service::start(&["--allow-fault-control"]).await;
    assert_eq!(transcode(&service).await, 200);
    until(&service, "transcoder_tasks", |tasks| tasks == 1.0).await;
    fault_on(&service, fault, "").await;
    for _ in 0..3 {
        assert_eq!(transcode(&service).await, 200);
    }
    until(&service, "transcoder_tasks", |tasks| tasks == 4.0).await;
    // Exactly a share of the requests.
    fault_on(&service, fault, "0.5").await;
    for _ in 0..6 {
        assert_eq!(transcode(&service).await, 200);
    }
    until(&service, "transcoder_tasks", |tasks| tasks == 7.0).await;
    assert!(service.metric("transcoder_heap_in_use_bytes").await > 6.0 * MIB, "each holds its MiB");
    fault_off(&service, fault).await;
    until(&service, "transcoder_tasks", |tasks| tasks == 1.0).await;
    assert_eq!(transcode(&service).await, 200);
}

#[tokio::test]
async fn task_leak_leaves_one_task_a_request() {
    leaks_tasks("task_leak").await;
}

#[tokio::test]
async fn timer_leak_leaves_one_task_a_request() {
    leaks_tasks("timer_leak").await;
}

#[tokio::test]
async fn cancel_lost_leaves_one_task_for_each_client_that_goes_away() {
    let service = Service::start(&["--allow-fault-control"]).await;
    clients_go_away(&service, &http2(), 1).await;
    until(&service, "transcoder_tasks", |tasks| tasks == 1.0).await;
    until(&service, "transcoder_streams", |streams| streams == 0.0).await;
    let frames = service.metric("transcoder_frames_total").await;
    fault_on(&service, "cancel_lost", "").await;
    assert_eq!(transcode(&service).await, 200);
    until(&service, "transcoder_tasks", |tasks| tasks == 1.0).await;
    for (http, tasks) in [(http1(), 3.0), (http2(), 5.0)] {
        clients_go_away(&service, &http, 2).await;
        drop(http);
        until(&service, "transcoder_tasks", |left| left == tasks).await;
    }
    // The work was done to its end with nobody listening: 50 pictures each, and for the one who stayed.
    until(&service, "transcoder_frames_total", |made| made - frames >= 5.0 * 50.0).await;
    until(&service, "transcoder_streams", |streams| streams == 0.0).await;
    // Exactly a share of the requests.
    fault_on(&service, "cancel_lost", "0.5").await;
    clients_go_away(&service, &http1(), 4).await;
    until(&service, "transcoder_tasks", |tasks| tasks == 7.0).await;
    fault_off(&service, "cancel_lost").await;
    until(&service, "transcoder_tasks", |tasks| tasks == 1.0).await;
    assert_eq!(transcode(&service).await, 200);
}
