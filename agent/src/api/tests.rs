//! The API over real routes. The kernel source is a fake: the test fills in what it would publish.

use super::*;
use crate::render::{Passport, Sites, incident::tests::sample};
use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use snowshed_ebpf::Tier;
use snowshed_engine::model::{
    FdView, HoldingKind, Join, SiteId, SiteView, SloState, SloView, SuspicionView, TargetView, TraceDescriptors,
    TraceId, TraceProcess, TraceRetransmits, TraceView, TracesKept, View,
};
use std::collections::HashMap;
use tower::ServiceExt as _;

/// What the engine's task and the kernel's thread would publish through.
type Published = (
    watch::Sender<Arc<Picture>>,
    watch::Sender<Arc<Sites>>,
    watch::Sender<Arc<Vec<ProbeStatus>>>,
    watch::Sender<Option<snowshed_ebpf::Overhead>>,
    watch::Sender<Arc<Vec<crate::render::scrape::Record>>>,
);

struct Fake {
    app: Router,
    sources: Sources,
    /// Kept open: a closed channel means that its source has ended.
    _open: Published,
}

fn target(pid: u32) -> TargetView {
    let site = SiteView {
        ambiguity: 1,
        kind: HoldingKind::File,
        site: SiteId(9),
        live: 3,
        orphaned: 2,
        oldest_seconds: 7.0,
        traces: Vec::new(),
        orphans: Vec::new(),
    };
    TargetView {
        pid,
        name: "transcoder".into(),
        started: 0,
        fds: FdView { live: 3, orphaned: 2, limit: Some(512), eta_seconds: Some((4.0, 6.0)), sites: vec![site] },
        connections: None,
        rss_anon: Some(1000),
        rss_file: None,
        memory: snowshed_engine::model::MemoryView::default(),
        host: Vec::new(),
        threads: Some(4),
        loops: Vec::new(),
        instances: Vec::new(),
        stalls_total: 1,
        retransmits_total: 0,
        tcp: snowshed_engine::model::TcpView::default(),
        in_flight: Some(5),
        limit: None,
        requests_total: 10,
        latency_seconds: Some((0.1, 0.9)),
        rules: Vec::new(),
        suspected: Some(SuspicionView { since: 0, causes: sample().0.incident.causes }),
    }
}

