//! `snowshed why` on a service that knows nothing of it: Python's own HTTP server, with and without a leak.

use anyhow::{Context as _, ensure};
use std::time::Duration;
use xtask::{
    process,
    rig::{PythonServer, Traffic, snowshed},
};

#[test]
fn a_leak_is_named_without_config_or_spans() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let server = PythonServer::start(folder.path(), true)?;
    let traffic = Traffic::start(server.address(), "/", Duration::from_millis(150))?;
    let pid = server.pid().to_string();
    let told = snowshed(&["why", &pid, "--for", "20s", "--json"], Duration::from_secs(40))?;
    ensure!(told.code == Some(1), "{told:?}");
    ensure!(traffic.answered() > 20, "too little load: {} answers", traffic.answered());
    let answer: serde_json::Value = serde_json::from_str(&told.output).with_context(|| format!("{told:?}"))?;
    let text = answer.to_string();
    ensure!(text.contains("fd_leak"), "the leak is not named: {text}");
    let sites = answer["processes"][0]["fds"]["sites"].as_array().context("no sites")?;
    let worst = sites.iter().max_by_key(|site| site["orphaned"].as_u64()).context("no sites")?;
    ensure!(worst["kind"] == "file" && worst["orphaned"].as_u64() >= Some(5), "{worst}");

    // The same, for people.
    let told = snowshed(&["why", &pid, "--for", "15s"], Duration::from_secs(40))?;
    ensure!(told.code == Some(1) && told.output.contains("file"), "{told:?}");
    Ok(())
}

#[test]
fn the_same_server_without_the_leak_is_found_healthy() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let server = PythonServer::start(folder.path(), false)?;
    let traffic = Traffic::start(server.address(), "/", Duration::from_millis(150))?;
    let told = snowshed(&["why", &server.pid().to_string(), "--for", "12s"], Duration::from_secs(30))?;
    ensure!(told.code == Some(0), "{told:?}");
    ensure!(traffic.answered() > 20, "too little load: {} answers", traffic.answered());
    Ok(())
}
