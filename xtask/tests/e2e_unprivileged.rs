//! Without any privilege: less is seen, the agent says what and why, and serves.

use anyhow::{Context as _, ensure};
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};
use xtask::{
    process::{self, Spawn},
    rig::{Agent, AgentPorts, http, script},
};

#[test]
fn nobody_gets_a_reduced_view_that_says_why() -> anyhow::Result<()> {
    process::require_root("this test (to become nobody)")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let shared = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    shared(folder.path())?;
    // The target folder may be closed to others.
    let binary = folder.path().join("snowshed-binary");
    fs::copy(process::binary("snowshed", "snowshed-agent")?, &binary)?;
    shared(&binary)?;
    let server = folder.path().join("server.py");
    fs::copy(script("server.py"), &server)?;
    let nobody = |name: &str| {
        Spawn::new(name, "setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
    };
    let python = ["/usr/bin/python3".into(), server.into_os_string(), "0".into(), "clean".into()];
    let mut target = nobody("target").args(python).start(folder.path())?;
    target.wait_line("listening on ", Duration::from_secs(15))?;

    let pid = target.pid().to_string();
    let mut agent =
        Agent::start_through(nobody("snowshed"), &binary, folder.path(), AgentPorts::free()?, &["--pid", &pid])?;
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        ensure!(http::get(agent.listen, path)?.status == 200, "{path} does not answer");
    }
    let status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array().context("no probes")?;
    ensure!(!probes.is_empty(), "{status}");
    for probe in probes {
        // The host layer has no kernel programs, and what it reads is open to everybody.
        if probe["name"] == "host" {
            ensure!(probe["tier"] == "full", "{probe}");
            continue;
        }
        ensure!(probe["tier"] != "full", "full without privileges: {probe}");
        ensure!(probe["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "no reason: {probe}");
        ensure!(probe["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "no remedy: {probe}");
    }
    process::wait_until("the descriptors by /proc", Duration::from_secs(10), || {
        let truth = process::descriptors(target.pid())?.len();
        Ok(agent.fds(target.pid()).is_ok_and(|record| record["live"] == truth).then_some(()))
    })?;
    let (ended, _) = agent.child().stop(Duration::from_secs(3))?;
    ensure!(ended.code() == Some(0), "{ended}");
    Ok(())
}
