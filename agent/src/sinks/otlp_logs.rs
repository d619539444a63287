//! Sends each stage of an incident as an OTLP log record, with the whole public record as its body: so it outlives the pod,
//! and stands beside the service's own telemetry, under the trace that is behind it.
//!
//! Source: OTLP 1.9 over HTTP with protobuf. Invariant: what the protocol lets be tried again is, with a growing wait, until
//! it is delivered or a newer change of the same incident replaces it; what the collector refuses for good is counted as
//! failed and not sent again. Cost: nothing while figures only move; some 10 KB for a stage.

use super::{ATTEMPT, Context, Queue, Stages, Started, Unit, backoff, chain, client};
use crate::render::{incident::Record, wire_name};
use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::Message as _;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use snowshed_engine::model::{Severity, Verdict};

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "otlp_logs", start };

/// What kind of event each record is.
const EVENT: &str = "snowshed.incident";
/// The most of an answer that is read, bytes.
const ANSWER: usize = 64 * 1024;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The collector, as in `http://127.0.0.1:4318`; `/v1/logs` is added where there is no path.
    pub(crate) url: String,
}

/// Why a record did not arrive.
#[derive(Debug)]
enum Refused {
    /// It may yet.
    ForNow(String),
    /// It never will.
    ForGood(String),
}

fn start(config: &super::Config, context: Context, queue: Queue) -> Started {
    let Some(config) = &config.otlp_logs else { return Ok(None) };
    let (client, mut url) = client(&config.url, UNIT.name)?;
    if url.path() == "/" {
        url.set_path("/v1/logs");
    }
    Ok(Some(Box::pin(run(client, url, context, queue))))
}

