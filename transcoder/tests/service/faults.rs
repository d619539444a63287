//! The diseases: switching them, and those that make a service wait.

use crate::harness::*;
use hyper::{Method, Request};
use std::time::{Duration, Instant};

/// Speaks to `/faults/NAME`; the status and what came with it.
pub(crate) async fn fault(
    service: &Service,
    method: Method,
    name: &str,
    value: &'static str,
) -> (u16, serde_json::Value) {
    let request = Request::builder().method(method).uri(format!("{}/faults/{name}", service.url));
    let (status, _, body) = answer(&http1(), request.body(whole(value)).expect("a request")).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

/// Switches a fault on.
pub(crate) async fn fault_on(service: &Service, name: &str, value: &'static str) {
    let (status, answer) = fault(service, Method::PUT, name, value).await;
    assert_eq!(status, 200, "{answer}");
}

/// Switches a fault off.
pub(crate) async fn fault_off(service: &Service, name: &str) {
    assert_eq!(fault(service, Method::DELETE, name, "").await.0, 204);
}

/// One request, whose answer must be the whole video if it is one.
pub(crate) async fn transcode(service: &Service) -> u16 {
    let (status, _, body) = answer(&http1(), post(service, &[], whole(ts_with_sound()))).await;
    if status == 200 {
        assert_eq!(probe(&body).1[0].3, 50, "a disease changes no picture");
    }
    status.as_u16()
}

async fn is_live(service: &Service) -> bool {
    answer(&http1(), get(&format!("{}/livez", service.url))).await.0 == 200
}

#[tokio::test]
async fn switching() {
    let service = Service::start(&["--allow-fault-control"]).await;
    let (status, state) = fault(&service, Method::GET, "loop_stall", "").await;
    assert_eq!((status, &state["active"], &state["cause"]), (200, &false.into(), &"event_loop_stall".into()));
    assert_eq!(fault(&service, Method::PUT, "loop_stall", "1").await.1["value"], "1");
    assert_eq!(fault(&service, Method::PUT, "loop_stall", "").await.1["value"], "400");
    let (status, problem) = fault(&service, Method::PUT, "loop_stall", "never").await;
    assert_eq!(
        (status, &problem["detail"]),
        (400, &"fault loop_stall: \"never\": expected milliseconds from 1 to 10000".into())
    );
    assert_eq!(fault(&service, Method::GET, "loop_stall", "").await.1["value"], "400", "a wrong value changes nothing");
    assert_eq!(fault(&service, Method::DELETE, "loop_stall", "").await.0, 204);
    assert_eq!(fault(&service, Method::GET, "loop_stall", "").await.1["active"], false);
    let (status, problem) = fault(&service, Method::PUT, "nope", "").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("tempfile_fd_leak")), "{problem}");
}

/// Every fault in the list can be switched by what the list says of it, and nothing outside tells which is on.
#[tokio::test]
async fn the_list_is_what_can_be_switched_and_no_metric_or_thread_tells_of_it() {
    let service = Service::start(&["--allow-fault-control"]).await;
    let (status, _, list) = answer(&http1(), get(&format!("{}/faults", service.url))).await;
    let list: serde_json::Value = serde_json::from_slice(&list).expect("json");
    let items = list["items"].as_array().expect("items");
    assert_eq!((status.as_u16(), items.len()), (200, 9), "{list}");
    let name = |item: &serde_json::Value| item["name"].as_str().expect("a name").to_owned();
    for item in items {
        assert!(item["description"].as_str().is_some_and(|text| text.len() > 20), "{item}");
        let (status, state) = fault(&service, Method::PUT, &name(item), "").await;
        assert_eq!((status, &state["value"]), (200, &item["default"]), "{item}");
    }
    // The lock's timer is at work; whoever serves a request would wait for it.
    let (_, _, page) = answer(&http1(), get(&format!("{}/metrics", service.url))).await;
    let mut told = String::from_utf8(page.to_vec()).expect("text");
    for task in std::fs::read_dir(format!("/proc/{}/task", service.pid)).expect("alive").flatten() {
        told += &std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    }
    for item in items {
        assert!(!told.contains(&name(item)) && !told.contains("fault"), "{told}");
        fault_off(&service, &name(item)).await;
    }
    assert_eq!(transcode(&service).await, 200);
}

#[tokio::test]
async fn a_fault_that_could_do_nothing_here_is_refused_with_the_reason() {
    let service = Service::start_after("PATH=/nowhere; ", &["--allow-fault-control"]).await;
    let (status, problem) = fault(&service, Method::PUT, "pipe_fd_leak", "").await;
    assert_eq!(status, 409);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("ffmpeg command")), "{problem}");
    assert_eq!(fault(&service, Method::GET, "pipe_fd_leak", "").await.1["active"], false);
    assert_eq!(transcode(&service).await, 200);
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_snowshed-transcoder"))
        .args(["--listen", "127.0.0.1:0", "--fault", "pipe_fd_leak"])
        .env("PATH", "/nowhere")
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(started.status.code() == Some(2) && said.contains("ffmpeg command"), "{said}");
}

#[tokio::test]
async fn sigterm_ends_a_service_with_every_disease() {
    let service = Service::start(&["--allow-fault-control"]).await;
    let (_, _, list) = answer(&http1(), get(&format!("{}/faults", service.url))).await;
    let list: serde_json::Value = serde_json::from_slice(&list).expect("json");
    // All but the lock: a request would wait for it.
    for name in list["items"].as_array().expect("items").iter().filter_map(|item| item["name"].as_str()) {
        if name != "lock_pileup" {
            fault_on(&service, name, "1").await;
        }
    }
    assert_eq!((transcode(&service).await, transcode(&service).await), (200, 200));
    fault_on(&service, "lock_pileup", "60000").await;
    let (code, took) = service.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
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

/// Requests wait on threads of their own for a mutex that is held for a minute, and go on when it is let go.
#[tokio::test]
async fn lock_pileup_makes_requests_wait_and_the_event_loop_not() {
    let service = Service::start(&["--allow-fault-control", "--fault", "lock_pileup=60000"]).await;
    // The reading runs on a thread of its own as soon as the fault is on.
    eventually("the reading begins", || service.holdings().1 > 3).await;
    let before = service.holdings();
    let waiting = [(); 3].map(|()| post(&service, &[], whole(ts_with_sound())));
    let waiting = waiting.map(|request| tokio::spawn(async move { answer(&http1(), request).await.0.as_u16() }));
    eventually("three threads wait", || service.holdings().1 >= before.1 + 3).await;
    assert!(is_live(&service).await && is_live(&service).await);
    assert!(waiting.iter().all(|request| !request.is_finished()), "none can have the lock");
    fault_off(&service, "lock_pileup").await;
    for request in waiting {
        assert_eq!(request.await.expect("not panicked"), 200);
    }
    assert_eq!(transcode(&service).await, 200);
}

/// How long the lock is held decides how long a request waits.
#[tokio::test]
async fn lock_pileup_holds_as_long_as_its_value_says() {
    let service = Service::start(&["--allow-fault-control"]).await;
    let idle = service.holdings();
    assert_eq!(transcode(&service).await, 200);
    // The codec's thread waits for another stream for a while.
    service.back_to(idle).await;
    fault_on(&service, "lock_pileup", "3000").await;
    eventually("the reading begins", || service.holdings().1 > idle.1).await;
    let began = Instant::now();
    assert_eq!(transcode(&service).await, 200);
    // It began at most some moments before; a third of it is left in any case that is not absurd.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}
