//! One sample of the event stream: the whole picture in small, once a second.

use super::{Sources, breaker, slo, status::Agent};
use crate::render::incident::Suspicion;
use serde::Serialize;
use snowshed_engine::model::{InstanceView, LoopView, Pid, TargetView};

#[derive(Debug, Serialize)]
struct Sample {
    at: String,
    targets: Vec<Target>,
    slos: Vec<slo::Record>,
    breakers: Vec<breaker::Record>,
    agent: Agent,
}

#[derive(Debug, Serialize)]
struct Target {
    pid: Pid,
    name: String,
    started_at: String,
    fds: Fds,
    rss_bytes: Rss,
    threads: Option<u64>,
    loops: Vec<LoopView>,
    instances: Vec<InstanceView>,
    stalls_total: u64,
    retransmits_total: u64,
    requests_total: u64,
    latency_seconds: Option<Latency>,
    in_flight: Option<u32>,
    limit: Option<u32>,
    suspected: Option<Suspicion>,
}

#[derive(Debug, Serialize)]
struct Fds {
    live: u64,
    orphaned: u64,
    limit: Option<u64>,
    eta_seconds: Option<(f64, f64)>,
}

#[derive(Debug, Serialize)]
struct Rss {
    anon: Option<u64>,
    file: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// A sample as JSON. An error cannot happen with these types; it would show as an empty object.
pub(crate) fn json(sources: &Sources) -> String {
    let picture = sources.picture.borrow().clone();
    let view = &picture.view;
    let sample = Sample {
        at: sources.clock.rfc3339(view.at),
        targets: view.targets.iter().map(|found| target(found, sources)).collect(),
        slos: view.slos.iter().map(slo::Record::from).collect(),
        breakers: view.breakers.iter().map(|found| breaker::Record::new(found, &sources.clock)).collect(),
        agent: Agent::now(),
    };
    serde_json::to_string(&sample).unwrap_or_else(|_| "{}".to_owned())
}

fn target(target: &TargetView, sources: &Sources) -> Target {
    Target {
        pid: target.pid,
        name: target.name.clone(),
        started_at: sources.clock.rfc3339(target.started),
        fds: Fds {
            live: target.fds.live,
            orphaned: target.fds.orphaned,
            limit: target.fds.limit,
            eta_seconds: target.fds.eta_seconds,
        },
        rss_bytes: Rss { anon: target.rss_anon, file: target.rss_file },
        threads: target.threads,
        loops: target.loops.clone(),
        instances: target.instances.clone(),
        stalls_total: target.stalls_total,
        retransmits_total: target.retransmits_total,
        requests_total: target.requests_total,
        latency_seconds: target.latency_seconds.map(|(p50, p99)| Latency { p50, p99 }),
        in_flight: target.in_flight,
        limit: target.limit,
        suspected: target
            .suspected
            .as_ref()
            .map(|found| Suspicion::new(found, &sources.sites.borrow(), &sources.clock)),
    }
}
