//! Services in Python, Node and Go that export spans by OpenTelemetry's SDK: what they leak carries the trace of the
//! request that made it, by the connection that both speak of, and never another one as the only one.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, thread, time::Duration};
use xtask::{
    process,
    rig::{Agent, AgentPorts, Language, Service, Steady},
};

/// Requests of each fault.
const OBJECTS: usize = 20;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(400);
/// The faults.
const FAULTS: [&str; 4] = ["file", "temp", "pipe", "body"];
/// Traces that a kind's places have to name at least, with certainty.
const ENOUGH: usize = 5;

/// What leaks descriptors of this kind.
fn faults(kind: &str) -> &'static [&'static str] {
    match kind {
        "file" => &["file", "temp"],
        // A child of Node's talks over pairs of sockets.
        "pipe" | "unix" => &["pipe"],
        "tcp" => &["body"],
        _ => &[],
    }
}

/// The traces that are named as the only ones, by kind; every one of them must have asked for that fault.
fn certain(record: &Value, sent: &BTreeMap<String, &'static str>) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for site in record["sites"].as_array().into_iter().flatten().filter(|site| site["ambiguity"] == 1) {
        let kind = site["kind"].as_str().unwrap_or_default();
        for trace in site["trace_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let fault = sent.get(trace).with_context(|| format!("trace {trace} was never sent: {site:#}"))?;
            ensure!(faults(kind).contains(fault), "trace {trace} asked for {fault}, which leaks no {kind}: {site:#}");
            *named.entry(kind.to_owned()).or_default() += 1;
        }
    }
    Ok(named)
}

/// Asks for each fault side by side; half of the clients keep their connections, as proxies do. They take turns within the
/// pause: of requests that one event loop is asked in the same moment nobody could say whose a file is.
fn leak(row: usize, language: Language, service: &Service) -> Vec<thread::JoinHandle<anyhow::Result<Steady>>> {
    let address = service.address();
    let ask = |(column, fault): (usize, &'static str)| {
        let keeps = (row + column).is_multiple_of(2);
        thread::spawn(move || -> anyhow::Result<Steady> {
            let mut client = Steady::new(address);
            thread::sleep(PAUSE / 4 * u32::try_from(column)?);
            for n in 0..OBJECTS {
                let status = client.ask_within(&trace(row, column, n), &format!("/leak/{fault}"))?;
                ensure!(status == 200, "{}: /leak/{fault}: {status}", language.name());
                if !keeps {
                    client.part();
                }
                thread::sleep(PAUSE);
            }
            Ok(client)
        })
    };
    FAULTS.into_iter().enumerate().map(ask).collect()
}

fn trace(row: usize, column: usize, n: usize) -> String {
    format!("{:032x}", ((0xface_0000 + row * 0x100 + column) << 16) + n + 1)
}

#[test]
fn what_leaks_carries_the_trace_of_the_request_that_made_it() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let ports = AgentPorts::free()?;
    let upstream = Service::start(folder.path(), Language::PythonThreads, 0, folder.path())?;
    let port = upstream.address().port();
    let mut services = Vec::new();
    for language in Language::ALL {
        let own = folder.path().join(language.name());
        std::fs::create_dir(&own)?;
        services.push((language, Service::start_traced(&own, language, port, folder.path(), &ports.otlp_http_url())?));
    }
    let pids: Vec<String> = services.iter().map(|(_, service)| service.pid().to_string()).collect();
    let arguments: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid.as_str()]).collect();
    let agent = Agent::start(folder.path(), ports, &arguments)?;
    for (_, service) in &services {
        process::wait_until("the target", Duration::from_secs(20), || Ok(agent.fds(service.pid()).ok()))?;
    }
    let clients: Vec<_> =
        services.iter().enumerate().flat_map(|(row, (language, service))| leak(row, *language, service)).collect();
    let mut kept = Vec::new();
    for client in clients {
        kept.push(client.join().ok().context("a client panicked")??);
    }
    for (row, (language, service)) in services.iter().enumerate() {
        let sent: BTreeMap<String, &'static str> = FAULTS
            .into_iter()
            .enumerate()
            .flat_map(|(column, fault)| (0..OBJECTS).map(move |n| (trace(row, column, n), fault)))
            .collect();
        let pairs = if *language == Language::Node { "unix" } else { "pipe" };
        let (mut last, mut named) = (Value::Null, BTreeMap::new());
        let seen = process::wait_until("all leaks to be named with their traces", Duration::from_secs(30), || {
            last = agent.fds(service.pid())?;
            named = certain(&last, &sent)?;
            Ok(["file", pairs, "tcp"].iter().all(|kind| named.get(*kind) >= Some(&ENOUGH)).then_some(()))
        });
        println!("{}: named with certainty {named:?}", language.name());
        seen.with_context(|| format!("{}: {last:#}", language.name()))?;
        let named = agent.wait_incident("the incident with its traces", Duration::from_secs(20), |incident| {
            let cause = &incident["causes"][0];
            incident["target"]["pid"] == service.pid()
                && incident["verdict"] == "named"
                && cause["trace_ids"] != serde_json::json!([])
        })?;
        for cause in named["causes"].as_array().into_iter().flatten() {
            ensure!(cause["kind"] == "fd_leak" && cause["evidence"][0]["join"] == "socket", "{named:#}");
            let foreign = |trace: &&Value| trace.as_str().is_none_or(|trace| !sent.contains_key(trace));
            let foreign = cause["trace_ids"].as_array().into_iter().flatten().find(foreign);
            ensure!(foreign.is_none(), "{foreign:?}: {named:#}");
        }
    }
    Ok(())
}
