//! Receivers of incidents: a real Alertmanager, a webhook, and OpenTelemetry's own messages of log records (no collector is
//! packaged for this system, so a script receives them) get the incident with its cause, and its end.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::{
    process::{self, Child, Spawn},
    rig::{Alertmanager, Scene, Webhook, script},
    setup,
};

/// The log records that arrived, oldest first.
fn log_records(receiver: &Child) -> Vec<Value> {
    receiver.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A string among the attributes of a record.
fn attribute<'a>(pairs: &'a Value, key: &str) -> &'a str {
    let mut pairs = pairs.as_array().into_iter().flatten();
    pairs.find(|pair| pair["key"] == key).and_then(|pair| pair["value"]["stringValue"].as_str()).unwrap_or_default()
}

#[test]
fn an_alert_carries_its_cause_and_is_resolved() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("test's folder")?;
    let alertmanager = Alertmanager::start(folder.path(), None)?;
    let webhook = Webhook::start()?;
    let receiver = Spawn::new("receiver", setup::traced_python()).args([script("otlp_logs.py")]);
    let mut receiver = receiver.start(folder.path())?;
    let port = receiver.wait_line("listening on ", Duration::from_secs(20))?;
    let logs = format!("http://127.0.0.1:{}", port.rsplit(' ').next().context("no port")?);
    let arguments = ["--alertmanager", &alertmanager.url(), "--webhook", &webhook.url(), "--otlp-logs", &logs];
    let scene = Scene::start(&arguments, |plan| plan)?;
    scene.wait_requests(0, 4)?;
    ensure!(alertmanager.alerts()?.is_empty() && webhook.received().is_empty(), "told before the fault");

    scene.service.fault_on("loop_stall", "500")?;
    let alert = process::wait_until("a named alert at Alertmanager", Duration::from_secs(40), || {
        Ok(alertmanager.alerts()?.into_iter().find(|alert| alert["labels"]["cause"] == "event_loop_stall"))
    })?;
    ensure!(alert["labels"]["alertname"] == "SnowshedEventLoopStall", "{alert}");
    let pid = scene.service.pid().to_string();
    ensure!(alert["labels"]["pid"] == pid.as_str(), "{alert}");
    ensure!(alert["status"]["state"] == "active", "{alert}");
    let description = alert["annotations"]["description"].as_str().unwrap_or_default();
    let incident = scene.agent.incidents()?.into_iter().next().context("no incident")?;
    let traces = scene.check_traces(&incident)?;
    ensure!(traces.iter().any(|id| description.contains(id)), "no trace id in the alert: {description}");
    let explain = alert["annotations"]["explain"].as_str().unwrap_or_default();
    ensure!(explain.contains(incident["id"].as_str().unwrap_or("?")), "the alert does not lead on: {alert}");

    scene.service.fault_off("loop_stall")?;
    process::wait_until("the alert to be resolved", Duration::from_secs(75), || {
        Ok(alertmanager.alerts()?.is_empty().then_some(()))
    })?;
    process::wait_until("the webhook to hear of the end", Duration::from_secs(15), || {
        let told = webhook.received();
        Ok(told.iter().any(|told| told["id"] == incident["id"] && !told["closed_at"].is_null()).then_some(()))
    })?;
    let state = |told: &Value| attribute(&told["record"]["attributes"], "snowshed.incident.state").to_owned();
    let records = process::wait_until("the log record of the end", Duration::from_secs(15), || {
        let told = log_records(&receiver);
        Ok(told.iter().any(|told| state(told) == "closed").then_some(told))
    })?;
    let is_named =
        |told: &&Value| attribute(&told["record"]["attributes"], "snowshed.cause.kind") == "event_loop_stall";
    let record =
        records.iter().find(is_named).with_context(|| format!("no log record names the cause: {records:?}"))?;
    ensure!(record["record"]["eventName"] == "snowshed.incident", "{record}");
    ensure!(attribute(&record["record"]["attributes"], "snowshed.incident.id") == incident["id"], "{record}");
    ensure!(attribute(&record["resource"]["attributes"], "service.name") == incident["target"]["name"], "{record}");
    let of_it = incident["causes"][0]["trace_ids"].as_array().context("no traces")?;
    ensure!(record["trace"].as_str().is_some_and(|trace| trace.len() == 32) && !of_it.is_empty(), "{record}");
    let told = webhook.received();
    let named = told.iter().find(|told| told["verdict"] == "named").context("the webhook got no named incident")?;
    ensure!(named["causes"][0]["kind"] == "event_loop_stall", "{named}");
    Ok(())
}
