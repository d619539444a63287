//! OpenTelemetry's own SDK as the sender: what it exports is understood, plain and packed, and passed on unchanged.

use super::{Desk, forward, grpc, tests::desk};
use axum::body::Bytes;
use opentelemetry::{
    KeyValue,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{Compression, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use prost::Message as _;
use snowshed_engine::model::{CallKind, Observation};
use std::time::Duration;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tonic::transport::server::TcpIncoming;

const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that keeps the bodies of `POST /v1/traces`.
async fn collector() -> (String, mpsc::Receiver<Bytes>) {
    let (seen, arrived) = mpsc::channel(8);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let take = async move |body: Bytes| drop(seen.send(body).await);
    let app = axum::Router::new().route("/v1/traces", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, arrived)
}

/// A server span with two calls in it: one that works, and one that fails.
fn serve_one(tracer: &opentelemetry_sdk::trace::SdkTracer) {
    let server = tracer.span_builder("GET /jobs/{id}").with_kind(SpanKind::Server).with_attributes([
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.route", "/jobs/{id}"),
        KeyValue::new("http.response.status_code", 200),
    ]);
    let context = opentelemetry::Context::current_with_span(server.start(tracer));
    let database = tracer.span_builder("GET").with_kind(SpanKind::Client).with_attributes([
        KeyValue::new("db.system.name", "redis"),
        KeyValue::new("server.address", "cache"),
        KeyValue::new("server.port", 6379),
    ]);
    drop(database.start_with_context(tracer, &context));
    let http = tracer
        .span_builder("POST")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("http.method", "POST"), KeyValue::new("net.peer.name", "billing")]);
    let failed = context.with_span(http.start_with_context(tracer, &context));
    failed.span().set_status(Status::error("refused"));
    failed.span().end();
    drop(tracer.span_builder("inner").start_with_context(tracer, &context));
    context.span().end();
}

async fn exported(compression: Option<Compression>) {
    let (url, mut passed_on) = collector().await;
    let (desk, mut queue) = desk();
    let config = forward::Config { forward: Some(url) };
    let (forward, task) = forward::start(&config, desk.tally.clone()).expect("an address");
    tokio::spawn(task.expect("it is on"));
    let desk = Desk { forward, ..desk };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(grpc::serve(TcpIncoming::from(listener), desk, async move { drop(stopped.await) }));

    let exporter = SpanExporter::builder().with_tonic().with_endpoint(format!("http://{address}"));
    let exporter = match compression {
        Some(compression) => exporter.with_compression(compression),
        None => exporter,
    };
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "transcoder"), KeyValue::new("process.pid", 42)])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter.build().expect("an exporter"))
        .build();
    let tracer = provider.tracer("test");
    // Its own threads export and wait for the answer; this one serves them.
    tokio::task::spawn_blocking(move || {
        serve_one(&tracer);
        provider.shutdown()
    })
    .await
    .expect("no panic")
    .expect("exported");

    let mut seen = Vec::new();
    while let Ok(observation) = queue.try_recv() {
        seen.push(observation);
    }
    let requests: Vec<_> =
        seen.iter().filter_map(|one| if let Observation::Request(one) = one { Some(one) } else { None }).collect();
    let calls: Vec<_> =
        seen.iter().filter_map(|one| if let Observation::Call(one) = one { Some(one) } else { None }).collect();
    assert_eq!((requests.len(), calls.len()), (1, 2), "{seen:?}");
    let request = requests[0];
    assert_eq!((request.pid, &*request.route, request.status), (Some(42), "GET /jobs/{id}", Some(200)));
    assert!(request.span.is_some() && calls.iter().all(|call| call.trace == request.trace && call.span.is_some()));
    let told: Vec<_> = calls.iter().map(|call| (call.kind, &*call.peer, call.failed)).collect();
    assert_eq!(told, [(CallKind::Database, "redis cache:6379", false), (CallKind::Http, "billing", true)]);

    let body = tokio::time::timeout(PATIENCE, passed_on.recv()).await.expect("in time").expect("passed on");
    let call = ExportTraceServiceRequest::decode(body).expect("as it was sent");
    let spans: usize = call.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|all| all.spans.len()).sum();
    assert_eq!(spans, 4, "also what is not used here");
    stop.send(()).expect("the server still runs");
    server.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_exports_is_understood_and_passed_on() {
    exported(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_packs_is_understood_too() {
    exported(Some(Compression::Gzip)).await;
}
