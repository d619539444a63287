//! A budget that a busy target exceeds: the probe leaves things out, says so, and the target goes on; once there is room
//! the hooks come back and tell again.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{fs, time::Duration};
use xtask::{
    process::{self, Spawn},
    rig::{Agent, AgentPorts, interpreter},
};

/// Opens and closes as fast as it can, and says now and then that it still does.
const BUSY: &str = "
import os
count = 0
while True:
    os.close(os.open('/dev/null', os.O_RDONLY)); count += 1
    if count % 200000 == 0: print('count', count, flush=True)
";

fn fd_probe(agent: &Agent) -> anyhow::Result<Value> {
    let mut status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array_mut().context("no probes")?;
    probes.iter_mut().find(|probe| probe["name"] == "fd").map(Value::take).context("no fd probe")
}

fn hooks_are_off(probe: &Value) -> bool {
    probe["shed"].as_array().is_some_and(|shed| shed.iter().any(|what| what == "hooks"))
}

#[test]
fn over_the_budget_a_probe_steps_down_and_says_so() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let settings = folder.path().join("snowshed.toml");
    fs::write(&settings, "[overhead]\ntargets_core_share = 0.005\n")?;
    let mut busy = Spawn::new("busy", interpreter()).args(["-c", BUSY]).start(folder.path())?;
    let (pid, settings) = (busy.pid().to_string(), settings.display().to_string());
    let mut agent = Agent::start(folder.path(), AgentPorts::free()?, &["--pid", &pid, "--config", &settings])?;

    let status = process::wait_until("the fd probe to take its hooks off", Duration::from_secs(30), || {
        let status = agent.get("/api/v1/status")?;
        Ok(hooks_are_off(&fd_probe(&agent)?).then_some(status))
    })?;
    for probe in status["probes"].as_array().context("no probes")? {
        if probe["name"] == "fd" {
            ensure!(probe["tier"] == "reduced" && probe["events"].as_u64() > Some(0), "{probe}");
            ensure!(probe["reason"].as_str().is_some_and(|reason| reason.contains("budget")), "{probe}");
            ensure!(probe["ns_for_others"].is_f64() && probe["ns_for_targets"].is_f64(), "{probe}");
        }
    }
    for field in [
        "targets_core_share",
        "targets_core_share_allowed",
        "machine_cores",
        "targets_cores",
        "agent_rss_bytes",
        "bpf_bytes",
        "ns_per_other_call",
    ] {
        ensure!(status["overhead"][field].is_number(), "{field}: {}", status["overhead"]);
    }
    ensure!(agent.metric("snowshed_probe_shed", "what=\"hooks\"")? >= Some(1.0), "the metrics do not say so");
    // It was never in the way: the target still counts.
    busy.wait_line("count ", Duration::from_secs(20))?;
    ensure!(agent.fds(busy.pid())?["live"].as_u64() > Some(0), "nothing serves instead");

    // Whatever the target does while the hooks are off costs nothing, so they are tried again.
    ensure!(process::signal(busy.pid(), libc::SIGSTOP)?, "the target is gone");
    let back = process::wait_until("the hooks to come back", Duration::from_secs(60), || {
        Ok(Some(fd_probe(&agent)?).filter(|probe| !hooks_are_off(probe)))
    })?;
    let before = back["events"].as_u64().context("no events")?;
    ensure!(process::signal(busy.pid(), libc::SIGCONT)?, "the target is gone");
    process::wait_until("the hooks to tell again", Duration::from_secs(20), || {
        Ok((fd_probe(&agent)?["events"].as_u64() > Some(before)).then_some(()))
    })?;
    let (ended, _) = agent.child().stop(Duration::from_secs(3))?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}
