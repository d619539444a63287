//! The diseases: on, off, and what they do.

use crate::harness::*;
use hyper::{Method, Request};
use std::time::{Duration, Instant};

async fn fault(service: &Service, method: Method, name: &str, value: &'static str) -> (u16, serde_json::Value) {
    let request = Request::builder().method(method).uri(format!("{}/faults/{name}", service.url));
    let (status, _, body) = answer(&http1(), request.body(whole(value)).expect("a request")).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

async fn transcode(service: &Service) -> u16 {
    let (status, _, body) = answer(&http1(), post(service, &[], whole(ts_with_sound()))).await;
    if status == 200 {
        assert_eq!(probe(&body).1[0].3, 50, "a disease changes no picture");
    }
    status.as_u16()
}

#[tokio::test]
async fn switching() {
    let service = Service::start(&["--allow-fault-control"]).await;
    let (status, state) = fault(&service, Method::GET, "loop_stall", "").await;
    assert_eq!((status, &state["active"], &state["cause"]), (200, &false.into(), &"event_loop_stall".into()));
    assert_eq!(fault(&service, Method::PUT, "loop_stall", "1").await.1["value"], "1");
    assert_eq!(fault(&service, Method::PUT, "loop_stall", "").await.1["value"], "400");
    assert_eq!(fault(&service, Method::PUT, "loop_stall", "never").await.0, 400);
    assert_eq!(fault(&service, Method::GET, "loop_stall", "").await.1["value"], "400", "a wrong value changes nothing");
    assert_eq!(fault(&service, Method::DELETE, "loop_stall", "").await.0, 204);
    assert_eq!(fault(&service, Method::GET, "loop_stall", "").await.1["active"], false);
    let (status, problem) = fault(&service, Method::PUT, "nope", "").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("tempfile_fd_leak")), "{problem}");
}

#[tokio::test]
async fn loop_stall_blocks_the_thread_that_serves() {
    let service = Service::start(&["--fault", "loop_stall=700", "--workers", "1"]).await;
    let began = Instant::now();
    let (one, two) = tokio::join!(transcode(&service), transcode(&service));
    assert_eq!((one, two), (200, 200));
    // One thread, two requests: one waits for the other.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn tempfile_fd_leak_keeps_four_files_a_request_until_it_is_cured() {
    let service = Service::start(&["--allow-fault-control"]).await;
    assert_eq!(transcode(&service).await, 200);
    let baseline = service.holdings();
    service.back_to(baseline).await;
    assert_eq!(fault(&service, Method::PUT, "tempfile_fd_leak", "").await.0, 200);
    for _ in 0..3 {
        assert_eq!(transcode(&service).await, 200);
    }
    eventually("twelve files are left", || temporary_files(&service) == 12).await;
    // A share of the requests.
    assert_eq!(fault(&service, Method::PUT, "tempfile_fd_leak", "0.5").await.0, 200);
    for _ in 0..4 {
        assert_eq!(transcode(&service).await, 200);
    }
    eventually("two of four left theirs", || temporary_files(&service) == 20).await;
    assert_eq!(fault(&service, Method::DELETE, "tempfile_fd_leak", "").await.0, 204);
    service.back_to(baseline).await;
    assert_eq!((transcode(&service).await, temporary_files(&service)), (200, 0));
}

#[tokio::test]
async fn tempfile_fd_leak_ends_in_errors_not_in_a_crash() {
    let service = Service::start_limited("48", &["--fault", "tempfile_fd_leak", "--allow-fault-control"]).await;
    let mut statuses = Vec::new();
    while statuses.last() != Some(&500) {
        assert!(statuses.len() < 20, "{statuses:?}");
        statuses.push(transcode(&service).await);
    }
    assert!(statuses.len() > 4, "{statuses:?}");
    assert_eq!(fault(&service, Method::DELETE, "tempfile_fd_leak", "").await.0, 204);
    assert_eq!(transcode(&service).await, 200);
}

/// Descriptors that lead to unlinked files.
fn temporary_files(service: &Service) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", service.pid)).expect("alive");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|path| path.to_string_lossy().ends_with("(deleted)"))
        .count()
}