async fn run(client: reqwest::Client, url: reqwest::Url, context: Context, queue: Queue) {
    let (mut stages, mut failures) = (Stages::default(), 0);
    loop {
        let numbered = queue.pop().await;
        let record = context.record(&numbered).await;
        if !stages.is_news(&record) {
            continue;
        }
        let sent = post(&client, url.clone(), request(&record, Timestamp::now()).encode_to_vec()).await;
        let counter = if sent.is_ok() { &context.tally.sink_sent } else { &context.tally.sink_failed };
        counter.with_label_values(&[UNIT.name]).inc();
        match sent {
            Ok(()) => failures = 0,
            Err(Refused::ForGood(why)) => tracing::warn!("otlp_logs {url}: {why}; incident {} is not told", record.id),
            Err(Refused::ForNow(why)) => {
                if failures == 0 {
                    tracing::warn!("otlp_logs {url}: {why}; trying again");
                }
                // Others may come first, and what comes back may be a newer change of the same stage.
                stages.forget(&record.id);
                queue.put_back(numbered);
                tokio::time::sleep(backoff(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn post(client: &reqwest::Client, url: reqwest::Url, body: Vec<u8>) -> Result<(), Refused> {
    let posted = client.post(url).timeout(ATTEMPT).header(CONTENT_TYPE, "application/x-protobuf").body(body);
    let mut response = posted.send().await.map_err(|error| Refused::ForNow(chain(&error)))?;
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => return Err(Refused::ForNow(format!("answered {}", response.status()))),
        status if !status.is_success() => return Err(Refused::ForGood(format!("answered {status}"))),
        _ => {}
    }
    let mut answer = Vec::new();
    // It was taken; an answer that breaks off, or is none, changes nothing.
    while let Ok(Some(chunk)) = response.chunk().await {
        if answer.len() + chunk.len() > ANSWER {
            return Ok(());
        }
        answer.extend_from_slice(&chunk);
    }
    let told = ExportLogsServiceResponse::decode(answer.as_slice()).ok().and_then(|told| told.partial_success);
    match told.filter(|told| told.rejected_log_records > 0) {
        Some(told) => Err(Refused::ForGood(format!("took none of it: {}", told.error_message))),
        None => Ok(()),
    }
}

fn request(record: &Record, now: Timestamp) -> ExportLogsServiceRequest {
    let target = &record.target;
    let mut resource = vec![("service.name", string(&target.name)), ("process.pid", Any::IntValue(target.pid.into()))];
    resource.extend(target.service_instance_id.iter().map(|id| ("service.instance.id", string(id))));
    let scope = InstrumentationScope {
        name: "snowshed".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes: pairs(resource), ..Resource::default() }),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: vec![log(record, now)],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

fn log(record: &Record, now: Timestamp) -> LogRecord {
    let named = record.causes.first().filter(|_| record.verdict == Verdict::Named);
    let severity = match record.severity {
        Severity::Page => SeverityNumber::Error,
        Severity::Ticket => SeverityNumber::Warn,
        Severity::Info => SeverityNumber::Info,
    };
    let mut attributes = vec![
        ("snowshed.incident.id", string(&record.id)),
        ("snowshed.incident.state", string(if record.closed_at.is_some() { "closed" } else { "open" })),
        ("snowshed.incident.summary", string(named.map_or(&record.trigger.detail, |cause| &cause.title))),
        ("snowshed.cause.kind", string(&named.map_or_else(|| "unknown".to_owned(), |cause| wire_name(cause.kind)))),
    ];
    attributes.extend(named.map(|cause| ("snowshed.cause.confidence", Any::DoubleValue(cause.confidence))));
    let trace = named.and_then(|cause| cause.trace_ids.last());
    let changed = record.updated_at.parse().unwrap_or(now);
    LogRecord {
        time_unix_nano: nanos(changed),
        observed_time_unix_nano: nanos(now),
        severity_number: severity.into(),
        severity_text: wire_name(record.severity),
        event_name: EVENT.to_owned(),
        body: serde_json::to_value(record).ok().map(any),
        attributes: pairs(attributes),
        trace_id: trace.map(|trace| trace.0.to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

fn string(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

fn pairs<'a>(known: impl IntoIterator<Item = (&'a str, Any)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&str, Any)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    known.into_iter().map(pair).collect()
}

/// JSON in OTLP's own values; records are a few levels deep. What is unknown has no value.
fn any(json: Value) -> AnyValue {
    let value = match json {
        Value::Null => None,
        Value::Bool(value) => Some(Any::BoolValue(value)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::DoubleValue(number.as_f64().unwrap_or(0.0)),
        }),
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Array(values) => Some(Any::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })),
        Value::Object(fields) => {
            let pair = |(key, value)| KeyValue { key, value: Some(any(value)), ..KeyValue::default() };
            Some(Any::KvlistValue(KeyValueList { values: fields.into_iter().map(pair).collect() }))
        }
    };
    AnyValue { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;

    fn value<'a>(pairs: &'a [KeyValue], key: &str) -> &'a Any {
        let found = pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_ref()?.value.as_ref());
        found.unwrap_or_else(|| panic!("no {key} among {pairs:?}"))
    }

    #[test]
    fn a_record_is_complete_and_under_its_trace() {
        let (numbered, sites, clock) = sample();
        let record = Record::of(&numbered, &sites, &clock);
        let sent = request(&record, Timestamp::UNIX_EPOCH);
        let of = &sent.resource_logs[0];
        assert_eq!(*value(&of.resource.as_ref().expect("one").attributes, "service.name"), string("transcoder"));
        let log = &of.scope_logs[0].log_records[0];
        assert_eq!((log.severity_number(), log.event_name.as_str()), (SeverityNumber::Error, EVENT));
        assert_eq!(log.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(log.time_unix_nano, 1_700_000_030_000_000_000);
        assert_eq!(*value(&log.attributes, "snowshed.cause.kind"), string("fd_leak"));
        let Some(Any::KvlistValue(body)) = log.body.as_ref().and_then(|body| body.value.clone()) else {
            panic!("no body: {log:?}")
        };
        assert_eq!(*value(&body.values, "id"), string(&record.id));
        let Any::ArrayValue(causes) = value(&body.values, "causes") else { panic!("no causes: {body:?}") };
        assert_eq!(causes.values.len(), record.causes.len());
    }

    #[test]
    fn what_is_not_known_names_no_cause_and_no_trace() {
        let (numbered, sites, clock) = sample();
        let record = Record { verdict: Verdict::Unknown, ..Record::of(&numbered, &sites, &clock) };
        let log = log(&record, Timestamp::UNIX_EPOCH);
        assert_eq!(*value(&log.attributes, "snowshed.cause.kind"), string("unknown"));
        assert!(log.trace_id.is_empty() && !log.attributes.iter().any(|pair| pair.key == "snowshed.cause.confidence"));
    }
}
