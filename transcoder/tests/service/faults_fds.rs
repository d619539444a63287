//! The diseases that leave file descriptors behind: how many, of which kind, for which share, and the end.

use crate::faults::{fault_off, fault_on, transcode};
use crate::harness::*;

/// Descriptors whose target has this in it.
fn open(service: &Service, kind: &str) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", service.pid)).expect("alive");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains(kind))
        .count()
}

/// Each infected request leaves so many descriptors of this kind, and none is left after the cure.
async fn leaks(fault: &str, kind: &str, each: usize) {
    let service = Service::start(&["--allow-fault-control"]).await;
    assert_eq!(transcode(&service).await, 200);
    let baseline = service.holdings();
    service.back_to(baseline).await;
    let before = open(&service, kind);
    fault_on(&service, fault, "").await;
    for _ in 0..3 {
        assert_eq!(transcode(&service).await, 200);
    }
    eventually("three requests left theirs", || open(&service, kind) == before + 3 * each).await;
    // Exactly a share of the requests.
    fault_on(&service, fault, "0.5").await;
    for _ in 0..4 {
        assert_eq!(transcode(&service).await, 200);
    }
    eventually("two of four left theirs", || open(&service, kind) == before + 5 * each).await;
    assert_eq!(children(&service), 0, "no process is left, not even a zombie");
    fault_off(&service, fault).await;
    service.back_to(baseline).await;
    assert_eq!(transcode(&service).await, 200);
    eventually("nothing is left", || open(&service, kind) == before).await;
}

fn children(service: &Service) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", service.pid)).expect("alive").flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .map(|children| children.split_whitespace().count())
        .sum()
}

/// It runs out of descriptors, says so to its clients, and is well again once it is cured.
async fn ends_in_errors_not_in_a_crash(fault: &str, each: usize) {
    let service = Service::start_limited("48", &["--fault", fault, "--allow-fault-control"]).await;
    // The cure must reach a service that accepts nobody: its connection is there before.
    let cure = http1();
    assert_eq!(answer(&cure, get(&format!("{}/livez", service.url))).await.0, 200);
    // One connection for all: a new one would wait in the kernel's queue once nothing can be accepted any more.
    let http = http2();
    let mut statuses = Vec::new();
    while statuses.last() != Some(&500) {
        assert!(statuses.len() < 60, "{statuses:?}");
        statuses.push(answer(&http, post(&service, &[], whole(ts_with_sound()))).await.0.as_u16());
    }
    assert!(statuses.len() > 24 / each, "{statuses:?}");
    let request = hyper::Request::delete(format!("{}/faults/{fault}", service.url)).body(whole("")).expect("a request");
    assert_eq!(answer(&cure, request).await.0, 204);
    assert_eq!(transcode(&service).await, 200);
}

#[tokio::test]
async fn tempfile_fd_leak_keeps_four_files_a_request() {
    leaks("tempfile_fd_leak", "(deleted)", 4).await;
}

#[tokio::test]
async fn pipe_fd_leak_keeps_two_pipes_a_request() {
    leaks("pipe_fd_leak", "pipe:", 2).await;
}

#[tokio::test]
async fn body_fd_leak_keeps_one_connection_a_request() {
    leaks("body_fd_leak", "socket:", 1).await;
}

#[tokio::test]
async fn tempfile_fd_leak_ends_in_errors() {
    ends_in_errors_not_in_a_crash("tempfile_fd_leak", 4).await;
}

#[tokio::test]
async fn pipe_fd_leak_ends_in_errors() {
    ends_in_errors_not_in_a_crash("pipe_fd_leak", 2).await;
}

#[tokio::test]
async fn body_fd_leak_ends_in_errors() {
    ends_in_errors_not_in_a_crash("body_fd_leak", 1).await;
}