fn open_fd(number: i32) -> snowshed_ebpf::OpenFd {
    let item = snowshed_engine::model::Holding {
        key: 1,
        number,
        kind: HoldingKind::File,
        site: SiteId(9),
        owner: snowshed_engine::model::Owner::default(),
        made: None,
        use_mark: 0,
        exchanges: 0,
        leads_to: 0,
        maker: 0,
    };
    snowshed_ebpf::OpenFd {
        item,
        name: Some("/tmp/x".into()),
        deleted: true,
        local: None,
        peer: None,
        state: None,
        connection: None,
        unix_peer: None,
        direct: None,
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced(trace: TraceId) -> TraceView {
    let pipe = TraceDescriptors {
        pid: 43,
        kind: HoldingKind::Pipe,
        site: SiteId(9),
        join: Join::Inherited,
        ambiguity: 1,
        made: 3,
        live: 2,
        numbers: [Some(7), Some(8), None, None],
        first_made: 1,
        last_made: 2,
        seen: 3,
    };
    let sent = TraceRetransmits {
        pid: Some(42),
        local: "127.0.0.1:1".parse().expect("an address"),
        peer: "127.0.0.1:2".parse().expect("an address"),
        segments: 4,
        first: 1,
        last: 2,
        join: Join::Socket,
        ambiguity: 3,
    };
    let child = TraceProcess { pid: 43, name: "ffmpeg".into(), parent: Some(42), exited: None };
    TraceView {
        trace,
        descriptors: vec![pipe],
        retransmits: vec![sent],
        processes: vec![child],
        threads: vec![(43, 44), (42, 45)],
        ..TraceView::default()
    }
}

fn fake() -> Fake {
    let (numbered, sites, clock) = sample();
    let incident = |id: u64| (id, Passport { id: uuid::Uuid::from_u128(u128::from(id)), ..numbered.passport.clone() });
    let view = View {
        at: 30_000_000_000,
        targets: vec![target(41), target(42)],
        incidents: (1..=3)
            .rev()
            .map(|id| snowshed_engine::model::Incident { id, ..numbered.incident.clone() })
            .collect(),
        slos: vec![SloView {
            name: "first-byte".into(),
            service: "transcoder".into(),
            target: 0.95,
            state: SloState::Burning,
            ratio: Some(0.5),
            window_requests: 20,
            violations: 3,
            budget_used: None,
        }],
        breakers: Vec::new(),
        ..View::default()
    };
    let picture = Picture { view, passports: HashMap::from([incident(1), incident(2), incident(3)]) };
    let probe = ProbeStatus {
        name: "fd",
        tier: Tier::Reduced,
        reason: "fake".into(),
        remedy: "none".into(),
        events: 5,
        lost: 1,
        ..ProbeStatus::default()
    };
    let (picture, picture_seen) = watch::channel(Arc::new(picture));
    let (names, names_seen) = watch::channel(Arc::new(sites));
    let (probes, probes_seen) = watch::channel(Arc::new(vec![probe]));
    let (overhead, overhead_seen) = watch::channel(None);
    let scrape = crate::render::scrape::Record { url: "http://127.0.0.1:1/metrics".into(), ..Default::default() };
    let (scrapes, scrapes_seen) = watch::channel(Arc::new(vec![scrape]));
    let tally = Tally::new().expect("the table is valid");
    let sources = Sources {
        picture: picture_seen,
        sites: names_seen,
        probes: probes_seen,
        overhead: overhead_seen,
        contexts: watch::channel(Arc::default()).1,
        open: Arc::new(|_, after, most| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let number = after.map_or(3, |after| after + 1);
            drop(reply.send((most == 1).then(|| fds::Part { items: vec![open_fd(number)], next: Some(number) })));
            Some(answer)
        }),
        scrapes: scrapes_seen,
        trace: Arc::new(|trace| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let kept = TracesKept { kept: 3, most: 1_024, oldest: Some(0), evicted: 7 };
            let known = trace.to_string() == TRACE;
            drop(reply.send(if known { Ok(Box::new(traced(trace))) } else { Err(kept) }));
            Some(answer)
        }),
        store: Store::off(),
        hub: Arc::new(stream::Hub::new()),
        clock,
        tally,
        started: 0,
        enforce: Arc::new(Vec::new()),
    };
    let bound = SocketAddr::from(([127, 0, 0, 1], 9470));
    Fake {
        app: router(sources.clone(), bound, Router::new()),
        sources,
        _open: (picture, names, probes, overhead, scrapes),
    }
}

async fn ask(app: &Router, path: &str, host: &str) -> Response {
    let request = Request::get(path).header(header::HOST, host).body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("infallible")
}

