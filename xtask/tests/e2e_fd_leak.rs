//! A leak of temporary files in the real transcoder, under a real load: named, counted, traced, forecast, and over.

use anyhow::{Context as _, ensure};
use std::time::Duration;
use xtask::{process, rig::Scene};

const FAULT: &str = "tempfile_fd_leak";
/// A share of requests so small that none is infected any more, while what has leaked stays.
const HELD_STILL: &str = "1e-9";

#[test]
fn the_leak_is_named_with_its_line_its_requests_and_its_number() -> anyhow::Result<()> {
    let scene = Scene::start(&[], |plan| plan)?;
    let (agent, service) = (&scene.agent, &scene.service);
    scene.wait_requests(0, 6)?;
    ensure!(agent.incidents()?.is_empty(), "an incident before the fault: {:?}", agent.incidents()?);

    service.fault_on(FAULT, "1")?;
    let incident = agent.wait_named(Duration::from_secs(40))?;
    let cause = &incident["causes"][0];
    ensure!(cause["kind"] == "fd_leak", "{incident}");
    ensure!(incident["target"]["pid"] == service.pid(), "{incident}");
    let frames = cause["site"]["frames"].to_string();
    ensure!(frames.contains(FAULT), "the open line is not in the fault's code: {frames}");
    for id in scene.check_traces(&incident)? {
        ensure!(scene.log().over_at(&id).is_some(), "trace {id} is blamed while its request runs");
    }
    let has_forecast = |incident: &serde_json::Value| incident["causes"][0]["forecast"]["resource"] == "fds";
    let incident = agent.wait_incident("a forecast", Duration::from_secs(30), has_forecast)?;
    let forecast = &incident["causes"][0]["forecast"];
    ensure!(forecast["limit"] == 1024, "{forecast}");
    let (soon, late) = (forecast["eta_seconds"][0].as_f64(), forecast["eta_seconds"][1].as_f64());
    ensure!(soon.zip(late).is_some_and(|(soon, late)| 0.0 < soon && soon <= late), "{forecast}");

    // Held still: no request leaks any more, nothing is given back, and the numbers must agree to the last file.
    service.fault_on(FAULT, HELD_STILL)?;
    let mut last = None;
    let agreed = process::wait_until("claim and truth to agree", Duration::from_secs(20), || {
        let before = service.deleted_files()?.len();
        let record = agent.fds(service.pid())?;
        let after = service.deleted_files()?.len();
        last = Some((before, after, record["orphaned"].clone()));
        Ok((before == after && record["orphaned"] == after).then_some(record))
    });
    let record = agreed.with_context(|| format!("deleted before, deleted after, called orphaned: {last:?}"))?;
    let sites = record["sites"].as_array().context("no sites")?;
    let worst = sites.iter().max_by_key(|site| site["orphaned"].as_u64()).context("no sites")?;
    ensure!(worst["kind"] == "file", "{worst}");
    ensure!(worst["orphaned"].as_u64() >= Some(20), "too little leaked to say anything: {worst}");
    let sum: u64 = sites.iter().filter_map(|site| site["live"].as_u64()).sum();
    ensure!(record["live"] == sum, "each descriptor is in exactly one site: {} and {sum}", record["live"]);

    service.fault_off(FAULT)?;
    let id = incident["id"].clone();
    let is_closed = |incident: &serde_json::Value| incident["id"] == id && !incident["closed_at"].is_null();
    let closed = agent.wait_incident("the incident to close", Duration::from_secs(75), is_closed)?;
    ensure!(!closed["times"]["recovered"].is_null(), "{closed}");
    ensure!(agent.fds(service.pid())?["orphaned"] == 0, "orphans are left after the fault");
    Ok(())
}
