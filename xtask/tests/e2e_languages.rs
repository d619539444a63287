//! Services in Python, Node and Go: what they leak is named, and what only looks like a leak is not.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{thread, time::Duration};
use xtask::{
    bench, process,
    rig::{Agent, AgentPorts, Language, Service, Steady, snowshed},
};

/// Objects that each fault may leak until it has to be seen.
const OBJECTS: usize = 20;
/// So many are a leak.
const ENOUGH: u64 = 5;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(400);
/// The faults, and what each leaks; a child of Node's talks over pairs of sockets.
const FAULTS: [&str; 4] = ["file", "temp", "pipe", "body"];

fn orphaned<'a>(record: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let sites = record["sites"].as_array().into_iter().flatten();
    sites.filter(move |site| site["kind"] == kind && site["orphaned"].as_u64() > Some(0))
}

fn count(record: &Value, kind: &str) -> u64 {
    orphaned(record, kind).filter_map(|site| site["orphaned"].as_u64()).sum()
}

/// As many of each as are a leak. The last ones are not proved to be orphans: nothing was made again after them.
fn is_seen(record: &Value, language: Language) -> bool {
    let pairs = if language == Language::Node { "unix" } else { "pipe" };
    // Files and temporary files are both files, and the latter are proved to the last.
    count(record, "file") >= OBJECTS as u64 / 2 + ENOUGH
        && count(record, pairs) >= ENOUGH
        && count(record, "tcp") >= ENOUGH
}

/// A frame that a developer of the service knows.
fn own_line(language: Language) -> &'static str {
    match language {
        Language::PythonThreads | Language::PythonLoop => "service.py:",
        Language::Node => "service.js:",
        Language::Go => "service.go:",
    }
}

#[test]
fn each_leak_is_named_after_a_handful() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let upstream = Service::start(folder.path(), Language::PythonThreads, 0, folder.path())?;
    let port = upstream.address().port();
    let mut services = Vec::new();
    for language in Language::ALL {
        let own = folder.path().join(language.name());
        std::fs::create_dir(&own)?;
        services.push((language, Service::start(&own, language, port, folder.path())?));
    }
    let pids: Vec<String> = services.iter().map(|(_, service)| service.pid().to_string()).collect();
    let arguments: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid.as_str()]).collect();
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &arguments)?;
    for (_, service) in &services {
        process::wait_until("the target", Duration::from_secs(20), || Ok(agent.fds(service.pid()).ok()))?;
    }
    // The same, for people; it looks by itself.
    let go = pids.last().cloned().context("services")?;
    let why = thread::spawn(move || snowshed(&["why", &go, "--for", "30s"], Duration::from_secs(60)));

    let mut clients = Vec::new();
    for (row, (language, service)) in services.iter().enumerate() {
        for (column, fault) in FAULTS.iter().enumerate() {
            let (language, address) = (*language, service.address());
            // Proxies keep their connections, others do not.
            let keeps = (row + column) % 2 == 0;
            clients.push(thread::spawn(move || -> anyhow::Result<Steady> {
                let mut client = Steady::new(address);
                for _ in 0..OBJECTS {
                    let status = client.ask(&format!("/leak/{fault}"))?;
                    ensure!(status == 200, "{}: /leak/{fault}: {status}", language.name());
                    if !keeps {
                        client.part();
                    }
                    thread::sleep(PAUSE);
                }
                Ok(client)
            }));
        }
    }
    let mut kept = Vec::new();
    for client in clients {
        kept.push(client.join().ok().context("a client panicked")??);
    }
    for (language, service) in &services {
        let mut last = Value::Null;
        let seen = process::wait_until("all leaks to be seen", Duration::from_secs(20), || {
            last = agent.fds(service.pid())?;
            Ok(is_seen(&last, *language).then_some(()))
        });
        seen.with_context(|| format!("{}: {last:#}", language.name()))?;
        let lines = orphaned(&last, "file").any(|site| site["frames"].to_string().contains(own_line(*language)));
        ensure!(lines, "{}: no line of its own: {last:#}", language.name());
        let named = agent.wait_incident("the incident", Duration::from_secs(20), |incident| {
            incident["target"]["pid"] == service.pid() && incident["verdict"] == "named"
        })?;
        let cause = &named["causes"][0];
        ensure!(cause["kind"] == "fd_leak", "{named:#}");
        ensure!(cause["evidence"][0]["join"] == "socket", "no owner: {named:#}");
    }
    let told = why.join().ok().context("why panicked")??;
    ensure!(told.code == Some(1), "{told:?}");
    let mut lines = told.output.lines().skip_while(|line| !line.contains("made at:"));
    ensure!(lines.nth(1).is_some_and(|line| line.trim().starts_with("main.")), "{}", told.output);
    Ok(())
}

/// The short form of `cargo xtask bench quiet`.
#[test]
fn pools_caches_and_workers_raise_nothing() -> anyhow::Result<()> {
    let seen = bench::quiet(Duration::from_secs(15))?;
    ensure!(seen.incidents.is_empty(), "{:#}", Value::from(seen.incidents));
    Ok(())
}
