use super::*;
use crate::{
    clock::Clock,
    sources::otlp::span::{Mapped, map},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value},
    resource::v1,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event},
};
use prost::Message as _;

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text_of(text: &str) -> any_value::Value {
    any_value::Value::StringValue(text.into())
}

fn span() -> Span {
    Span {
        trace_id: (1..=16).collect(),
        span_id: vec![1; 8],
        parent_span_id: vec![2; 8],
        trace_state: "ot=th:8".into(),
        name: "handler".into(),
        kind: 2,
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 9_000,
        flags: 0x101,
        attributes: vec![
            attribute("http.request.method", text_of("GET")),
            attribute("http.route", text_of("/a/{id}")),
            attribute("http.response.status_code", any_value::Value::IntValue(503)),
            attribute("list", any_value::Value::ArrayValue(ArrayValue::default())),
            attribute("negative", any_value::Value::IntValue(-1)),
            KeyValue { key: "empty".into(), ..KeyValue::default() },
        ],
        events: vec![
            Event { name: "other".into(), time_unix_nano: 1, ..Event::default() },
            Event { name: "first_byte".into(), time_unix_nano: 4_000, ..Event::default() },
        ],
        status: Some(Status { code: 2, message: "broken".into() }),
        ..Span::default()
    }
}

fn call(spans: Vec<Span>) -> Vec<u8> {
    let attributes = vec![
        attribute("service.name", text_of("transcoder")),
        attribute("process.pid", any_value::Value::IntValue(42)),
    ];
    let resource = Some(v1::Resource { attributes, ..v1::Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// What becomes of the spans of a call.
fn read_all(call: &[u8]) -> Result<Vec<String>, Malformed> {
    let (mut all, clock) = (Vec::new(), Clock::with_offset(500));
    read(call, |resource| resource, |from, seen| all.push(format!("{:?}", map(seen, from, Some(7), &clock))))?;
    Ok(all)
}

#[test]
fn what_is_read_here_is_what_the_generated_types_read() {
    let mut root = Span { parent_span_id: Vec::new(), kind: 1, events: Vec::new(), ..span() };
    root.attributes.clear();
    let spans = vec![span(), Span { kind: 3, ..span() }, root, Span { kind: -5, status: None, ..span() }];
    let bytes = call(spans);
    let decoded = ExportTraceServiceRequest::decode(&*bytes).expect("valid");
    let group = &decoded.resource_spans[0];
    let resource = Resource::of(group.resource.as_ref());
    assert_eq!((resource.pid, &*resource.service), (Some(42), "transcoder"));
    let clock = Clock::with_offset(500);
    let mapped = |span: &Span| {
        let pairs = super::super::attributes::pairs(&span.attributes);
        format!("{:?}", map(&Seen::of(span, &pairs), &resource, Some(7), &clock))
    };
    let expected: Vec<String> = group.scope_spans[0].spans.iter().map(mapped).collect();
    assert_eq!(read_all(&bytes), Ok(expected));
}

#[test]
fn whatever_cannot_be_read_makes_the_whole_call_malformed() {
    let whole = call(vec![span()]);
    // A cut within the message leaves a length that is too long.
    assert!((1..whole.len()).all(|length| read_all(&whole[..length]).is_err()));
    for broken in [&[0xff_u8; 64][..], &[0x0a, 0x80], &[0x0b], &[0x00, 0x01], &[0x08, 0x01]] {
        assert!(read_all(broken).is_err(), "{broken:?}");
    }
    let name = whole.windows(7).position(|part| part == b"handler").expect("its name");
    let mut bytes = whole.clone();
    bytes[name] = 0xff;
    assert_eq!(read_all(&bytes), Err(Malformed("a text that is no UTF-8")));
    assert_eq!(read_all(&[]), Ok(Vec::new()), "nothing is a call without spans");
}

#[test]
fn any_change_of_a_byte_is_survived_and_judged_as_the_generated_types_judge_it() {
    let whole = call(vec![span(), span()]);
    let (mut agreed, mut all) = (0_u32, 0_u32);
    for place in 0..whole.len() {
        for change in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            let (ours, theirs) = (read_all(&bytes), ExportTraceServiceRequest::decode(&*bytes));
            // What is not used here may be broken; what is used may not.
            assert!(ours.is_ok() || theirs.is_err() || is_stricter(&ours), "{place} ^ {change:#x}: {ours:?}");
            agreed += u32::from(ours.is_ok() == theirs.is_ok());
            all += 1;
        }
    }
    assert!(f64::from(agreed) > 0.8 * f64::from(all), "{agreed} of {all}");
}

/// Groups, which protobuf gave up before OTLP began.
fn is_stricter(ours: &Result<Vec<String>, Malformed>) -> bool {
    *ours == Err(Malformed("a field of no known type"))
}

#[test]
fn a_resource_after_its_spans_counts_all_the_same() {
    let bytes = call(vec![span()]);
    let group = messages(&bytes, 1).next().expect("a group").expect("valid");
    let (mut turned, parts) = (Vec::new(), [messages(group, 2), messages(group, 1)]);
    assert!(matches!(read_all(&bytes).expect("valid").first(), Some(text) if text.contains("transcoder")));
    for (tag, part) in [0x12_u8, 0x0a].into_iter().zip(parts) {
        for message in part {
            let message = message.expect("valid");
            turned.push(tag);
            prost::encoding::encode_varint(message.len() as u64, &mut turned);
            turned.extend(message);
        }
    }
    let mut whole = vec![0x0a];
    prost::encoding::encode_varint(turned.len() as u64, &mut whole);
    whole.extend(turned);
    assert_eq!(read_all(&whole), read_all(&bytes));
    let clock = Clock::with_offset(0);
    let mut seen = 0;
    read(
        &whole,
        |resource| resource.pid,
        |pid, one| {
            seen +=
                u32::from(*pid == Some(42) && !matches!(map(one, &Resource::default(), *pid, &clock), Mapped::Ignored));
        },
    )
    .expect("valid");
    assert_eq!(seen, 1);
}
