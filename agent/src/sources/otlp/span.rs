//! One span as a request that ended, or as a call to another service.
//!
//! Invariant: total. Any span gives one of the two, or says that it is neither, or what is wrong with it;
//! names are cut at 256 characters, times from the future or before the start do no harm.

use super::attributes::{Attributes, Pair, pairs, short};
use crate::clock::Clock;
use opentelemetry_proto::tonic::{
    resource::v1,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use snowshed_engine::model::{Call, Pid, Request, SpanId, TraceId};

mod connection;

/// The most that one sampled span may stand for.
const WEIGHT: f64 = 1e6;

/// What the sender says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    /// `process.pid`.
    pub(super) pid: Option<Pid>,
    /// `service.name`.
    pub(super) service: String,
    /// `service.instance.id`.
    pub(super) instance: Option<String>,
}

impl Resource {
    /// As the generated types hold it.
    pub(super) fn of(resource: Option<&v1::Resource>) -> Self {
        let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        Self::read(Attributes(&pairs(attributes)))
    }

    /// Reads the attributes that matter here.
    pub(super) fn read(attributes: Attributes<'_>) -> Self {
        Self {
            pid: attributes.int(&["process.pid"]).and_then(|pid| Pid::try_from(pid).ok()),
            service: attributes.text(&["service.name"]).map(short).unwrap_or_default(),
            instance: attributes.text(&["service.instance.id"]).map(short),
        }
    }
}

/// The name of the event that tells when the first byte of an answer left.
pub(super) const FIRST_BYTE: &str = "first_byte";
/// The code of a status that says that the span failed.
pub(super) const ERROR: u64 = StatusCode::Error as u64;

/// What is read of a span, however it was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen<'a> {
    pub(super) trace: &'a [u8],
    pub(super) span: &'a [u8],
    pub(super) is_root: bool,
    pub(super) trace_state: &'a str,
    pub(super) kind: i32,
    pub(super) name: &'a str,
    /// Wall clock, nanoseconds, as all times here.
    pub(super) started: u64,
    pub(super) ended: u64,
    pub(super) first_byte: Option<u64>,
    pub(super) failed: bool,
    pub(super) attributes: Attributes<'a>,
}

impl<'a> Seen<'a> {
    /// As the generated types hold it, with its attributes.
    pub(super) fn of(span: &'a Span, attributes: &'a [Pair<'a>]) -> Self {
        Self {
            trace: &span.trace_id,
            span: &span.span_id,
            is_root: span.parent_span_id.is_empty(),
            trace_state: &span.trace_state,
            kind: span.kind,
            name: &span.name,
            started: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            first_byte: span.events.iter().find(|event| event.name == FIRST_BYTE).map(|event| event.time_unix_nano),
            failed: span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32),
            attributes: Attributes(attributes),
        }
    }
}

