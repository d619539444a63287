//! The whole picture for the API, from what the engine knows.
//!
//! Invariant: every live descriptor is in exactly one site; every figure is finite. Cost: allocates,
//! meant for about once a second.

use crate::{
    config::EngineConfig,
    correlate::group::{Group, traces},
    incident::Ledger,
    model::{ActuatorKind, BreakerView, FdView, Incident, LoopView, Lost, Nanos, Pid, SiteView, TargetView, View},
    slo::state::SloTrack,
    suspicion::Suspicion,
    target::Target,
    window::seconds,
};
use std::collections::BTreeMap;

/// Puts the picture together.
pub(crate) fn build(
    now: Nanos,
    targets: &BTreeMap<Pid, Target>,
    slos: &[SloTrack],
    ledger: &Ledger,
    config: &EngineConfig,
    lost: Vec<Lost>,
) -> View {
    let open = targets.values().filter_map(|target| target.episode.as_ref());
    let open = open.filter(|episode| !episode.is_silent()).map(|episode| episode.incident.clone());
    let mut incidents: Vec<Incident> = open.chain(ledger.closed().cloned()).collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse((incident.opened, incident.id)));
    let used = targets.values().filter(|target| target.breaker.used);
    View {
        at: now,
        targets: targets.values().map(|target| view_target(now, target, config)).collect(),
        incidents,
        tasks: targets.values().map(|target| target.tasks.view(target.pid, now)).collect(),
        slos: slos.iter().map(|slo| slo.view(now)).collect(),
        breakers: used.map(|target| view_breaker(target, config)).collect(),
        downstream: Vec::new(),
        // The engine's own, not a target's.
        host: Vec::new(),
        lost,
    }
}

fn view_target(now: Nanos, target: &Target, config: &EngineConfig) -> TargetView {
    let mut sites: Vec<SiteView> =
        target.own.groups.iter().filter(|group| group.live > 0).map(|group| view_site(now, group)).collect();
    sites.sort_by_key(|site| std::cmp::Reverse((site.orphaned, site.live)));
    let loops = target.loops.threads(now).map(|(tid, thread)| LoopView {
        tid,
        busy_ratio: thread.busy.ratio().unwrap_or(0.0),
        waits_per_second: thread.waits_per_second(),
    });
    // Between a forecast and this picture time has passed; the interval counts from now.
    let passed = seconds(now.saturating_sub(target.fds.updated().unwrap_or(now)));
    let left = |eta: f64| (eta - passed).max(0.0);
    TargetView {
        pid: target.pid,
        name: target.name.clone(),
        started: target.started,
        fds: FdView {
            live: if target.own.at.is_some() { target.own.live } else { target.fds.level().unwrap_or(0) },
            orphaned: target.own.orphaned,
            limit: target.fd_limit(),
            eta_seconds: target.eta.map(|told| (left(told.eta_seconds.0), left(told.eta_seconds.1))),
            sites,
        },
        connections: target.connections.clone(),
        rss_anon: target.rss_anon,
        rss_file: target.rss_file,
        memory: target.memory.view(now),
        host: target.host.view(),
        threads: target.threads,
        loops: loops.collect(),
        instances: target.loops.instances(now),
        stalls_total: target.loops.stalls_total,
        retransmits_total: target.retransmits_total,
        tcp: target.tcp.view(),
        in_flight: target.report.map(|report| report.in_flight),
        limit: target.report.and_then(|report| report.limit),
        requests_total: target.requests_total,
        latency_seconds: target.latency(now),
        rules: target.rules.views(&config.rules, target).collect(),
        suspected: target.suspicion.as_ref().and_then(Suspicion::view),
    }
}

fn view_site(now: Nanos, group: &Group) -> SiteView {
    let (traces, ambiguity) = traces(group.owners.iter());
    SiteView {
        kind: group.kind,
        site: group.site,
        live: group.live,
        orphaned: group.orphaned,
        oldest_seconds: group.oldest_made.map_or(0.0, |made| seconds(now.saturating_sub(made))),
        traces,
        ambiguity,
        orphans: group.orphans.clone(),
    }
}

fn view_breaker(target: &Target, config: &EngineConfig) -> BreakerView {
    let (reason, expires) = target.breaker.why();
    BreakerView {
        pid: target.pid,
        state: target.breaker.name().to_owned(),
        limit: target.breaker.limit(),
        reason: reason.to_owned(),
        dry_run: !config.enforce.contains(&ActuatorKind::Guard),
        expires,
    }
}
