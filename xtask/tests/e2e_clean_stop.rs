//! The end of an agent, asked for or not: nothing stays in the kernel, and the service is open again.

use anyhow::{Context as _, ensure};
use std::{collections::BTreeSet, time::Duration};
use xtask::{
    load::wall_clock,
    process,
    rig::{Agent, AgentPorts, PythonServer, Scene},
};

/// The lease of the guard protocol, and a report's time.
const LEASE_SECONDS: f64 = 2.5;

fn wait_gone(held: &BTreeSet<u32>) -> anyhow::Result<()> {
    // The kernel frees programs a moment after their last user.
    process::wait_until("the agent's BPF programs to go", Duration::from_secs(3), || {
        Ok(held.is_disjoint(&process::programs_loaded()?).then_some(()))
    })
}

#[test]
fn sigterm_ends_it_cleanly_within_three_seconds() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let server = PythonServer::start(folder.path(), false)?;
    let before = process::settings();
    let pid = server.pid().to_string();
    let mut agent = Agent::start(folder.path(), AgentPorts::free()?, &["--pid", &pid])?;
    agent.fds(server.pid()).or_else(|_| {
        process::wait_until("the target to be listed", Duration::from_secs(5), || Ok(agent.fds(server.pid()).ok()))
    })?;
    let held = process::programs_held_by(agent.pid())?;
    ensure!(!held.is_empty(), "the agent runs without BPF here: {}", agent.get("/api/v1/status")?["probes"]);
    let (status, took) = agent.child().stop(Duration::from_secs(10))?;
    ensure!(status.code() == Some(0) && took <= Duration::from_secs(3), "{status} after {took:?}");
    wait_gone(&held)?;
    ensure!(process::settings() == before, "a setting of the machine has changed");
    Ok(())
}

#[test]
fn a_killed_agent_leaves_no_program_and_no_limit() -> anyhow::Result<()> {
    let fault = "loop_stall";
    let mut scene = Scene::start(&["--enforce", "guard"], |plan| xtask::load::Plan { rate: Some(3.0), ..plan })?;
    scene.wait_requests(0, 6)?;
    scene.service.fault_on(fault, "1200")?;
    let log = scene.log();
    process::wait_until("a request to be refused", Duration::from_secs(60), || {
        Ok(log.ended_since(0).iter().any(|record| record.status == Some(429)).then_some(()))
    })?;
    let held = process::programs_held_by(scene.agent.pid())?;
    scene.agent.child().kill()?;
    let open_from = wall_clock() + LEASE_SECONDS;
    scene.service.fault_off(fault)?;
    wait_gone(&held)?;
    let later = process::wait_until("requests after the lease", Duration::from_secs(30), || {
        let records = log.ended_since(0);
        let later: Vec<_> = records.into_iter().filter(|record| record.started > open_from).collect();
        Ok((later.len() >= 6).then_some(later))
    })?;
    let refused: Vec<_> = later.iter().filter(|record| record.status == Some(429)).collect();
    ensure!(refused.is_empty(), "the limit outlived the agent: {refused:?}");
    Ok(())
}
