//! Memory and tasks that grow in real transcoders under a real load: each of four faults is named for what it is,
//! the large ones with their line; before, nothing is said.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::{
    load::{Load, Plan},
    process,
    rig::{Agent, AgentPorts, Transcoder, TranscoderOptions},
};

/// Fault, kind, a function of its code where the place must be named, the share of clients that go away before
/// the end, and how many come in a second. Tasks of one MiB are too small beside what the codecs bring for their place to be
/// sure. They come as they like: where only memory tells of the leak, so many that a pause of theirs does not look like its end.
const FAULTS: [(&str, &str, Option<&str>, f64, f64); 4] = [
    ("buffer_leak", "memory_growth", Some("open_replay_window"), 0.8, 2.5),
    ("task_leak", "task_leak", None, 0.0, 1.0),
    ("timer_leak", "task_leak", None, 0.0, 1.0),
    ("cancel_lost", "task_leak", Some("hand_over_in_background"), 0.8, 1.0),
];
/// A shorter patience than the default, which the replays show: this test may not take minutes.
const CONFIG: &str =
    "[engine.growth]\nafter_calm_seconds = 20\ncalm_seconds = 8\nfrom_start_seconds = 60\nleast_tasks = 16\n";
/// How long the services are watched in health.
const CONTROL: Duration = Duration::from_secs(25);

#[test]
fn each_fault_is_named_for_what_it_is() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::Builder::new().prefix("snowshed-e2e-").tempdir()?;
    let ports = AgentPorts::free()?;
    let options = TranscoderOptions {
        otlp: Some(ports.otlp_url()),
        guard: Some(ports.guard_url()),
        ..TranscoderOptions::default()
    };
    let mut services = Vec::new();
    for (fault, ..) in FAULTS {
        let own = folder.path().join(fault);
        std::fs::create_dir(&own)?;
        services.push(Transcoder::start(&own, &options)?);
    }
    let config = folder.path().join("snowshed.toml");
    std::fs::write(&config, CONFIG)?;
    let mut arguments = vec!["--config".to_owned(), config.display().to_string()];
    for service in &services {
        arguments.extend(["--pid".into(), service.pid().to_string()]);
        arguments.extend(["--scrape".into(), format!("http://{}/metrics", service.address())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let agent = Agent::start(folder.path(), ports, &arguments)?;
    let load = |(service, (.., aborting, rate)): (&Transcoder, &(&str, &str, Option<&str>, f64, f64))| {
        Load::start(Plan {
            rate: Some(*rate),
            pace: 3.0,
            length: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            seed: u64::from(service.pid()),
            aborting: *aborting,
            ..Plan::new(service.address())
        })
    };
    let loads = services.iter().zip(&FAULTS).map(load).collect::<anyhow::Result<Vec<Load>>>()?;
    let logs: Vec<_> = loads.iter().map(Load::log).collect();
    process::wait_until("requests to end", Duration::from_secs(60), || {
        Ok(logs.iter().all(|log| log.ended() >= 5).then_some(()))
    })?;
    process::pause(CONTROL)?;
    ensure!(agent.incidents()?.is_empty(), "an incident before the faults: {:?}", agent.incidents()?);
    let heap = agent.metric("snowshed_target_heap_in_use_bytes", &format!("pid=\"{}\"", services[0].pid()))?;
    ensure!(heap.is_some_and(|bytes| bytes > 1e6), "no heap in use is told: {heap:?}");

    for (service, (fault, ..)) in services.iter().zip(FAULTS) {
        service.fault_on(fault, "")?;
    }
    for ((service, log), (fault, kind, function, ..)) in services.iter().zip(&logs).zip(FAULTS) {
        let named = |incident: &Value| {
            incident["target"]["pid"] == service.pid()
                && incident["verdict"] == "named"
                && incident["causes"][0]["kind"] == kind
                && function.is_none_or(|name| incident["causes"][0]["site"]["frames"].to_string().contains(name))
        };
        let incident = agent
            .wait_incident(&format!("{fault} to be named"), Duration::from_secs(90), named)
            .with_context(|| format!("{:#?}", agent.incidents()))?;
        let cause = &incident["causes"][0];
        let traces = cause["trace_ids"].as_array().context("no traces")?;
        ensure!(function.is_none() || !traces.is_empty(), "{fault}: nobody did it: {incident}");
        for id in traces.iter().filter_map(Value::as_str) {
            ensure!(log.sent(id), "{fault}: trace {id} was never sent");
        }
        println!("{fault}: {}", cause["title"]);
    }
    Ok(())
}