async fn get(app: &Router, path: &str) -> (StatusCode, String) {
    let response = ask(app, path, "127.0.0.1:9470").await;
    let status = response.status();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

async fn json(app: &Router, path: &str) -> (StatusCode, Value) {
    let (status, text) = get(app, path).await;
    (status, serde_json::from_str(&text).expect("json"))
}

#[tokio::test]
async fn lists_have_the_contracts_shape_and_pages() {
    let fake = fake();
    let (status, fds) = json(&fake.app, "/api/v1/fds").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&fds["schema"], &fds["next"]), (&serde_json::json!(1), &Value::Null));
    assert_eq!(fds["items"][0]["sites"][0]["frames"][0], "spool_upload (spool.rs:41)");
    let (_, open) = json(&fake.app, "/api/v1/fds/41?limit=1&cursor=7").await;
    let (fd, next) = (&open["items"][0], &open["next"]);
    assert_eq!((&fd["fd"], &fd["name"], &fd["deleted"]), (&8.into(), &"/tmp/x".into(), &true.into()), "{open}");
    assert_eq!((&fd["frames"][0], next), (&"spool_upload (spool.rs:41)".into(), &"8".into()), "{open}");
    let (_, first) = json(&fake.app, "/api/v1/incidents?limit=2").await;
    let cursor = first["next"].as_str().expect("there is more");
    let (_, second) = json(&fake.app, &format!("/api/v1/incidents?limit=2&cursor={cursor}")).await;
    assert_eq!(second["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["items"][0]["causes"][0]["kind"], "fd_leak");
    let id = second["items"][0]["id"].as_str().expect("an id");
    let (_, one) = json(&fake.app, &format!("/api/v1/incidents/{id}")).await;
    assert_eq!(one, second["items"][0]);
    let (_, slo) = json(&fake.app, "/api/v1/slo").await;
    assert_eq!(slo["items"][0]["state"], "burning");
    let (_, breakers) = json(&fake.app, "/api/v1/breaker").await;
    assert_eq!(breakers, serde_json::json!({"schema": 1, "items": [], "next": null}));
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let fake = fake();
    for (path, expected) in [
        ("/api/v1/incidents?limit=x", StatusCode::BAD_REQUEST),
        ("/api/v1/incidents/nope", StatusCode::NOT_FOUND),
        ("/api/v1/fds?cursor=7", StatusCode::BAD_REQUEST),
        ("/api/v1/fds/9", StatusCode::NOT_FOUND),
        ("/api/v1/fds/41", StatusCode::NOT_FOUND),
        ("/api/v1/fds/x", StatusCode::BAD_REQUEST),
        ("/api/v1/fds/41?cursor=x", StatusCode::BAD_REQUEST),
        ("/api/v1/traces/nope", StatusCode::BAD_REQUEST),
        ("/api/v1/traces/00000000000000000000000000000000", StatusCode::BAD_REQUEST),
        ("/api/v1/traces/0af7651916cd43dd8448eb211c80319d", StatusCode::NOT_FOUND),
        ("/nowhere", StatusCode::NOT_FOUND),
    ] {
        let response = ask(&fake.app, path, "localhost").await;
        assert_eq!(response.status(), expected, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
    let foreign = ask(&fake.app, "/api/v1/status", "evil.example").await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let request = Request::post("/api/v1/status").header(header::HOST, "localhost").body(Body::empty());
    let posted = fake.app.clone().oneshot(request.expect("a request")).await.expect("infallible");
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_trace_tells_its_events_each_with_its_join() {
    let fake = fake();
    let (_, trace) = json(&fake.app, &format!("/api/v1/traces/{TRACE}")).await;
    assert_eq!(trace["trace_id"], TRACE);
    let pipe = &trace["descriptors"][0];
    assert_eq!((&pipe["made"], &pipe["live"], &pipe["given_back"]), (&3.into(), &2.into(), &1.into()), "{trace}");
    assert_eq!((&pipe["join"], &pipe["ambiguity"], &pipe["fds"]), (&"inherited".into(), &1.into(), &vec![7, 8].into()));
    assert_eq!(pipe["frames"][0], "spool_upload (spool.rs:41)");
    assert_eq!(trace["retransmits"][0]["ambiguity"], 3);
    assert_eq!((&trace["processes"][0]["parent"], &trace["processes"][0]["threads"]), (&42.into(), &vec![44].into()));
    let (_, unknown) = json(&fake.app, "/api/v1/traces/0af7651916cd43dd8448eb211c80319d").await;
    let detail = unknown["detail"].as_str().expect("text");
    assert!(detail.contains("newest 1024 traces") && detail.contains("now 3") && detail.contains("7 were"), "{detail}");
}

#[tokio::test]
async fn status_health_and_metrics_tell_the_state() {
    let fake = fake();
    let (_, status) = json(&fake.app, "/api/v1/status").await;
    assert_eq!(status["probes"][0]["tier"], "reduced");
    assert_eq!(status["targets"][1]["pid"], 42);
    let suspected = &status["targets"][1]["suspected"];
    assert_eq!(suspected["causes"][0]["kind"], "fd_leak", "{suspected}");
    assert!(suspected["since"].is_string(), "{suspected}");
    assert_eq!(get(&fake.app, "/healthz").await.0, StatusCode::OK);
    assert_eq!(get(&fake.app, "/readyz").await.0, StatusCode::OK);
    let (_, text) = get(&fake.app, "/metrics").await;
    for line in [
        "snowshed_target_fds{name=\"transcoder\",pid=\"42\",state=\"orphaned\"} 2",
        "snowshed_slo_state{service=\"transcoder\",slo=\"first-byte\",state=\"burning\"} 1",
        "snowshed_incidents_open 3",
        "snowshed_target_suspected{cause=\"fd_leak\",name=\"transcoder\",pid=\"42\"} 0.93",
        "snowshed_probe_lost_total{probe=\"fd\"} 1",
        "# TYPE snowshed_target_requests_total counter",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    let Fake { app, _open, .. } = fake;
    drop(_open);
    assert_eq!(get(&app, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_stream_carries_samples_and_incidents_with_ids() {
    let fake = fake();
    fake.sources.hub.publish("sample", sample::json(&fake.sources));
    let response = ask(&fake.app, "/api/v1/stream", "localhost").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    fake.sources.hub.publish("incident", "{\"id\":\"x\"}".into());
    fake.sources.hub.close();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        text.push_str(&String::from_utf8_lossy(&frame.expect("a frame").into_data().unwrap_or_default()));
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("a sample");
    let live: Value = serde_json::from_str(data).expect("json");
    assert_eq!(live["targets"][0]["fds"]["eta_seconds"], serde_json::json!([4.0, 6.0]));
    assert_eq!(live["targets"][0]["latency_seconds"], serde_json::json!({"p50": 0.1, "p99": 0.9}));
    assert_eq!(live["targets"][0]["suspected"]["causes"][0]["kind"], "fd_leak");
    assert!(live["agent"]["rss_bytes"].is_u64());
    assert!(text.contains("event: sample") && text.contains("event: incident") && text.contains("id: "), "{text}");
}

#[tokio::test]
async fn streams_are_bounded() {
    let fake = fake();
    let mut open = Vec::new();
    for _ in 0..stream::READERS {
        open.push(ask(&fake.app, "/api/v1/stream", "localhost").await);
    }
    assert_eq!(ask(&fake.app, "/api/v1/stream", "localhost").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    assert_eq!(ask(&fake.app, "/api/v1/stream", "localhost").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_workbench_and_the_description_are_served() {
    let fake = fake();
    let page = ask(&fake.app, "/", "localhost").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text").contains("default-src 'self'"));
    let (_, document) = json(&fake.app, "/api/v1/openapi.json").await;
    for path in document["paths"].as_object().expect("paths").keys() {
        let real = path
            .replace("{pid}", "41?limit=1")
            .replace("{trace_id}", TRACE)
            .replace("{id}", &uuid::Uuid::from_u128(1).to_string());
        assert_eq!(ask(&fake.app, &real, "localhost").await.status(), StatusCode::OK, "{path} is described");
    }
}

#[tokio::test]
async fn incidents_on_disk_are_told_beside_those_that_the_engine_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, thread) = Store::start(directory.path(), crate::store::Config::default()).expect("a thread");
    let (numbered, sites, clock) = sample();
    let held = uuid::Uuid::from_u128(3);
    // Opened long after those of the fake, as the id tells, and one that the engine holds as well.
    let newer = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_900_000_000, 0));
    for id in [held, newer] {
        let record = crate::render::incident::Record::of(&numbered, &sites, &clock);
        assert!(store.put(&crate::render::incident::Record { id: id.to_string(), ..record }));
    }
    let mut state = store.state.clone();
    state.wait_for(|state| state.records == 2).await.expect("the thread runs");
    let fake = fake();
    let sources = Sources { store: store.clone(), ..fake.sources.clone() };
    let app = router(sources, SocketAddr::from(([127, 0, 0, 1], 9470)), Router::new());
    let (_, list) = json(&app, "/api/v1/incidents").await;
    let ids: Vec<&str> = list["items"].as_array().expect("items").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), 4, "each once: {ids:?}");
    assert_eq!(ids[0], newer.to_string());
    let (_, rest) = json(&app, &format!("/api/v1/incidents?limit=2&cursor={newer}")).await;
    assert_eq!((rest["items"].as_array().map(Vec::len), rest["next"].is_null()), (Some(2), false));
    let (status, one) = json(&app, &format!("/api/v1/incidents/{newer}")).await;
    assert_eq!((status, &one["id"]), (StatusCode::OK, &list["items"][0]["id"]));
    let (_, status) = json(&app, "/api/v1/status").await;
    assert_eq!((&status["store"]["state"], &status["store"]["records"]), (&"disk".into(), &2.into()));
    let (_, text) = get(&app, "/metrics").await;
    assert!(text.contains("snowshed_store_on_disk 1") && text.contains("snowshed_store_records 2"), "{text}");
    store.stop();
    thread.join().expect("no panic");
}
