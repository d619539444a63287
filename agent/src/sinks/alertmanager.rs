//! Alerts for Alertmanager, API version 2.
//!
//! Invariant: labels are an alert's identity, so they never change in place: when an incident's severity
//! or cause changes, the alert under the old labels is resolved and another begins. Each alert is sent
//! again every 30 s, firing for two minutes ahead, so that it ends by itself if the agent dies; a resolved
//! one is repeated for five minutes, in case the receiver was away.
//! Cost: one small request every 30 s while there is an alert.

use super::{Context, Queue, Started, Unit, backoff, client};
use crate::render::{incident::Record, text, wire_name};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use snowshed_engine::model::{CauseKind, Verdict};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// This unit.
pub(crate) const UNIT: Unit = Unit { name: "alertmanager", start };

/// How often alerts are sent again.
const RESEND: Duration = Duration::from_secs(30);
/// How far ahead an alert fires (four resends, as Prometheus does).
const FIRING_FOR: SignedDuration = SignedDuration::from_secs(120);
/// How long a resolved alert is repeated.
const RESOLVED_FOR: SignedDuration = SignedDuration::from_secs(300);
/// Alerts kept at the same time; resolved ones go first.
const ALERTS: usize = 256;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Base address, as in `http://127.0.0.1:9093`.
    pub(crate) url: String,
}

/// Alerts by their identity.
type Alerts = BTreeMap<BTreeMap<&'static str, String>, Alert>;

/// An alert under one set of labels.
#[derive(Clone, Debug)]
struct Alert {
    incident: String,
    annotations: BTreeMap<&'static str, String>,
    starts: Timestamp,
    resolved: Option<Timestamp>,
}

/// An alert on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a BTreeMap<&'static str, String>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

fn start(config: &super::Config, context: Context, queue: Queue) -> Started {
    let Some(config) = &config.alertmanager else { return Ok(None) };
    let (client, url) = client(&config.url, UNIT.name)?;
    let url = format!("{}/api/v2/alerts", url.as_str().trim_end_matches('/'));
    Ok(Some(Box::pin(run(client, url, context, queue))))
}

async fn run(client: reqwest::Client, url: String, context: Context, queue: Queue) {
    let mut alerts = Alerts::new();
    let (mut failures, mut due) = (0, Instant::now() + RESEND);
    loop {
        tokio::select! {
            numbered = queue.pop() => {
                let record = context.record(&numbered).await;
                fold(&mut alerts, &record, &context.agent_url, Timestamp::now());
                // While the receiver fails, changes are folded in and go out with the next attempt.
                if failures > 0 {
                    continue;
                }
            }
            () = tokio::time::sleep_until(due) => {}
        }
        let now = Timestamp::now();
        alerts.retain(|_, alert| alert.resolved.is_none_or(|at| now.duration_since(at) < RESOLVED_FOR));
        due = Instant::now() + RESEND;
        if alerts.is_empty() {
            continue;
        }
        let posted: Vec<Posted<'_>> = alerts.iter().map(|(labels, alert)| post(labels, alert, &context, now)).collect();
        if let Err(error) = context.post(UNIT.name, &client, &url, &posted).await {
            if failures == 0 {
                tracing::warn!("alertmanager {url}: {error}; trying again");
            }
            due = Instant::now() + backoff(failures);
            failures = failures.saturating_add(1);
        } else {
            failures = 0;
        }
    }
}

/// Folds a change of an incident into the alerts.
fn fold(alerts: &mut Alerts, record: &Record, agent_url: &str, now: Timestamp) {
    let labels = labels(record);
    // Whatever this incident was known by before, and is not now, has ended.
    for (other, alert) in alerts.iter_mut() {
        if alert.incident == record.id && *other != labels {
            alert.resolved.get_or_insert(now);
        }
    }
    let closed = record.closed_at.is_some();
    let known = alerts.get(&labels).filter(|alert| alert.incident == record.id && alert.resolved.is_none());
    let starts = match known {
        Some(alert) => alert.starts,
        None if closed => return,
        // The first alert of an incident starts when the incident did; one under new labels starts now.
        None if alerts.values().any(|alert| alert.incident == record.id) => now,
        None => record.opened_at.parse().unwrap_or(now),
    };
    if alerts.len() >= ALERTS && !alerts.contains_key(&labels) {
        let oldest = alerts.iter().min_by_key(|(_, alert)| (alert.resolved.is_none(), alert.starts));
        if let Some(identity) = oldest.map(|(identity, _)| identity.clone()) {
            alerts.remove(&identity);
        }
    }
    let alert = Alert {
        incident: record.id.clone(),
        annotations: annotations(record, agent_url),
        starts,
        resolved: closed.then_some(now),
    };
    alerts.insert(labels, alert);
}

