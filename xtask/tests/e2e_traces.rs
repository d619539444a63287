//! One trace, told across what it touched: the pipes that a request leaked, whom they belong to, its span, and how sure
//! each join is.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::Duration;
use xtask::{
    process,
    rig::{Agent, Scene, http, snowshed},
};

const FAULT: &str = "pipe_fd_leak";
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn the_leaked_pipes_are_told_under_the_trace_of_their_request() -> anyhow::Result<()> {
    let scene = Scene::start(&[], |plan| plan)?;
    let (agent, service) = (&scene.agent, &scene.service);
    scene.wait_requests(0, 4)?;
    service.fault_on(FAULT, "1")?;
    let incident = agent.wait_named(PATIENCE)?;
    ensure!(incident["causes"][0]["kind"] == "fd_leak", "{incident}");

    let leaked = |trace: &Value| {
        let groups = trace["descriptors"].as_array().into_iter().flatten();
        groups.filter(|group| group["kind"] == "pipe" && group["live"].as_u64() > Some(0)).cloned().collect::<Vec<_>>()
    };
    for id in scene.check_traces(&incident)? {
        // The newest request's span may still be on its way.
        let mut last = Value::Null;
        let told = process::wait_until("the trace with its pipes and its request", PATIENCE, || {
            last = agent.get(&format!("/api/v1/traces/{id}"))?;
            let ended = last["requests"].as_array().is_some_and(|all| all.iter().any(|one| !one["ended_at"].is_null()));
            Ok((ended && !leaked(&last).is_empty()).then(|| last.clone()))
        });
        let told = told.with_context(|| format!("trace {id}: {last}"))?;
        ensure!(told["trace_id"] == id.as_str(), "{told}");
        let request = &told["requests"][0];
        ensure!(request["route"].as_str().is_some_and(|route| route.contains("transcode")), "{request}");
        ensure!(request["pid"] == service.pid(), "{request}");
        for group in leaked(&told) {
            ensure!(group["join"] == "thread_context" || group["join"] == "inherited", "{group}");
            ensure!(group["ambiguity"] == 1 && group["made"].as_u64() >= group["live"].as_u64(), "{group}");
            let pid = group["pid"].as_u64().context("a group without a process")?;
            let known = told["processes"].as_array().into_iter().flatten();
            ensure!(known.clone().any(|process| process["pid"] == pid), "{pid} is not among the processes: {told}");
            // The truth, from the kernel: these numbers are pipes of that process.
            for fd in group["fds"].as_array().into_iter().flatten() {
                let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).with_context(|| group.to_string())?;
                ensure!(link.to_string_lossy().starts_with("pipe:"), "{fd} is {}", link.display());
            }
        }
        ensure!(leaked(&told).iter().any(|group| group["frames"].to_string().contains(FAULT)), "no place: {told}");
    }

    drawn_as_told(agent, &incident)?;

    let get = |path: &str| http::get(agent.listen, path);
    let malformed = get("/api/v1/traces/xyz")?;
    ensure!(malformed.status == 400 && malformed.content_type.contains("problem+json"), "{malformed:?}");
    let unknown = get("/api/v1/traces/ffffffffffffffffffffffffffffffff")?;
    ensure!(unknown.status == 404 && unknown.text().contains("are kept"), "{unknown:?}");
    Ok(())
}

/// The timeline holds what the API tells of each trace, at the same times.
fn drawn_as_told(agent: &Agent, incident: &Value) -> anyhow::Result<()> {
    let id = incident["id"].as_str().context("an incident without an id")?;
    let url = format!("http://{}", agent.listen);
    let told = snowshed(&["explain", id, "--format", "perfetto", "--agent", &url], PATIENCE)?;
    ensure!(told.code == Some(0), "{told:?}");
    let file: Value = serde_json::from_str(&told.output).context("the timeline")?;
    let events = file["traceEvents"].as_array().context("no events")?;
    let heading = |event: &&Value| event["name"] == "process_name";
    let named =
        |part: &str| events.iter().filter(heading).any(|event| event["args"]["name"].to_string().contains(part));
    ensure!(named("incident of"), "{file:#}");
    let newest = agent.get(&format!("/api/v1/incidents/{id}"))?;
    for trace in newest["causes"][0]["trace_ids"].as_array().context("no traces")? {
        let trace = trace.as_str().context("a trace without an id")?;
        ensure!(named(&format!("trace {}", &trace[..8])), "{trace} is not drawn: {file:#}");
        let record = agent.get(&format!("/api/v1/traces/{trace}"))?;
        let group = &record["descriptors"][0];
        let is_it = |event: &&Value| event["ph"] == "X" && event["args"]["first_made_at"] == group["first_made_at"];
        let slice = events.iter().find(is_it).with_context(|| format!("{group} is not drawn"))?;
        let made: jiff::Timestamp = group["first_made_at"].as_str().context("no time")?.parse()?;
        ensure!(slice["ts"].as_f64() == Some(made.as_microsecond() as f64), "{slice} is not at {made}");
        ensure!(slice["args"]["frames"] == group["frames"], "{slice} is not {group}");
    }
    Ok(())
}

#[test]
fn a_service_that_is_killed_in_an_incident_leaves_its_last_state() -> anyhow::Result<()> {
    let mut scene = Scene::start(&[], |plan| plan)?;
    scene.wait_requests(0, 4)?;
    scene.service.fault_on("tempfile_fd_leak", "1")?;
    let incident = scene.agent.wait_named(PATIENCE)?;
    scene.service.child().kill()?;
    let last = scene.agent.wait_incident("the death", PATIENCE, |one| one["trigger"]["kind"] == "process_exit")?;
    ensure!(last["causes"][0]["kind"] == "fd_leak" && last["verdict"] == "named", "{last}");
    ensure!(last["target"]["pid"] == incident["target"]["pid"], "{last}");
    ensure!(last["trigger"]["detail"].as_str().is_some_and(|text| text.contains("last seen with")), "{last}");
    ensure!(!last["causes"][0]["evidence"].as_array().context("evidence")?.is_empty(), "{last}");
    let over = |one: &Value| one["id"] == incident["id"] && !one["closed_at"].is_null();
    scene.agent.wait_incident("the first incident to close", PATIENCE, over)?;
    Ok(())
}
