//! `GET /api/v1/status`: what is watched, how well, and at what cost.

use super::Sources;
use crate::{
    own::own_usage,
    render::{
        incident::Suspicion,
        memory::{self, Shortage},
        scrape, tasks, tcp,
    },
    store,
};
use axum::{Json, extract::State};
use serde::Serialize;
use snowshed_ebpf::{ContextStatus, Overhead, ProbeStatus};
use snowshed_engine::model::{DownstreamPeer, Pid, RuleView};

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    schema: u32,
    version: &'static str,
    pid: u32,
    started_at: String,
    enforce: Vec<String>,
    targets: Vec<Target>,
    /// What the machine went short of.
    host: Vec<Shortage>,
    probes: Vec<ProbeStatus>,
    /// What observing costs in all, and what it may cost; `null` until the probes are attached.
    overhead: Option<Overhead>,
    /// How the traces of threads are known.
    contexts: ContextStatus,
    /// The pages that the configuration names.
    scrapes: Vec<scrape::Record>,
    /// Incidents on disk.
    store: store::State,
    agent: Agent,
}

#[derive(Debug, Serialize)]
struct Target {
    pid: Pid,
    name: String,
    started_at: String,
    memory: memory::Record,
    /// What its network namespace and its cgroup went short of.
    host: Vec<Shortage>,
    /// TCP connections and listeners.
    tcp: tcp::Record,
    /// Threads, locks, processor and disk.
    tasks: Option<tasks::Record>,
    /// Whom it calls, as its client spans tell.
    downstream: Vec<DownstreamPeer>,
    /// How the joint rules that are for it get on.
    rules: Vec<RuleView>,
    /// What may be wrong with it, if it lasts; `null` while nothing is suspected, or an incident has named it.
    suspected: Option<Suspicion>,
}

/// The agent's own cost.
#[derive(Debug, Serialize)]
pub(super) struct Agent {
    cpu_seconds_total: Option<f64>,
    rss_bytes: Option<u64>,
}

impl Agent {
    /// As of now.
    pub(super) fn now() -> Self {
        let usage = own_usage();
        Self { cpu_seconds_total: usage.map(|usage| usage.cpu_seconds), rss_bytes: usage.map(|usage| usage.rss_bytes) }
    }
}

/// The whole status.
pub(super) async fn get(State(sources): State<Sources>) -> Json<Status> {
    let picture = sources.picture.borrow().clone();
    let probes = sources.probes.borrow().clone();
    let sites = sources.sites.borrow().clone();
    let threads = |pid| picture.view.tasks.iter().find(|tasks| tasks.pid == pid);
    let calls = |pid| picture.view.downstream.iter().find(|calls| calls.pid == pid);
    let target = |target: &snowshed_engine::model::TargetView| Target {
        pid: target.pid,
        name: target.name.clone(),
        started_at: sources.clock.rfc3339(target.started),
        memory: memory::Record::new(target, &sites),
        host: target.host.iter().map(Shortage::from).collect(),
        tcp: tcp::Record::from(&target.tcp),
        downstream: calls(target.pid).map(|calls| calls.peers.clone()).unwrap_or_default(),
        rules: target.rules.clone(),
        suspected: target.suspected.as_ref().map(|found| Suspicion::new(found, &sites, &sources.clock)),
        tasks: threads(target.pid).map(|threads| tasks::Record::new(threads, &sites, picture.view.at)),
    };
    Json(Status {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_at: sources.clock.rfc3339(sources.started),
        enforce: sources.enforce.to_vec(),
        targets: picture.view.targets.iter().map(target).collect(),
        host: picture.view.host.iter().map(Shortage::from).collect(),
        probes: probes.to_vec(),
        overhead: *sources.overhead.borrow(),
        contexts: (**sources.contexts.borrow()).clone(),
        scrapes: sources.scrapes.borrow().to_vec(),
        store: (**sources.store.state.borrow()).clone(),
        agent: Agent::now(),
    })
}
