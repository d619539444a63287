//! What an OTLP receiver gets to see.

use crate::harness::*;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::{Arc, Mutex};
use tokio_stream::wrappers::TcpListenerStream;

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().expect("not poisoned").push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    async fn start() -> (Self, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let receiver = Self::default();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(receiver.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (receiver, url)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().expect("not poisoned");
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> Vec<KeyValue> {
        let requests = self.0.lock().expect("not poisoned");
        requests[0].resource_spans[0].resource.clone().expect("a resource").attributes
    }

    async fn server_spans(&self, number: usize) -> Vec<Span> {
        let of_requests = || self.spans().into_iter().filter(|span| span.kind == 2).collect::<Vec<_>>();
        eventually("the spans arrive", || of_requests().len() >= number).await;
        of_requests()
    }
}

fn attribute(list: &[KeyValue], key: &str) -> String {
    match list.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?} in {list:?}"),
    }
}

#[tokio::test]
async fn a_request_is_a_server_span_that_continues_its_caller_s_trace() {
    let (receiver, url) = Receiver::start().await;
    let service = Service::start(&["--otlp", &url]).await;
    let traceparent = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    assert_eq!(answer(&http2(), post(&service, &traceparent, whole(ts_with_sound()))).await.0, 200);
    let span = receiver.server_spans(1).await.remove(0);
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.name, "POST /api/v1/transcode");
    for (key, value) in [
        ("http.route", "/api/v1/transcode"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("server.address", "127.0.0.1"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "2"),
        ("url.path", "/api/v1/transcode"),
        ("url.scheme", "http"),
        ("server.port", service.url.rsplit(':').next().expect("a port")),
    ] {
        assert_eq!(attribute(&span.attributes, key), value, "{key}");
    }
    assert!(attribute(&span.attributes, "client.port").parse::<u16>().is_ok());
    let first_byte = span.events.iter().find(|event| event.name == "first_byte").expect("the event");
    assert!(span.start_time_unix_nano < first_byte.time_unix_nano);
    assert!(first_byte.time_unix_nano < span.end_time_unix_nano, "the span ends with the body, not with the head");

    eventually("the codec's span arrives", || receiver.spans().iter().any(|span| span.name == "transcode")).await;
    let spans = receiver.spans();
    let codec = spans.iter().find(|span| span.name == "transcode").expect("arrived");
    assert_eq!((&codec.trace_id, &codec.parent_span_id), (&span.trace_id, &span.span_id));
    for (stage, items, least) in
        [("demux", "packets", 50), ("decode", "frames", 50), ("encode", "packets", 50), ("mux", "pieces", 2)]
    {
        eventually("the stage's span arrives", || receiver.spans().iter().any(|span| span.name == stage)).await;
        let spans = receiver.spans();
        let of_stage: Vec<_> = spans.iter().filter(|span| span.name == stage).collect();
        assert_eq!(of_stage.len(), 1, "one for the stream's life");
        assert_eq!((&of_stage[0].trace_id, &of_stage[0].parent_span_id), (&codec.trace_id, &codec.span_id), "{stage}");
        assert!(attribute(&of_stage[0].attributes, items).parse::<u64>().expect("a number") >= least, "{stage}");
        let busy = attribute(&of_stage[0].attributes, "busy_ms").parse::<f64>().expect("a number");
        let life = (of_stage[0].end_time_unix_nano - of_stage[0].start_time_unix_nano) as f64 / 1e6;
        assert!(busy > 0.0 && busy <= life, "{stage} was busy for {busy} of {life} ms");
    }

    let resource = receiver.resource();
    assert_eq!(attribute(&resource, "service.name"), "transcoder");
    assert_eq!(attribute(&resource, "process.pid"), service.pid.to_string());
    assert_eq!(attribute(&resource, "service.instance.id").len(), 36);
}

#[tokio::test]
async fn refusals_and_the_last_request_before_the_end_are_spans_too() {
    let (receiver, url) = Receiver::start().await;
    let service = Service::start(&["--otlp", &url]).await;
    assert_eq!(answer(&http1(), post(&service, &[("content-type", "text/plain")], whole("x"))).await.0, 415);
    assert_eq!(answer(&http1(), post(&service, &[], whole("x"))).await.0, 422);
    // The batch would wait for a second; the end must not lose it.
    assert_eq!(service.terminate().await.0, Some(0));
    let mut statuses: Vec<_> = receiver
        .server_spans(2)
        .await
        .iter()
        .map(|span| attribute(&span.attributes, "http.response.status_code"))
        .collect();
    statuses.sort();
    assert_eq!(statuses, ["415", "422"]);
}

/// The POST's span lasts as long as the codec; viewers' requests are spans by themselves, in traces of their own.
#[tokio::test]
async fn a_session_s_upload_and_its_viewers_are_spans() {
    let (receiver, url) = Receiver::start().await;
    let service = Service::start(&["--otlp", &url]).await;
    let http = http2();
    let live = crate::hls_live::open(&service, &http, ts_with_sound(), &[]).await;
    let (playlist, session) = (live.playlist.clone(), live.session.clone());
    live.finish(bytes::Bytes::new()).await;
    assert_eq!(answer(&http, get(&playlist)).await.0, 200);
    assert_eq!(answer(&http, get(&format!("{session}/segment-99999.m4s"))).await.0, 404);
    let end = hyper::Request::delete(&session).body(whole("")).expect("a request");
    assert_eq!(answer(&http, end).await.0, 204);
    let spans = receiver.server_spans(4).await;
    let mut seen: Vec<_> = spans
        .iter()
        .map(|span| (span.name.as_str(), attribute(&span.attributes, "http.response.status_code")))
        .collect();
    seen.sort();
    let of = |name, status: &str| (name, status.to_owned());
    let expected = [
        of("DELETE /api/v1/sessions/{id}", "204"),
        of("GET /api/v1/sessions/{id}/{file}", "200"),
        of("GET /api/v1/sessions/{id}/{file}", "404"),
        of("POST /api/v1/transcode", "201"),
    ];
    assert_eq!(seen, expected);
    let mut traces: Vec<_> = spans.iter().map(|span| &span.trace_id).collect();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 4);
    let codec = receiver.spans().into_iter().find(|span| span.name == "transcode").expect("arrived before");
    let upload = spans.iter().find(|span| span.name == "POST /api/v1/transcode").expect("seen");
    assert!(upload.end_time_unix_nano >= codec.start_time_unix_nano && upload.trace_id == codec.trace_id);
}

#[tokio::test]
async fn without_a_receiver_it_serves_all_the_same() {
    let service = Service::start(&["--otlp", "http://127.0.0.1:1"]).await;
    assert_eq!(answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await.0, 200);
    assert_eq!(service.terminate().await.0, Some(0));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
