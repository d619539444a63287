//! Inside a pid namespace, as in a pod: pids are the inner ones, and the leak is named all the same.

use anyhow::{Context as _, ensure};
use std::{fs, time::Duration};
use xtask::{
    process::{self, Spawn, loopback},
    rig::{Traffic, http, interpreter, script},
};

/// Server, agent and `why` under one roof; $1 python, $2 server, $3 snowshed, $4 port, $5 the agent's port.
const INSIDE: &str = r#"
"$1" "$2" 0 leak > server.txt & server=$!
until grep -q listening server.txt; do sleep 0.05; done
"$3" run --pid $server --listen 127.0.0.1:$4 --otlp-grpc 127.0.0.1:0 --otlp-http 127.0.0.1:0 > run.txt 2>&1 & agent=$!
echo "inner $server"
"$3" why $server --for 20s --json > why.json
echo "why ended with $?"
kill $agent; wait $agent; echo "agent ended with $?"
kill $server
"#;

#[test]
fn pids_are_those_inside() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let [port] = process::free_ports()?;
    let binary = process::binary("snowshed", "snowshed-agent")?.display().to_string();
    let (server, port_text) = (script("server.py").display().to_string(), port.to_string());
    let inside = format!("cd {}\n{INSIDE}", folder.path().display());
    let arguments = ["-pf", "--kill-child", "--mount-proc", "sh", "-c", &inside, "sh", interpreter(), &server, &binary];
    let mut namespace = Spawn::new("namespace", "unshare").args(arguments).args([port_text]).start(folder.path())?;
    let line = namespace.wait_line("inner ", Duration::from_secs(20))?;
    let inner: u32 = line.trim_start_matches("inner ").parse().context("inner pid")?;
    let said = fs::read_to_string(folder.path().join("server.txt")).context("server's output")?;
    let target: u16 = said.trim().rsplit(' ').next().unwrap_or_default().parse().context("server's port")?;
    let traffic = Traffic::start(loopback(target), "/", Duration::from_millis(150))?;

    let fds = process::wait_until("the agent inside to see its target", Duration::from_secs(15), || {
        let Ok(reply) = http::get(loopback(port), "/api/v1/fds") else { return Ok(None) };
        let items = reply.json()?["items"].take();
        Ok(items.as_array().and_then(|items| items.first().cloned()))
    })?;
    ensure!(fds["pid"] == inner, "the agent calls its target {}, inside it is {inner}", fds["pid"]);

    let line = namespace.wait_line("why ended with ", Duration::from_secs(40))?;
    let why = fs::read_to_string(folder.path().join("why.json")).context("why's answer")?;
    ensure!(line == "why ended with 1", "{line}: {why}");
    let answer: serde_json::Value = serde_json::from_str(&why).with_context(|| why.clone())?;
    ensure!(answer["pid"] == inner, "{}", answer["pid"]);
    ensure!(why.contains("fd_leak"), "{why}");
    ensure!(traffic.answered() > 20, "too little load: {} answers", traffic.answered());
    let line = namespace.wait_line("agent ended with ", Duration::from_secs(10))?;
    ensure!(line == "agent ended with 0", "{line}");
    Ok(())
}
