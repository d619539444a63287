//! OTLP over HTTP: `POST /v1/traces`, protobuf or JSON, answered in the format of the question.

use super::{Desk, MESSAGE};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;

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
    Router::new().route("/v1/traces", post(traces)).layer(DefaultBodyLimit::max(MESSAGE)).with_state(desk)
}

async fn traces(State(desk): State<Desk>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let format = match format(&headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(&desk, Format::Json, refusal),
    };
    match read(format, &headers, body) {
        Ok(call) => answer(format, &desk.take(call)),
        Err(refusal) => refuse(&desk, format, refusal),
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

fn read(
    format: Format,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<ExportTraceServiceRequest, Refusal> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let text = format!("content-encoding {encoding:?}: send it uncompressed");
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", text));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a call may be {MESSAGE} bytes long"))
        }
        status => Refusal(status, "malformed", rejection.body_text()),
    })?;
    let malformed = |text: String| Refusal(StatusCode::BAD_REQUEST, "malformed", text);
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|error| malformed(error.to_string())),
        Format::Json => serde_json::from_slice(&body).map_err(|error| malformed(error.to_string())),
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
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
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

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_a_reason() {
        let cases = [
            ("application/x-protobuf", None, vec![0xff; 64], StatusCode::BAD_REQUEST),
            ("application/json", None, b"{\"resourceSpans\": 7}".to_vec(), StatusCode::BAD_REQUEST),
            ("application/json", None, vec![b'['; 5000], StatusCode::BAD_REQUEST),
            ("text/plain", None, JSON.into(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ("application/json", Some("gzip"), JSON.into(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
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
