//! Incidents outlive the agent: a `kill -9` while one is open, a full disk, a damaged file.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use xtask::{
    process,
    rig::{Agent, AgentPorts, PythonServer, Traffic, snowshed},
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A service that leaks a file with each request, under load, and a state directory.
struct Stage {
    server: PythonServer,
    _traffic: Traffic,
    folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> anyhow::Result<Self> {
        process::require_root("this test")?;
        let folder = tempfile::tempdir().context("test's folder")?;
        let server = PythonServer::start(folder.path(), true)?;
        let traffic = Traffic::start(server.address(), "/", Duration::from_millis(50))?;
        Ok(Self { server, _traffic: traffic, folder })
    }

    fn agent(&self, state: &Path) -> anyhow::Result<Agent> {
        let (pid, state) = (self.server.pid().to_string(), state.display().to_string());
        Agent::start(self.folder.path(), AgentPorts::free()?, &["--pid", &pid, "--state-dir", &state])
    }
}

fn wait_store(agent: &Agent, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> anyhow::Result<Value> {
    let mut last = Value::Null;
    let waited = process::wait_until(what, PATIENCE, || {
        last = agent.get("/api/v1/status")?["store"].clone();
        Ok(wanted(&last).then(|| last.clone()))
    });
    waited.with_context(|| format!("store: {last}"))
}

#[test]
fn an_incident_survives_a_kill_9_and_its_end_is_called_unknown() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let state = stage.folder.path().join("state");
    let mut agent = stage.agent(&state)?;
    let incident = agent.wait_named(PATIENCE)?;
    let id = incident["id"].as_str().context("an incident without an id")?.to_owned();
    ensure!(incident["closed_at"].is_null() && incident["end"].is_null(), "{incident}");
    wait_store(&agent, "the incident on disk", |store| store["records"] == 1)?;
    agent.child().kill()?;

    let agent = stage.agent(&state)?;
    let store = wait_store(&agent, "the store to open", |store| store["state"] == "disk")?;
    ensure!(store["interrupted"] == 1, "{store}");
    let found = agent.get(&format!("/api/v1/incidents/{id}"))?;
    ensure!(found["end"] == "unknown" && found["closed_at"] == found["updated_at"], "{found}");
    ensure!(found["opened_at"] == incident["opened_at"], "{found}");
    ensure!(agent.incidents()?.iter().any(|listed| listed["id"] == id.as_str()), "it is not on the list");
    let url = format!("http://{}", agent.listen);
    let told = snowshed(&["explain", &id, "--agent", &url], PATIENCE)?;
    ensure!(told.code == Some(0) && told.output.contains("open when the agent ended"), "{told:?}");

    // The service still leaks: a new incident opens beside the old one, and the list has both, newest first.
    let other = agent.wait_incident("a new incident", PATIENCE, |one| one["id"] != id.as_str())?;
    let listed: Vec<Value> = agent.incidents()?.into_iter().map(|one| one["id"].clone()).collect();
    ensure!(listed == [other["id"].clone(), Value::from(id)], "{listed:?}");
    Ok(())
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_agent_goes_on() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let state = stage.folder.path().join("state");
    std::fs::create_dir(&state)?;
    std::fs::write(state.join("incidents.redb"), vec![0x5a; 40_000])?;
    let agent = stage.agent(&state)?;
    let store = wait_store(&agent, "the store to open", |store| store["state"] == "disk")?;
    let aside = store["set_aside"].as_str().context("nothing was set aside")?;
    ensure!(std::fs::read(aside)? == vec![0x5a; 40_000], "{aside} is not what it was");
    agent.wait_named(PATIENCE)?;
    wait_store(&agent, "the incident on disk", |store| store["records"] == 1)?;
    Ok(())
}

/// A small file system of its own, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    fn new(place: PathBuf, options: &str) -> anyhow::Result<Self> {
        std::fs::create_dir(&place)?;
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&place).status()?;
        ensure!(done.success(), "mount ended with {done}");
        Ok(Self(place))
    }

    /// Takes all the room that is left; tells the file that holds it.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path)?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(path)
    }

    fn again(&self, options: &str) -> anyhow::Result<()> {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status()?;
        ensure!(done.success(), "remount ended with {done}");
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: what still has it open must not keep the test's folder.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_or_read_only_disk_does_no_harm_and_is_written_again_later() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let mount = Mount::new(stage.folder.path().join("state"), "size=4m")?;
    let filler = mount.fill()?;
    let agent = stage.agent(&mount.0)?;
    let incident = agent.wait_named(PATIENCE)?;
    let told = wait_store(&agent, "the full disk to be told", |store| store["state"] == "memory")?;
    ensure!(told["reason"].as_str().is_some_and(|reason| reason.contains("space")), "{told}");
    ensure!(agent.metric("snowshed_store_on_disk", "")? == Some(0.0), "the metric says otherwise");
    std::fs::remove_file(filler)?;
    wait_store(&agent, "the disk to be used again", |store| store["state"] == "disk" && store["records"] == 1)?;
    ensure!(agent.metric("snowshed_store_on_disk", "")? == Some(1.0), "the metric says otherwise");
    drop(agent);

    mount.again("ro")?;
    let agent = stage.agent(&mount.0)?;
    let told = wait_store(&agent, "the read-only disk to be told", |store| store["state"] == "memory")?;
    ensure!(told["reason"].as_str().is_some_and(|reason| reason.contains("Read-only")), "{told}");
    agent.wait_incident("an incident all the same", PATIENCE, |one| one["id"] != incident["id"])?;
    Ok(())
}
