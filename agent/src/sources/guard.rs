//! Reports of the guard layer inside a service (`docs/guard-protocol.md`), answered with a lease.
//!
//! Invariant: a report is bounded (256 KiB, 1,024 requests, 256 characters a name), and only a watched
//! process may report. The answer never waits for the engine. Cost: four small requests a second for
//! each service.

use super::Intake;
use crate::{metrics::Tally, problem::Problem};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use snowshed_engine::model::{Nanos, Observation, OpenRequest, OpenRequests, Pid, ProcessSeen, TraceId};
use std::sync::Arc;
use tokio::sync::watch;

/// The largest report, bytes.
const BODY: usize = 256 * 1024;
/// The most requests in a report.
const OPEN: usize = 1024;
/// The longest name, characters.
const NAME: usize = 256;

/// Answers a report: pid, the limit in force there, the time.
pub(crate) type Lessor = Arc<dyn Fn(Pid, Option<u32>, Nanos) -> Lease + Send + Sync>;

/// The answer on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Lease {
    /// Version of the protocol.
    pub(crate) schema: u32,
    /// How long it holds, milliseconds.
    pub(crate) lease_ms: u64,
    /// At most this many requests at once; `None` is no limit.
    pub(crate) limit: Option<u32>,
    /// For `Retry-After`, seconds.
    pub(crate) retry_after_s: u32,
    /// Why.
    pub(crate) reason: String,
}

/// What a report needs to be taken and answered.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Where observations go.
    pub(crate) intake: Intake,
    /// The processes that may report.
    pub(crate) targets: watch::Receiver<Arc<Vec<Pid>>>,
    /// Who answers.
    pub(crate) lessor: Lessor,
    /// The time.
    pub(crate) now: fn() -> Nanos,
    /// Counters.
    pub(crate) tally: Tally,
}

/// The route, for the main listener.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new().route("/api/v1/guard", post(report)).layer(DefaultBodyLimit::max(BODY)).with_state(desk)
}

/// A report on the wire. Unknown fields are ignored: a newer guard may say more.
#[derive(Debug, Deserialize)]
struct Report {
    schema: u32,
    pid: Pid,
    service: String,
    #[serde(default)]
    service_instance_id: Option<String>,
    at_ns: Nanos,
    in_flight: u32,
    limit: Option<u32>,
    rejected_total: u64,
    complete: bool,
    open: Vec<Open>,
}

/// An open request on the wire.
#[derive(Debug, Deserialize)]
struct Open {
    trace_id: TraceId,
    route: String,
    since_ns: Nanos,
}

async fn report(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Response {
    match take(&desk, body) {
        Ok(lease) => {
            desk.tally.guard_reports.with_label_values(&["answered"]).inc();
            Json(lease).into_response()
        }
        Err((outcome, problem)) => {
            desk.tally.guard_reports.with_label_values(&[outcome]).inc();
            problem.into_response()
        }
    }
}

fn take(desk: &Desk, body: Result<Bytes, BytesRejection>) -> Result<Lease, (&'static str, Problem)> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("invalid", Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a report may be {BODY} bytes long")))
        }
        status => ("invalid", Problem::new(status, rejection.body_text())),
    })?;
    let report: Report = serde_json::from_slice(&body)
        .map_err(|error| ("invalid", Problem::new(StatusCode::BAD_REQUEST, format!("report: {error}"))))?;
    if report.schema != 1 {
        let detail = format!("schema: {} is not a version that this agent knows (1)", report.schema);
        return Err(("invalid", Problem::new(StatusCode::BAD_REQUEST, detail)));
    }
    if !desk.targets.borrow().contains(&report.pid) {
        let detail = format!("pid {}: not watched here (or in another pid namespace)", report.pid);
        return Err(("unknown_pid", Problem::new(StatusCode::NOT_FOUND, detail)));
    }
    let now = (desk.now)();
    let (pid, in_force) = (report.pid, report.limit);
    let (name, open) = observations(report, now);
    // Dropped observations are counted by the queue; the service gets its answer all the same.
    if !(desk.intake.offer(name) & desk.intake.offer(open)) {
        desk.tally.guard_reports.with_label_values(&["dropped"]).inc();
    }
    Ok((desk.lessor)(pid, in_force, now))
}

