//! A joint rule on a live service, and what changed: an instance that is started with another limit and another
//! environment holds many descriptors and much memory, and collects garbage all the time. Descriptors alone open nothing.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, time::Duration};
use xtask::{
    process::{self, Child, Spawn},
    rig::{self, Agent, AgentPorts, Traffic, script},
};

/// The name of the service, and so of its processes.
const NAME: &str = "booking";
const BOUND: Duration = Duration::from_secs(60);
/// How long descriptors alone are watched: two samples.
const CONTROL: Duration = Duration::from_secs(11);
/// The shipped rules.
const RULES: &str = include_str!("../../deploy/rules/fd-memory.toml");
/// Less than it holds: it collects garbage with hardly a pause.
const MEMORY: &str = "104857601";

struct Instance {
    child: Child,
    _traffic: Traffic,
}

impl Instance {
    fn start(folder: &Path, address: SocketAddr, how: &str, set: impl FnOnce(Spawn) -> Spawn) -> anyhow::Result<Self> {
        let spawn = Spawn::new(how, folder.join(NAME)).args([how.to_owned(), address.to_string()]);
        let mut child = set(spawn).start(folder)?;
        child.wait_line("listening on ", BOUND)?;
        Ok(Self { child, _traffic: Traffic::start(address, "/work", Duration::from_millis(50))? })
    }
}

/// The states of all rules of a process.
fn rules(agent: &Agent, pid: u32) -> anyhow::Result<Vec<(String, String)>> {
    let status = agent.get("/api/v1/status")?;
    let all = status["targets"].as_array().context("no targets")?;
    let one = all.iter().find(|target| target["pid"] == pid);
    let told = one.and_then(|target| target["rules"].as_array()).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(told.map(|rule| (text(&rule["name"]), text(&rule["state"]))).collect())
}

fn wait_rules(agent: &Agent, pid: u32, wanted: [&str; 3]) -> anyhow::Result<()> {
    let names = ["fd_memory_warn", "fd_memory_critical", "fd_memory_stuck"];
    let wanted: Vec<_> = names.iter().zip(wanted).map(|(name, state)| ((*name).to_owned(), state.to_owned())).collect();
    let mut last = Vec::new();
    let waited = process::wait_until("the rules to be judged", BOUND, || {
        last = rules(agent, pid)?;
        Ok((last == wanted).then_some(()))
    });
    waited.with_context(|| format!("{last:?} instead of {wanted:?}"))
}

#[test]
fn a_rule_of_two_figures_opens_an_incident_that_says_what_changed() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    std::fs::copy(rig::go(&script("publishing.go"), &[])?, folder.path().join(NAME))?;
    let [before, after] = process::free_ports()?.map(process::loopback);
    let config = folder.path().join("rules.toml");
    std::fs::write(&config, RULES)?;
    let pages = [before, after].map(|address| format!("http://{address}/metrics"));
    let config = config.display().to_string();
    let arguments = ["--comm", NAME, "--config", &config, "--scrape", &pages[0], "--scrape", &pages[1]];
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &arguments)?;

    let mut first = Instance::start(folder.path(), before, "clean", |spawn| spawn.descriptors(4_096))?;
    wait_rules(&agent, first.child.pid(), ["quiet"; 3])?;
    // As many descriptors by themselves, for two samples once they are known.
    let mut many = Instance::start(folder.path(), after, "descriptors", |spawn| spawn.descriptors(4_096))?;
    process::wait_until("its descriptors to be known", BOUND, || {
        let live = agent.fds(many.child.pid()).ok().and_then(|told| told["live"].as_u64());
        Ok((live >= Some(3_200)).then_some(()))
    })?;
    process::pause(CONTROL)?;
    wait_rules(&agent, many.child.pid(), ["quiet"; 3])?;
    ensure!(agent.incidents()?.is_empty(), "{:?}", agent.incidents()?);
    many.child.stop(BOUND)?;
    first.child.stop(BOUND)?;
    drop((first, many));

    let second =
        Instance::start(folder.path(), after, "both", |spawn| spawn.descriptors(8_192).env("GOMEMLIMIT", MEMORY))?;
    wait_rules(&agent, second.child.pid(), ["holds", "holds", "quiet"])?;
    let incident = agent.wait_incident("a page", BOUND, |one| {
        one["severity"] == "page" && one["trigger"]["detail"].as_str().is_some_and(|text| text.contains("collections"))
    })?;
    ensure!(incident["target"]["pid"] == second.child.pid(), "{incident}");
    ensure!(incident["trigger"]["kind"] == "joint_rule", "{incident}");
    let detail = incident["trigger"]["detail"].as_str().unwrap_or_default();
    ensure!(detail.starts_with("fd_memory_critical: fds "), "{detail}");
    let changed: Vec<&str> =
        incident["what_changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for line in ["start: ", "arguments: ", "environment: ", "limit: "] {
        ensure!(changed.iter().any(|told| told.starts_with(line)), "no line {line:?}: {changed:?}");
    }
    ensure!(changed.iter().any(|told| told.contains("4096") && told.contains("8192")), "{changed:?}");
    ensure!(!changed.iter().any(|told| told.starts_with("build: ")), "the same program: {changed:?}");
    ensure!(!incident.to_string().contains(MEMORY), "the value of a variable: {incident}");
    Ok(())
}
