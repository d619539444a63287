//! Nothing wrong, nothing said: a healthy service under a load with impatient and slow clients.

use anyhow::ensure;
use std::time::Duration;
use xtask::{process, rig::Scene};

#[test]
fn a_healthy_load_opens_no_incident() -> anyhow::Result<()> {
    let scene = Scene::start(&[], |plan| xtask::load::Plan { aborting: 0.1, slow: 0.1, ..plan })?;
    process::pause(Duration::from_secs(30))?;
    let records = scene.log().ended_since(0);
    ensure!(records.len() >= 30, "too little load to say anything: {} requests", records.len());
    ensure!(records.iter().any(|record| record.aborted), "no client went away");
    let failed: Vec<_> = records.iter().filter(|record| !record.aborted && !record.is_good()).collect();
    ensure!(failed.is_empty(), "requests failed without a fault: {failed:?}");
    ensure!(scene.agent.incidents()?.is_empty(), "false alarm: {:?}", scene.agent.incidents()?);
    ensure!(scene.agent.fds(scene.service.pid())?["orphaned"] == 0, "called orphaned in a healthy service");
    Ok(())
}
