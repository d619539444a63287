//! OTLP over HTTP: `POST /v1/traces`, protobuf or JSON, plain or gzip, answered in the format of the question.
//!
//! `/v1/metrics` and `/v1/logs` are taken where they can be passed on, unread.

use super::{Desk, MESSAGE, forward::Signal};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use std::io::Read as _;

/// gRPC's code for a wrong argument, which OTLP's status bodies use as well.
const INVALID_ARGUMENT: i32 = 3;

/// `google.rpc.Status`, the body of a refusal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

struct Refusal(StatusCode, &'static str, String);

/// The route.
pub(crate) fn router(desk: Desk) -> Router {
    let router = Router::new().route("/v1/traces", post(traces));
    let router = if desk.forward.is_on() {
        router.route("/v1/metrics", post(metrics)).route("/v1/logs", post(logs))
    } else {
        router
    };
    router.layer(DefaultBodyLimit::max(MESSAGE)).with_state(desk)
}

async fn traces(State(desk): State<Desk>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let format = match format(&headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(&desk, Format::Json, refusal),
    };
    let taken = whole(body).and_then(|body| {
        let response = take(&desk, format, &unpacked(&headers, &body)?)?;
        desk.forward.pass(Signal::Traces, &headers, &body);
        Ok(response)
    });
    match taken {
        Ok(response) => answer(format, &response),
        Err(refusal) => refuse(&desk, format, refusal),
    }
}

async fn metrics(State(desk): State<Desk>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    pass(&desk, Signal::Metrics, &headers, body)
}

async fn logs(State(desk): State<Desk>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    pass(&desk, Signal::Logs, &headers, body)
}

/// Passes on what is not read here; the answer says that all was taken.
fn pass(desk: &Desk, signal: Signal, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let format = match format(headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(desk, Format::Json, refusal),
    };
    match whole(body) {
        Ok(body) => {
            desk.forward.pass(signal, headers, &body);
            answer(format, &ExportTraceServiceResponse::default())
        }
        Err(refusal) => refuse(desk, format, refusal),
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Ok(Format::Protobuf),
        "application/json" => Ok(Format::Json),
        other => {
            let text = format!("content-type {other:?}: send application/x-protobuf or application/json");
            Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", text))
        }
    }
}

fn too_large() -> Refusal {
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a call may be {MESSAGE} bytes long"))
}

fn malformed(text: impl ToString) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "malformed", text.to_string())
}

fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        status => Refusal(status, "malformed", rejection.body_text()),
    })
}

/// The body as it was before it was packed; never more than a call may be long, however much is in it.
fn unpacked(headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Refusal> {
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes()) {
        None | Some(b"identity" | b"") => Ok(body.clone()),
        Some(b"gzip") => {
            let mut bytes = Vec::new();
            let mut unpacker = MultiGzDecoder::new(&body[..]).take(MESSAGE as u64 + 1);
            unpacker.read_to_end(&mut bytes).map_err(|error| malformed(format!("gzip: {error}")))?;
            if bytes.len() > MESSAGE { Err(too_large()) } else { Ok(bytes.into()) }
        }
        Some(_) => {
            let text = "content-encoding: send it plain or as gzip".to_owned();
            Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", text))
        }
    }
}

fn take(desk: &Desk, format: Format, body: &[u8]) -> Result<ExportTraceServiceResponse, Refusal> {
    match format {
        Format::Protobuf => desk.take_message(body).map_err(malformed),
        Format::Json => Ok(desk.take(&serde_json::from_slice(body).map_err(malformed)?)),
    }
}

fn answer(format: Format, response: &ExportTraceServiceResponse) -> Response {
    match (format, &response.partial_success) {
        (Format::Protobuf, _) => body(StatusCode::OK, format, response.encode_to_vec()),
        (Format::Json, None) => body(StatusCode::OK, format, b"{}".to_vec()),
        (Format::Json, Some(partial)) => {
            let (rejected, message) = (partial.rejected_spans.to_string(), &partial.error_message);
            let json = serde_json::json!({"partialSuccess": {"rejectedSpans": rejected, "errorMessage": message}});
            body(StatusCode::OK, format, json.to_string().into_bytes())
        }
    }
}

fn refuse(desk: &Desk, format: Format, Refusal(status, reason, message): Refusal) -> Response {
    desk.refused(reason);
    let bytes = match format {
        Format::Protobuf => Status { code: INVALID_ARGUMENT, message }.encode_to_vec(),
        Format::Json => serde_json::json!({"code": INVALID_ARGUMENT, "message": message}).to_string().into_bytes(),
    };
    body(status, format, bytes)
}

