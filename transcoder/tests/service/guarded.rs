//! The breaker inside: a limit that an agent sets, and what it is told.

use crate::harness::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// An agent that grants this limit and keeps the last report.
async fn agent(limit: u32) -> (String, Arc<Mutex<serde_json::Value>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let last = Arc::new(Mutex::new(serde_json::Value::Null));
    let kept = last.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let kept = kept.clone();
                async move {
                    let report = request.into_body().collect().await.expect("whole").to_bytes();
                    *kept.lock().expect("not poisoned") = serde_json::from_slice(&report).expect("json");
                    let lease =
                        serde_json::json!({"schema":1,"lease_ms":2000,"limit":limit,"retry_after_s":3,"reason":"r"});
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(lease.to_string()))))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, last)
}

#[tokio::test]
async fn open_requests_are_reported_with_their_trace_and_the_limit_is_obeyed() {
    let (url, last) = agent(1).await;
    let service = Service::start(&["--guard", &url]).await;
    let report = |key: &str| last.lock().expect("not poisoned")[key].clone();
    eventually("the lease is in force", || report("limit") == 1).await;
    assert_eq!((report("pid"), report("service")), (service.pid.into(), "transcoder".into()));

    let (sender, body) = streamed();
    let traceparent = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    let (http, request) = (http1(), post(&service, &traceparent, body));
    let held = tokio::spawn(async move { answer(&http, request).await.0 });
    sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
    eventually("the open request is listed", || report("in_flight") == 1).await;
    let open = report("open")[0].clone();
    assert_eq!(open["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(open["route"], "POST /api/v1/transcode");

    let (status, headers, _) = answer(&http2(), post(&service, &[], whole(ts_with_sound()))).await;
    assert_eq!((status.as_u16(), headers["retry-after"].as_bytes()), (429, &b"3"[..]));
    eventually("the refusal is reported", || report("rejected_total") == 1).await;
    assert_eq!(service.metric("transcoder_requests_total{status=\"429\"}").await, 1.0);

    sender.send(ts_with_sound().slice(20_000..)).await.expect("read");
    drop(sender);
    assert_eq!(held.await.expect("not panicked"), 200);
    eventually("nothing is open", || report("in_flight") == 0).await;
    assert_eq!(service.terminate().await.0, Some(0));
}
