//! A blocking call on the real transcoder's event loop: named with its thread, its line and its requests, and over.

use anyhow::{Context as _, ensure};
use std::time::Duration;
use xtask::{process, rig::Scene};

const FAULT: &str = "loop_stall";

#[test]
fn the_stall_is_named_with_its_thread_its_line_and_its_requests() -> anyhow::Result<()> {
    let scene = Scene::start(&[], |plan| plan)?;
    let (agent, service) = (&scene.agent, &scene.service);
    scene.wait_requests(0, 6)?;
    ensure!(agent.incidents()?.is_empty(), "an incident before the fault: {:?}", agent.incidents()?);

    service.fault_on(FAULT, "400")?;
    let incident = agent.wait_named(Duration::from_secs(40))?;
    let cause = &incident["causes"][0];
    ensure!(cause["kind"] == "event_loop_stall", "{incident}");
    ensure!(incident["target"]["pid"] == service.pid(), "{incident}");
    let tid = cause["thread"]["tid"].as_u64().and_then(|tid| u32::try_from(tid).ok()).context("no thread is named")?;
    ensure!(process::threads(service.pid()).contains(&tid), "thread {tid} is not one of the service's: {cause}");
    let frames = cause["site"]["frames"].to_string();
    ensure!(frames.contains(FAULT), "the blocking line is not in the fault's code: {frames}");
    scene.check_traces(&incident)?;

    service.fault_off(FAULT)?;
    let id = incident["id"].clone();
    let is_closed = |incident: &serde_json::Value| incident["id"] == id && !incident["closed_at"].is_null();
    agent.wait_incident("the incident to close", Duration::from_secs(75), is_closed)?;
    Ok(())
}