fn body(status: StatusCode, format: Format, bytes: Vec<u8>) -> Response {
    let kind = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::otlp::tests::desk;
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use snowshed_engine::model::Observation;
    use tower::ServiceExt as _;

    const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"transcoder"}},{"key":"process.pid","value":{"intValue":"42"}}]},
        "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
        "name":"GET /","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":"2000"}]}]}]}"#;

    async fn call(kind: &str, encoding: Option<&str>, bytes: Vec<u8>) -> (StatusCode, String, Bytes, Vec<Observation>) {
        let (desk, mut queue) = desk();
        let mut request = Request::post("/v1/traces").header(header::CONTENT_TYPE, kind);
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let request = request.body(Body::from(bytes)).expect("a request");
        let response = router(desk).oneshot(request).await.expect("infallible");
        let status = response.status();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let mut seen = Vec::new();
        while let Ok(observation) = queue.try_recv() {
            seen.push(observation);
        }
        (status, kind, bytes, seen)
    }

    #[tokio::test]
    async fn json_and_protobuf_are_taken_and_answered_in_kind() {
        let (status, kind, body, seen) = call("application/json; charset=utf-8", None, JSON.into()).await;
        assert_eq!((status, &*kind, &*body), (StatusCode::OK, "application/json", &b"{}"[..]));
        assert!(matches!(&seen[..], [Observation::Request(request)]
            if request.pid == Some(42) && request.service == "transcoder" && request.route == "GET /"));

        let span = Span { trace_id: vec![7; 16], end_time_unix_nano: 5, ..Span::default() };
        let spans = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let export = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() }],
        };
        let (status, kind, body, seen) = call("application/x-protobuf", None, export.encode_to_vec()).await;
        assert_eq!((status, &*kind, body.len()), (StatusCode::OK, "application/x-protobuf", 0));
        assert_eq!(seen.len(), 1);
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).expect("packs");
        packed
    }

    #[tokio::test]
    async fn gzip_is_unpacked() {
        let (status, _, _, seen) = call("application/json", Some("gzip"), gzip(JSON.as_bytes())).await;
        assert_eq!((status, seen.len()), (StatusCode::OK, 1));
        let (status, ..) = call("application/json", Some("identity"), JSON.into()).await;
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_and_logs_are_not_here_unless_they_are_passed_on() {
        let (desk, _queue) = desk();
        let ask = async |desk: Desk, path: &str| {
            let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-protobuf");
            router(desk).oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible").status()
        };
        assert_eq!(ask(desk.clone(), "/v1/metrics").await, StatusCode::NOT_FOUND);
        let config = super::super::forward::Config { forward: Some("http://127.0.0.1:1".into()) };
        let (forward, _task) = super::super::forward::start(&config, desk.tally.clone()).expect("an address");
        let desk = Desk { forward, ..desk };
        assert_eq!(ask(desk.clone(), "/v1/metrics").await, StatusCode::OK);
        assert_eq!(ask(desk, "/v1/logs").await, StatusCode::OK);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_a_reason() {
        let cases = [
            ("application/x-protobuf", None, vec![0xff; 64], StatusCode::BAD_REQUEST),
            ("application/json", None, b"{\"resourceSpans\": 7}".to_vec(), StatusCode::BAD_REQUEST),
            ("application/json", None, vec![b'['; 5000], StatusCode::BAD_REQUEST),
            ("text/plain", None, JSON.into(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("application/json", Some("br"), JSON.into(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("application/json", Some("gzip"), JSON.into(), StatusCode::BAD_REQUEST),
            ("application/json", Some("gzip"), gzip(&[b' '; MESSAGE + 1]), StatusCode::PAYLOAD_TOO_LARGE),
            ("application/json", None, vec![b' '; MESSAGE + 1], StatusCode::PAYLOAD_TOO_LARGE),
        ];
        for (kind, encoding, bytes, expected) in cases {
            let (status, answered, body, seen) = call(kind, encoding, bytes).await;
            assert_eq!(status, expected, "{kind} {encoding:?}");
            assert!(seen.is_empty());
            let message = match &*answered {
                "application/x-protobuf" => Status::decode(body).expect("a status").message,
                _ => String::from_utf8(body.to_vec()).expect("text"),
            };
            assert!(!message.is_empty());
        }
    }
}