/// The service's own name, and its open requests. Times from the future become `now`.
fn observations(report: Report, now: Nanos) -> (Observation, Observation) {
    let complete = report.complete && report.open.len() <= OPEN;
    let items = report
        .open
        .into_iter()
        .filter(|open| !open.trace_id.is_none())
        .take(OPEN)
        .map(|open| OpenRequest { trace: open.trace_id, route: short(open.route), since: open.since_ns.min(now) })
        .collect();
    let name = Observation::Process(ProcessSeen {
        pid: report.pid,
        name: short(report.service),
        started: 0,
        parent: None,
        instance: report.service_instance_id.filter(|id| !id.is_empty()).map(short),
    });
    let open = Observation::OpenRequests(OpenRequests {
        pid: report.pid,
        at: report.at_ns.min(now),
        in_flight: report.in_flight,
        limit: report.limit,
        rejected_total: report.rejected_total,
        complete,
        items,
    });
    (name, open)
}

fn short(text: String) -> String {
    if text.len() <= NAME { text } else { text.chars().take(NAME).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    const REPORT: &str = r#"{"schema":1,"pid":42,"service":"transcoder","service_instance_id":"a","at_ns":900,
        "in_flight":1,"limit":null,"rejected_total":0,"complete":true,"newer":true,
        "open":[{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","route":"POST /x","since_ns":800}]}"#;

    async fn post_report(body: impl Into<Body>) -> (StatusCode, serde_json::Value, Vec<Observation>) {
        let tally = Tally::new().expect("the table is valid");
        let (intake, mut queue) = Intake::new(tally.queue_dropped.with_label_values(&["told"]));
        let (_keep, targets) = watch::channel(Arc::new(vec![42]));
        let lessor: Lessor = Arc::new(|_, _, _| Lease {
            schema: 1,
            lease_ms: 2000,
            limit: Some(6),
            retry_after_s: 2,
            reason: "fd_leak".into(),
        });
        let app = router(Desk { intake, targets, lessor, now: || 1000, tally });
        let request = Request::post("/api/v1/guard").body(body.into()).expect("a request");
        let response = app.oneshot(request).await.expect("infallible");
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let mut seen = Vec::new();
        while let Ok(observation) = queue.try_recv() {
            seen.push(observation);
        }
        (status, serde_json::from_slice(&bytes).expect("json"), seen)
    }

    #[tokio::test]
    async fn a_report_becomes_observations_and_is_answered_with_a_lease() {
        let (status, answer, seen) = post_report(REPORT).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            answer,
            serde_json::json!({"schema":1,"lease_ms":2000,"limit":6,"retry_after_s":2,"reason":"fd_leak"})
        );
        assert!(matches!(&seen[0], Observation::Process(seen) if seen.name == "transcoder" && seen.pid == 42));
        assert!(matches!(&seen[1], Observation::OpenRequests(open) if open.complete && open.items.len() == 1));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_nothing_is_observed() {
        for (body, status, word) in [
            ("{", StatusCode::BAD_REQUEST, "report"),
            (&*REPORT.replace("\"pid\":42", "\"pid\":43"), StatusCode::NOT_FOUND, "pid 43"),
            (&*REPORT.replace("\"schema\":1", "\"schema\":9"), StatusCode::BAD_REQUEST, "schema"),
            (&*REPORT.replace("0af7651916cd43dd8448eb211c80319c", "zz"), StatusCode::BAD_REQUEST, "hexadecimal"),
            (&*"x".repeat(BODY + 1), StatusCode::PAYLOAD_TOO_LARGE, "bytes long"),
        ] {
            let (answered, problem, seen) = post_report(body.to_owned()).await;
            assert_eq!(answered, status, "{problem}");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{problem}");
            assert!(seen.is_empty());
        }
    }
}