fn labels(record: &Record) -> BTreeMap<&'static str, String> {
    let named = record.causes.first().filter(|_| record.verdict == Verdict::Named).map(|cause| cause.kind);
    let alertname = match named {
        Some(CauseKind::FdLeak) => "SnowshedFdLeak",
        Some(CauseKind::EventLoopStall) => "SnowshedEventLoopStall",
        Some(CauseKind::MemoryGrowth) => "SnowshedMemoryGrowth",
        Some(CauseKind::TaskLeak) => "SnowshedTaskLeak",
        Some(CauseKind::TcpRetransmits) => "SnowshedTcpRetransmits",
        Some(CauseKind::LockContention) => "SnowshedLockContention",
        Some(CauseKind::CpuThrottled) => "SnowshedCpuThrottled",
        Some(CauseKind::CpuSaturation) => "SnowshedCpuSaturation",
        Some(CauseKind::AcceptQueueOverflow) => "SnowshedAcceptQueueOverflow",
        Some(CauseKind::DiskStall) => "SnowshedDiskStall",
        Some(CauseKind::OomKill) => "SnowshedOomKill",
        Some(CauseKind::NicDrops) => "SnowshedNicDrops",
        Some(CauseKind::DownstreamSlow) => "SnowshedDownstreamSlow",
        Some(CauseKind::PoolExhausted) => "SnowshedPoolExhausted",
        Some(CauseKind::TrafficSurge) => "SnowshedTrafficSurge",
        Some(CauseKind::DnsFailure) => "SnowshedDnsFailure",
        Some(CauseKind::BlockedWriter) => "SnowshedBlockedWriter",
        Some(CauseKind::DeadlineOverrun) => "SnowshedDeadlineOverrun",
        None => "SnowshedIncident",
    };
    BTreeMap::from([
        ("alertname", alertname.to_owned()),
        ("severity", wire_name(record.severity)),
        ("service", record.target.name.clone()),
        ("pid", record.target.pid.to_string()),
        ("cause", named.map_or_else(|| "unknown".to_owned(), wire_name)),
    ])
}

fn annotations(record: &Record, agent_url: &str) -> BTreeMap<&'static str, String> {
    let named = record.causes.first().filter(|_| record.verdict == Verdict::Named);
    BTreeMap::from([
        ("summary", named.map_or_else(|| record.trigger.detail.clone(), |cause| cause.title.clone())),
        ("description", text::description(record)),
        ("explain", format!("snowshed explain {} --agent {agent_url}", record.id)),
        ("dashboard", format!("{agent_url}/#{}", record.id)),
    ])
}

fn post<'a>(
    labels: &'a BTreeMap<&'static str, String>,
    alert: &'a Alert,
    context: &'a Context,
    now: Timestamp,
) -> Posted<'a> {
    let ends = alert.resolved.unwrap_or_else(|| now.checked_add(FIRING_FOR).unwrap_or(now));
    Posted {
        labels,
        annotations: &alert.annotations,
        starts_at: alert.starts.to_string(),
        ends_at: ends.to_string(),
        generator_url: &context.agent_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_100 + second).expect("in range")
    }

    fn record() -> Record {
        let (numbered, sites, clock) = sample();
        Record::of(&numbered, &sites, &clock)
    }

    fn firing(alerts: &Alerts) -> Vec<&BTreeMap<&'static str, String>> {
        alerts.iter().filter(|(_, alert)| alert.resolved.is_none()).map(|(labels, _)| labels).collect()
    }

    #[test]
    fn identity_stays_while_figures_change() {
        let mut alerts = Alerts::new();
        let mut record = record();
        fold(&mut alerts, &record, "http://a", at(0));
        record.causes[0].title = "38 temporary files".into();
        record.causes[0].confidence = 0.97;
        fold(&mut alerts, &record, "http://a", at(5));
        assert_eq!(alerts.len(), 1);
        let (labels, alert) = alerts.first_key_value().expect("one");
        assert_eq!(labels["alertname"], "SnowshedFdLeak");
        assert_eq!(labels["pid"], "4242");
        assert_eq!(alert.annotations["summary"], "38 temporary files");
        assert!(alert.annotations["description"].contains("at: spool_upload (spool.rs:41)"));
        assert!(alert.annotations["description"].contains("changed: start: the process started 9 s before the onset"));
        assert!(alert.annotations["explain"].contains(&record.id));
        assert_eq!(alert.starts.to_string(), "2023-11-14T22:13:40Z");
    }

    #[test]
    fn a_changed_identity_resolves_the_old_alert() {
        let mut alerts = Alerts::new();
        let mut record = record();
        record.verdict = Verdict::Unknown;
        fold(&mut alerts, &record, "http://a", at(0));
        record.verdict = Verdict::Named;
        fold(&mut alerts, &record, "http://a", at(5));
        assert_eq!(alerts.len(), 2);
        assert_eq!(firing(&alerts).len(), 1);
        assert_eq!(firing(&alerts)[0]["cause"], "fd_leak");
        record.closed_at = Some(record.updated_at.clone());
        fold(&mut alerts, &record, "http://a", at(9));
        assert!(firing(&alerts).is_empty());
        let resolved: Vec<Timestamp> = alerts.values().filter_map(|alert| alert.resolved).collect();
        assert!(resolved.contains(&at(5)) && resolved.contains(&at(9)));
    }

    #[test]
    fn an_incident_that_is_over_raises_no_alert_and_alerts_are_bounded() {
        let mut alerts = Alerts::new();
        let mut over = record();
        over.closed_at = Some(over.updated_at.clone());
        fold(&mut alerts, &over, "http://a", at(0));
        assert!(alerts.is_empty());
        for number in 0..ALERTS + 10 {
            let mut record = record();
            record.id = number.to_string();
            record.target.pid = number as u32;
            fold(&mut alerts, &record, "http://a", at(0));
        }
        assert_eq!(alerts.len(), ALERTS);
    }
}