/// What became of a span.
#[derive(Debug)]
pub(super) enum Mapped {
    /// A request's end.
    Request(Request),
    /// A call's end.
    Call(Call),
    /// Neither a server span, nor a root, nor a client span.
    Ignored,
    /// What is wrong with it.
    Invalid(&'static str),
}

/// The request or the call that a span tells of.
pub(super) fn map(span: &Seen<'_>, from: &Resource, pid: Option<Pid>, clock: &Clock) -> Mapped {
    let is_call = span.kind == SpanKind::Client as i32 || span.kind == SpanKind::Producer as i32;
    if !is_call && span.kind != SpanKind::Server as i32 && !span.is_root {
        return Mapped::Ignored;
    }
    let Some(trace) = TraceId::from_bytes(span.trace) else {
        return Mapped::Invalid("trace_id: not 16 bytes, or all zero");
    };
    if span.ended == 0 || span.ended < span.started {
        return Mapped::Invalid("end_time_unix_nano: missing, or before the start");
    }
    let started = clock.monotonic(span.started);
    let ended = clock.monotonic(span.ended);
    let attributes = span.attributes;
    let status = attributes.status();
    let (id, weight) = (SpanId::from_bytes(span.span), weight(span.trace_state));
    if is_call {
        return Mapped::Call(Call {
            pid,
            trace,
            span: id,
            kind: attributes.kind(),
            peer: attributes.peer(span.name),
            started,
            ended,
            failed: span.failed || status.is_some_and(|code| code >= 500),
            weight,
        });
    }
    Mapped::Request(Request {
        pid,
        service: from.service.clone(),
        trace,
        span: id,
        route: attributes.route(span.name),
        started,
        ended,
        first_byte: span.first_byte.map(|time| clock.monotonic(time).clamp(started, ended)),
        status,
        failed: span.failed,
        weight,
        // Of a client's span the peer is whom it called.
        peer: if span.kind == SpanKind::Server as i32 { connection::peer(attributes) } else { None },
        serial: connection::is_serial(attributes),
    })
}

/// How many requests a sampled span stands for: consistent probability sampling writes its rejection
/// threshold `th` into the trace state as up to 14 hexadecimal digits of a 56-bit fraction
/// (OpenTelemetry specification, "TraceState: Probability Sampling"). 1 where nothing is told.
fn weight(trace_state: &str) -> f64 {
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="));
    let threshold = member.and_then(|member| member.split(';').find_map(|pair| pair.strip_prefix("th:")));
    let Some(digits) = threshold.filter(|digits| (1..=14).contains(&digits.len())) else {
        return 1.0;
    };
    let Ok(rejected) = u64::from_str_radix(&format!("{digits:0<14}"), 16) else {
        return 1.0;
    };
    let whole = (1_u64 << 56) as f64;
    // Whoever writes a threshold next to one would let one span outweigh all others.
    (whole / (whole - rejected as f64)).min(WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::{
        common::v1::{AnyValue, KeyValue, any_value::Value},
        trace::v1::{Status, span::Event},
    };

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn server_span() -> Span {
        Span {
            trace_id: (1..=16).collect(),
            span_id: vec![1; 8],
            parent_span_id: vec![2; 8],
            name: "handler".into(),
            kind: SpanKind::Server as i32,
            start_time_unix_nano: 1_000,
            end_time_unix_nano: 9_000,
            attributes: vec![
                pair("http.request.method", Value::StringValue("POST".into())),
                pair("http.route", Value::StringValue("/api/v1/transcode".into())),
                pair("http.response.status_code", Value::IntValue(503)),
            ],
            events: vec![Event { name: "first_byte".into(), time_unix_nano: 4_000, ..Event::default() }],
            status: Some(Status { code: StatusCode::Error as i32, message: String::new() }),
            ..Span::default()
        }
    }

    fn mapped(span: &Span) -> Mapped {
        let pairs = pairs(&span.attributes);
        let span = Seen::of(span, &pairs);
        map(
            &span,
            &Resource { service: "transcoder".into(), ..Resource::default() },
            Some(42),
            &Clock::with_offset(500),
        )
    }

    #[test]
    fn a_server_span_is_a_request() {
        let Mapped::Request(request) = mapped(&server_span()) else { panic!("not a request") };
        assert_eq!(request.route, "POST /api/v1/transcode");
        assert_eq!((request.started, request.ended, request.first_byte), (500, 8_500, Some(3_500)));
        assert_eq!((request.status, request.failed, request.weight), (Some(503), true, 1.0));
        assert_eq!((request.pid, &*request.service), (Some(42), "transcoder"));
    }

    #[test]
    fn without_a_route_the_name_stands_in_and_old_names_are_known() {
        let mut span = server_span();
        span.attributes = vec![pair("http.status_code", Value::StringValue("204".into()))];
        let Mapped::Request(request) = mapped(&span) else { panic!("not a request") };
        assert_eq!((&*request.route, request.status), ("handler", Some(204)));
    }

    #[test]
    fn inner_spans_are_ignored_and_roots_are_not() {
        let mut span = server_span();
        span.kind = SpanKind::Internal as i32;
        assert!(matches!(mapped(&span), Mapped::Ignored));
        span.parent_span_id.clear();
        assert!(matches!(mapped(&span), Mapped::Request(_)));
    }

    #[test]
    fn client_spans_are_calls_also_where_they_are_roots() {
        let mut span = server_span();
        span.attributes =
            vec![pair("db.system", Value::StringValue("redis".into())), pair("http.status_code", Value::IntValue(503))];
        for kind in [SpanKind::Client, SpanKind::Producer] {
            span.kind = kind as i32;
            let Mapped::Call(call) = mapped(&span) else { panic!("not a call") };
            assert_eq!((&*call.peer, call.failed, call.pid), ("redis", true, Some(42)));
            assert_eq!((call.span, call.started, call.ended), (Some(SpanId([1; 8])), 500, 8_500));
            span.parent_span_id.clear();
        }
        span.status = None;
        span.attributes.pop();
        assert!(matches!(mapped(&span), Mapped::Call(call) if !call.failed));
    }

    #[test]
    fn broken_spans_are_told_apart() {
        let mut span = server_span();
        span.trace_id = vec![0; 16];
        assert!(matches!(mapped(&span), Mapped::Invalid(reason) if reason.contains("trace_id")));
        let mut span = server_span();
        span.end_time_unix_nano = 1;
        assert!(matches!(mapped(&span), Mapped::Invalid(reason) if reason.contains("end_time")));
        let mut span = server_span();
        span.attributes.push(pair("http.response.status_code", Value::IntValue(i64::MIN)));
        span.events[0].time_unix_nano = u64::MAX;
        span.name = "x".repeat(10_000);
        assert!(matches!(mapped(&span), Mapped::Request(request) if request.first_byte == Some(request.ended)));
    }

    #[test]
    fn a_sampled_span_stands_for_others() {
        assert_eq!(weight(""), 1.0);
        assert_eq!(weight("vendor=1,ot=th:8"), 2.0);
        assert_eq!(weight("ot=rv:00;th:c"), 4.0);
        assert_eq!(weight("ot=th:ffffffffffffff"), WEIGHT, "bounded");
        for nonsense in ["ot=th:", "ot=th:xyz", "ot=th:000000000000000", "ot=th:+1"] {
            assert!(weight(nonsense).is_finite(), "{nonsense}");
        }
    }
}
