//! What is on a process's stack stays there: stacks are copied to be unwound, and reach no file, answer, alert or log.

use anyhow::{Context as _, ensure};
use std::{fs, os::unix::fs::FileExt as _, path::Path, process::Command, time::Duration};
use xtask::{
    process::{self, Spawn, loopback},
    rig::{Agent, AgentPorts, Traffic, Webhook, http, script},
};

/// Not whole in this program, so that a copy of the program is no find.
const SECRET: [&str; 2] = ["kept-on-the-stack-", "5f2c1be07a"];
const ANSWERS: [&str; 9] = [
    "/",
    "/metrics",
    "/api/v1/openapi.json",
    "/api/v1/status",
    "/api/v1/incidents",
    "/api/v1/fds",
    "/api/v1/slo",
    "/api/v1/breaker",
    "/healthz",
];

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Every file below a folder, with what it holds.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    Ok(())
}

#[test]
fn a_secret_beside_what_is_read_reaches_nobody() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let secret = SECRET.concat();
    let (folder, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let program = elsewhere.path().join("secret");
    // Without frame pointers, so that stacks must be copied to be unwound.
    let flags = ["-O1", "-g", "-fomit-frame-pointer", "-o"];
    let built = Command::new("cc").args(flags).arg(&program).arg(script("secret.c")).status().context("cc")?;
    ensure!(built.success(), "cc ended with {built}");
    let mut service = Spawn::new("service", &program).args([&secret]).start(elsewhere.path())?;
    let port = service.wait_line("listening on ", Duration::from_secs(10))?;
    let port: u16 = port.rsplit(' ').next().unwrap_or_default().parse().context("port")?;
    let place: u64 = service.output().lines().nth(1).unwrap_or_default().parse().context("where the secret is")?;

    // The search finds what it looks for, and the secret is where stacks are copied from.
    let mut stack = vec![0; 4096];
    let memory = fs::File::open(format!("/proc/{}/mem", service.pid())).context("the service's memory")?;
    memory.read_exact_at(&mut stack, place).context("the service's stack")?;
    ensure!(holds(&stack, &secret), "the secret is not on the stack");

    let webhook = Webhook::start()?;
    let (pid, url) = (service.pid().to_string(), webhook.url());
    let state = folder.path().join("state").display().to_string();
    let record = folder.path().join("recorded").display().to_string();
    let mut agent = Agent::start(
        folder.path(),
        AgentPorts::free()?,
        &["--pid", &pid, "--state-dir", &state, "--record", &record, "--webhook", &url],
    )?;
    let clients: Vec<_> =
        (0..3).map(|_| Traffic::start(loopback(port), "/", Duration::from_millis(20))).collect::<Result<_, _>>()?;
    let named = |kind: &'static str| {
        move |incident: &serde_json::Value| {
            let causes = incident["causes"].as_array();
            causes.is_some_and(|causes| {
                causes.iter().any(|cause| {
                    cause["kind"] == kind && cause["site"]["frames"].as_array().is_some_and(|frames| !frames.is_empty())
                })
            })
        }
    };
    let patience = Duration::from_secs(60);
    let leak = agent.wait_incident("the leak with its place", patience, named("fd_leak"))?;
    ensure!(leak.to_string().contains("secret.c"), "no stack was unwound: {leak}");
    agent.wait_incident("the stall with its place", patience, named("event_loop_stall"))?;
    drop(clients);

    let mut told = Vec::new();
    for path in ANSWERS {
        let reply = http::get(agent.listen, path)?;
        ensure!(reply.status == 200, "{path}: {}", reply.status);
        told.push((path.to_owned(), reply.body.to_vec()));
    }
    for incident in agent.incidents()? {
        let id = incident["id"].as_str().context("an incident without an id")?.to_owned();
        told.push((id.clone(), http::get(agent.listen, &format!("/api/v1/incidents/{id}"))?.body.to_vec()));
    }
    let alerts = webhook.received();
    ensure!(!alerts.is_empty(), "no alert was sent");
    told.extend(alerts.iter().map(|alert| ("an alert".to_owned(), alert.to_string().into_bytes())));
    let (ended, _) = agent.child().stop(Duration::from_secs(3))?;
    ensure!(ended.code() == Some(0), "{ended}");
    files(folder.path(), &mut told)?;
    ensure!(told.iter().any(|(name, bytes)| name.ends_with("recorded") && !bytes.is_empty()), "nothing was recorded");
    for (name, bytes) in &told {
        ensure!(!holds(bytes, &secret), "the secret is in {name}");
        // A part of it is a leak, too; the service's own name is none.
        ensure!(!holds(bytes, SECRET[0]) && !holds(bytes, SECRET[1]), "part of the secret is in {name}");
    }
    Ok(())
}
