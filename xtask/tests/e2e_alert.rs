//! Receivers of alerts: a real Alertmanager and a webhook get the incident with its cause, and its end.

use anyhow::{Context as _, ensure};
use std::time::Duration;
use xtask::{
    process,
    rig::{Alertmanager, Scene, Webhook},
};

#[test]
fn an_alert_carries_its_cause_and_is_resolved() -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("test's folder")?;
    let alertmanager = Alertmanager::start(folder.path(), None)?;
    let webhook = Webhook::start()?;
    let arguments = ["--alertmanager", &alertmanager.url(), "--webhook", &webhook.url()];
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
    let told = webhook.received();
    let named = told.iter().find(|told| told["verdict"] == "named").context("the webhook got no named incident")?;
    ensure!(named["causes"][0]["kind"] == "event_loop_stall", "{named}");
    Ok(())
}
