//! Targets that give the agent a hard time: it stays within its memory, says what it lost, and is right afterwards.

use anyhow::{Context as _, ensure};
use std::{fs, process::Command, time::Duration};
use xtask::{
    process::{self, Child, Spawn},
    rig::{Agent, AgentPorts, script},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the default budget gives the agent and its kernel maps.
const MEMORY: u64 = 128 << 20;

struct Hostile {
    child: Child,
    folder: tempfile::TempDir,
    step: u32,
}

impl Hostile {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("test's folder")?;
        let program = folder.path().join("hostile");
        let flags = ["-O1", "-g", "-rdynamic", "-pthread", "-o"];
        let built = Command::new("cc").args(flags).arg(&program).arg(script("hostile.c")).status().context("cc")?;
        ensure!(built.success(), "cc ended with {built}");
        let child = Spawn::new("hostile", &program).args([folder.path()]).start(folder.path())?;
        Ok(Self { child, folder, step: 0 })
    }

    /// Waits until it has done something; answers the number that it says.
    fn did(&mut self, what: &str) -> anyhow::Result<u64> {
        let line = self.child.wait_line(&format!("{what} "), PATIENCE)?;
        line.rsplit(' ').next().unwrap_or_default().parse().with_context(|| line.clone())
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        let file = self.folder.path().join(format!("go.{}", self.step));
        self.step += 1;
        fs::write(&file, "").with_context(|| format!("write {}", file.display()))
    }
}

/// The view of the process equals what `/proc` says, soon; and the agent is within its memory.
fn is_right(agent: &Agent, pid: u32) -> anyhow::Result<()> {
    process::wait_until("the view to be right", PATIENCE, || {
        let truth = process::descriptors(pid)?.len();
        Ok(agent.fds(pid).is_ok_and(|record| record["live"] == truth).then_some(()))
    })?;
    let overhead = agent.get("/api/v1/status")?["overhead"].take();
    let held = overhead["agent_rss_bytes"].as_u64().zip(overhead["bpf_bytes"].as_u64());
    ensure!(held.is_some_and(|(own, maps)| own + maps < MEMORY), "too much is held: {overhead}");
    ensure!(overhead["over_memory"] == false, "{overhead}");
    Ok(())
}

/// Only the process itself is left of all that it started.
fn is_alone(agent: &Agent, pid: u32) -> anyhow::Result<()> {
    process::wait_until("the ended processes to be forgotten", PATIENCE, || {
        let status = agent.get("/api/v1/status")?;
        let targets = status["targets"].as_array().context("no targets")?;
        Ok((targets.len() == 1 && targets[0]["pid"] == pid).then_some(()))
    })
}

#[test]
fn whatever_a_target_does_the_agent_is_right_afterwards() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let logs = tempfile::tempdir().context("agent's folder")?;
    let mut hostile = Hostile::start()?;
    let pid = hostile.child.pid();
    let mut agent = Agent::start(logs.path(), AgentPorts::free()?, &["--pid", &pid.to_string()])?;
    hostile.did("ready")?;
    is_right(&agent, pid)?;
    hostile.go_on()?;

    let full = hostile.did("full")?;
    ensure!(full == process::descriptors(pid)?.len() as u64, "not all that it may have: {full}");
    is_right(&agent, pid)?;
    hostile.go_on()?;
    hostile.did("closed")?;
    is_right(&agent, pid)?;
    hostile.go_on()?;

    hostile.did("forked")?;
    process::wait_until("children that do not fit to be counted", PATIENCE, || {
        let lost = agent.metric("snowshed_engine_lost_total", "targets")?;
        Ok((lost > Some(0.0)).then_some(()))
    })?;
    is_right(&agent, pid)?;
    hostile.go_on()?;
    hostile.did("reaped")?;
    is_alone(&agent, pid)?;
    hostile.go_on()?;

    ensure!(hostile.did("short")? == 1500, "not all of them lived");
    is_alone(&agent, pid)?;
    is_right(&agent, pid)?;
    hostile.go_on()?;
    ensure!(hostile.did("executed")? == 0, "a program that is started again and again failed");
    is_alone(&agent, pid)?;
    hostile.go_on()?;

    ensure!(hostile.did("stacks")? == 3600, "an open with a bad stack pointer failed");
    is_right(&agent, pid)?;
    hostile.go_on()?;
    hostile.did("garbage")?;
    is_right(&agent, pid)?;
    let record = agent.fds(pid)?;
    for site in record["sites"].as_array().context("no sites")? {
        ensure!(site["trace_ids"].as_array().is_some_and(Vec::is_empty), "garbage was believed: {site}");
    }
    ensure!(process::is_alive(pid), "the target did not survive being looked at");
    let (ended, _) = agent.child().stop(Duration::from_secs(3))?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}
