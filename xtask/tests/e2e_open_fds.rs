//! What each descriptor leads to and what connections wait for, as users read it: over HTTP, in the metrics, in `why`.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use xtask::{
    process::{self, Child, Spawn},
    rig::{Agent, AgentPorts, snowshed},
};

const BOUND: Duration = Duration::from_secs(30);

/// Holds a deleted file whose name would forge a line, and a connection that its peer closed.
const PROGRAM: &str = r"
import os, signal, socket, sys
path = os.path.join(sys.argv[1], 'no\nleak')
held = [os.open(path, os.O_CREAT | os.O_RDWR) for _ in range(5)]
os.unlink(path)
listener = socket.socket(); listener.bind(('127.0.0.1', 0)); listener.listen()
client = socket.create_connection(listener.getsockname())
listener.accept()[0].close()
print('held', client.fileno(), listener.getsockname()[1], flush=True)
signal.pause()
";

fn holder(folder: &std::path::Path) -> anyhow::Result<(Child, i64, String)> {
    let mut child = Spawn::new("holder", "/usr/bin/python3")
        .args(["-c".into(), PROGRAM.into(), folder.as_os_str().to_owned()])
        .start(folder)?;
    let line = child.wait_line("held", BOUND)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, client, port] = words[..] else { anyhow::bail!("{line:?}") };
    Ok((child, client.parse()?, format!("127.0.0.1:{port}")))
}

/// Every descriptor, a small page at a time.
fn open(agent: &Agent, pid: u32) -> anyhow::Result<BTreeMap<i64, Value>> {
    let (mut all, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = agent.get(&format!("/api/v1/fds/{pid}?limit=3{cursor}"))?;
        for item in page["items"].as_array().context("items")? {
            all.insert(item["fd"].as_i64().context("a number")?, item.clone());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

#[test]
fn descriptors_and_connections_over_http() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let (child, client, server) = holder(folder.path())?;
    let pid = child.pid();
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &["--pid", &pid.to_string()])?;
    process::wait_until("the target", BOUND, || Ok(agent.fds(pid).ok()))?;
    let all = open(&agent, pid)?;
    let truth: Vec<i64> = process::descriptors(pid)?.iter().map(|one| i64::from(one.number)).collect();
    ensure!(all.keys().copied().collect::<Vec<_>>() == truth, "{:?} and not {truth:?}", all.keys());
    let hidden = format!("{}/no\\u{{a}}leak", folder.path().display());
    let deleted = all.values().filter(|one| one["name"] == hidden.as_str() && one["deleted"] == true);
    ensure!(deleted.count() == 5, "{all:#?}");
    let connection = &all[&client];
    ensure!(connection["peer"] == server.as_str() && connection["state"] == "close_wait", "{connection}");
    process::wait_until("CLOSE_WAIT to last", BOUND, || {
        Ok(agent.metric("snowshed_target_connections", "waits=\"close_wait\"")?.filter(|count| *count == 1.0))
    })?;
    let told = agent.fds(pid)?;
    let troubled = &told["connections"]["troubled"];
    ensure!(troubled[0]["fd"] == client && troubled[0]["close_wait_seconds"].as_f64() >= Some(5.0), "{told}");
    ensure!(troubled.as_array().is_some_and(|all| all.len() == 1), "{told}");
    Ok(())
}

#[test]
fn descriptors_and_connections_in_why() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let (child, client, server) = holder(folder.path())?;
    let told = snowshed(&["why", &child.pid().to_string(), "--for", "7s"], BOUND)?;
    ensure!(told.code == Some(1), "a troubled connection is a finding: {told:?}");
    for part in [format!("fd {client} 127.0.0.1:"), format!("<-> {server}: the peer closed it"), "CLOSE_WAIT".into()] {
        ensure!(told.output.contains(&part), "{part} is missing in:\n{}", told.output);
    }
    let hidden = told.output.lines().find(|line| line.contains("no\\u{a}leak")).context("no example of a file")?;
    ensure!(hidden.ends_with(" (deleted)"), "{hidden}");
    Ok(())
}
