//! `GET /metrics`: the engine's view and the agent's counters, in Prometheus' text format.
//!
//! Invariant: a series exists only while its subject does, so nothing that ended is shown as if it lived.
//! Cost: one pass over the view for each scrape.

use super::Sources;
use crate::{
    metrics::{self as table, Metric},
    own::own_usage,
    problem::Problem,
    render::{tcp, wire_name},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus::{CounterVec, GaugeVec, Registry, TextEncoder};
use snowshed_ebpf::{Shed, Tier};
use snowshed_engine::model::{DownstreamView, SloState, TargetView, TasksView};
use std::collections::BTreeMap;

/// The scrape's answer.
pub(super) async fn get(State(sources): State<Sources>) -> Result<Response, Problem> {
    let text = gather(&sources)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn gather(sources: &Sources) -> prometheus::Result<String> {
    let mut page = Page::default();
    targets(&mut page, sources)?;
    host(&mut page, sources)?;
    objectives(&mut page, sources)?;
    probes(&mut page, sources)?;
    overhead(&mut page, sources)?;
    store(&mut page, sources)?;
    page.set(&table::STREAM_SUBSCRIBERS, &[], sources.hub.readers() as f64)?;
    page.set(&table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0)?;
    if let Some(usage) = own_usage() {
        page.set(&table::AGENT_CPU, &[], usage.cpu_seconds)?;
        page.set(&table::AGENT_RSS, &[], usage.rss_bytes as f64)?;
    }
    let mut families = page.registry.gather();
    families.extend(sources.tally.gather());
    TextEncoder::new().encode_to_string(&families)
}

fn store(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    let state = sources.store.state.borrow().clone();
    if state.path.is_none() {
        return Ok(());
    }
    page.set(&table::STORE_ON_DISK, &[], f64::from(u8::from(state.reason.is_none())))?;
    page.set(&table::STORE_RECORDS, &[], state.records as f64)?;
    for (of, bytes) in [("records", state.bytes), ("file", state.file_bytes), ("limit", state.max_bytes)] {
        page.set(&table::STORE_BYTES, &[of], bytes as f64)?;
    }
    page.set(&table::STORE_LOST, &["expired"], state.expired_total as f64)?;
    page.set(&table::STORE_LOST, &["dropped"], state.dropped_total as f64)
}

fn targets(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    let picture = sources.picture.borrow().clone();
    let open = picture.view.incidents.iter().filter(|incident| incident.closed.is_none()).count();
    page.set(&table::INCIDENTS_OPEN, &[], open as f64)?;
    page.set(&table::TARGETS, &[], picture.view.targets.len() as f64)?;
    for lost in &picture.view.lost {
        page.set(&table::ENGINE_LOST, &[&lost.probe], lost.events as f64)?;
    }
    for target in &picture.view.targets {
        let pid = target.pid.to_string();
        let who = [pid.as_str(), target.name.as_str()];
        let with = |more| [who[0], who[1], more];
        page.set(&table::TARGET_FDS, &with("live"), target.fds.live as f64)?;
        page.set(&table::TARGET_FDS, &with("orphaned"), target.fds.orphaned as f64)?;
        page.set_some(&table::TARGET_FDS_LIMIT, &who, target.fds.limit.map(|limit| limit as f64))?;
        page.set_some(&table::TARGET_FDS_ETA, &with("earliest"), target.fds.eta_seconds.map(|eta| eta.0))?;
        page.set_some(&table::TARGET_FDS_ETA, &with("latest"), target.fds.eta_seconds.map(|eta| eta.1))?;
        if let Some(counts) = target.connections.as_ref().map(|told| told.counts) {
            let waits = [
                ("all", counts.all),
                ("close_wait", counts.close_wait),
                ("stuck_send", counts.stuck_send),
                ("unread", counts.unread),
                ("idle", counts.idle),
            ];
            for (waits, count) in waits {
                page.set(&table::TARGET_CONNECTIONS, &with(waits), count as f64)?;
            }
        }
        page.set_some(&table::TARGET_RSS, &with("anon"), target.rss_anon.map(|bytes| bytes as f64))?;
        page.set_some(&table::TARGET_RSS, &with("file"), target.rss_file.map(|bytes| bytes as f64))?;
        memory(page, target, &who)?;
        connections(page, target, &who)?;
        for one in &target.host {
            let signal = wire_name(one.signal);
            if one.signal.is_time() {
                page.set(&table::TARGET_PRESSURE, &[who[0], who[1], &signal], one.total)?;
            } else {
                page.set(&table::TARGET_SHORTAGES, &[who[0], who[1], &signal, &one.place], one.total)?;
            }
        }
        page.set_some(&table::TARGET_THREADS, &who, target.threads.map(|threads| threads as f64))?;
        if let Some(tasks) = picture.view.tasks.iter().find(|tasks| tasks.pid == target.pid) {
            threads(page, &who, tasks)?;
        }
        for event_loop in &target.loops {
            let tid = event_loop.tid.to_string();
            page.set(&table::TARGET_LOOP_BUSY, &[who[0], who[1], &tid], event_loop.busy_ratio)?;
        }
        for one in &target.instances {
            let call = wire_name(one.call);
            let instance = match (one.instance, one.tid) {
                (0.., _) => one.instance.to_string(),
                (_, tid) => format!("thread {}", tid.unwrap_or_default()),
            };
            let which = [who[0], who[1], &call, &instance];
            page.set(&table::TARGET_LOOP_WAITS, &which, one.waits_total as f64)?;
            page.set(&table::TARGET_LOOP_EVENTS, &which, one.events_total as f64)?;
            page.set(&table::TARGET_LOOP_FULL, &which, one.full_total as f64)?;
            page.set(&table::TARGET_LOOP_STARVED, &which, one.starved_seconds_total)?;
        }
        if let Some(first) = target.suspected.as_ref().and_then(|suspected| suspected.causes.first()) {
            let cause = wire_name(first.kind);
            page.set(&table::TARGET_SUSPECTED, &[who[0], who[1], &cause], first.confidence)?;
        }
        page.set(&table::TARGET_STALLS, &who, target.stalls_total as f64)?;
        page.set(&table::TARGET_RETRANSMITS, &who, target.retransmits_total as f64)?;
        page.set(&table::TARGET_REQUESTS, &who, target.requests_total as f64)?;
        downstream(page, &who, picture.view.downstream.iter().find(|calls| calls.pid == target.pid))?;
        page.set_some(&table::TARGET_IN_FLIGHT, &who, target.in_flight.map(f64::from))?;
        page.set_some(&table::TARGET_LIMIT, &who, target.limit.map(f64::from))?;
        page.set_some(&table::TARGET_LATENCY, &with("50"), target.latency_seconds.map(|latency| latency.0))?;
        page.set_some(&table::TARGET_LATENCY, &with("99"), target.latency_seconds.map(|latency| latency.1))?;
    }
    Ok(())
}

fn downstream(page: &mut Page, who: &[&str; 2], calls: Option<&DownstreamView>) -> prometheus::Result<()> {
    for one in calls.into_iter().flat_map(|calls| &calls.peers) {
        let kind = wire_name(one.kind);
        let which = [who[0], who[1], &kind, &one.peer];
        page.set(&table::TARGET_CALLS, &which, one.calls)?;
        page.set(&table::TARGET_CALLS_FAILED, &which, one.failed)?;
        for (percentile, value) in
            [("50", one.latency_seconds.map(|two| two.0)), ("99", one.latency_seconds.map(|two| two.1))]
        {
            page.set_some(&table::TARGET_CALL_LATENCY, &[who[0], who[1], &kind, &one.peer, percentile], value)?;
        }
    }
    Ok(())
}

fn memory(page: &mut Page, target: &TargetView, who: &[&str; 2]) -> prometheus::Result<()> {
    let memory = &target.memory;
    let bytes = |value: Option<u64>| value.map(|value| value as f64);
    page.set_some(&table::TARGET_RSS, &[who[0], who[1], "shmem"], bytes(memory.rss_shmem))?;
    page.set_some(&table::TARGET_SWAP, who, bytes(memory.swap))?;
    page.set_some(&table::TARGET_ADDRESS_SPACE, who, bytes(memory.address_space))?;
    page.set_some(&table::TARGET_CGROUP, who, bytes(memory.cgroup.map(|(current, _)| current)))?;
    page.set_some(&table::TARGET_CGROUP_LIMIT, who, bytes(memory.cgroup.and_then(|(_, limit)| limit)))?;
    page.set_some(&table::TARGET_MAJOR_FAULTS, who, bytes(memory.major_faults))?;
    page.set_some(&table::TARGET_HEAP, who, bytes(memory.heap.map(|(used, _)| used)))?;
    page.set_some(&table::TARGET_COLLECTIONS, who, bytes(memory.collections))?;
    page.set(&table::TARGET_OOM_KILLS, who, memory.oom_kills as f64)?;
    for trend in &memory.trends {
        let kind = wire_name(trend.kind);
        page.set_some(&table::TARGET_PAGES_IN, &[who[0], who[1], &kind], trend.pages_in)?;
        let growth = |bound| [who[0], who[1], kind.as_str(), bound];
        page.set_some(&table::TARGET_GROWTH, &growth("least"), trend.growth.map(|growth| growth.0))?;
        page.set_some(&table::TARGET_GROWTH, &growth("most"), trend.growth.map(|growth| growth.1))?;
    }
    Ok(())
}

fn connections(page: &mut Page, target: &TargetView, who: &[&str; 2]) -> prometheus::Result<()> {
    let all = tcp::Record::from(&target.tcp);
    for one in &all.peers {
        let which = [who[0], who[1], one.name()];
        let with = |more| [which[0], which[1], which[2], more];
        page.set(&table::TARGET_TCP_CONNECTIONS, &which, one.connections.into())?;
        page.set(&table::TARGET_TCP_SEGMENTS, &which, one.segments_sent_total as f64)?;
        page.set(&table::TARGET_TCP_RESENT, &which, one.segments_retransmitted_total as f64)?;
        page.set_some(&table::TARGET_TCP_RTT, &with("smoothed"), one.rtt_seconds)?;
        page.set_some(&table::TARGET_TCP_RTT, &with("least"), one.least_rtt_seconds)?;
        page.set(&table::TARGET_TCP_READS, &which, one.reads_total as f64)?;
        page.set(&table::TARGET_TCP_READ_DELAY, &which, one.read_delay_seconds_total)?;
        page.set(&table::TARGET_TCP_ANSWERS, &which, one.answers_total as f64)?;
        page.set(&table::TARGET_TCP_ANSWER_TIME, &which, one.answer_seconds_total)?;
        page.set(&table::TARGET_TCP_ZERO, &with("peer"), one.peer_zero_windows.into())?;
        page.set(&table::TARGET_TCP_ZERO, &with("own"), one.own_zero_windows.into())?;
        page.set(&table::TARGET_TCP_RESETS, &with("sent"), one.resets_sent_total as f64)?;
        page.set(&table::TARGET_TCP_RESETS, &with("received"), one.resets_received_total as f64)?;
        for (error, count) in &one.connect_failures_total {
            page.set(&table::TARGET_TCP_FAILURES, &with(error), *count as f64)?;
        }
    }
    page.set_some(&table::TARGET_TCP_SHUT, who, all.namespace_zero_windows_total.map(|count| count as f64))?;
    page.set_some(&table::TARGET_TCP_PROBES, who, all.namespace_window_probes_total.map(|count| count as f64))?;
    let mut listeners: BTreeMap<(&str, &str), (f64, f64, f64)> = BTreeMap::new();
    for one in &all.listeners {
        let sum = listeners.entry((&one.address, one.protocol())).or_default();
        *sum = (sum.0 + f64::from(one.accept_queue), sum.1 + f64::from(one.backlog), sum.2 + one.dropped_total as f64);
    }
    for ((address, protocol), (queue, backlog, dropped)) in listeners {
        let which = [who[0], who[1], address, protocol];
        page.set(&table::TARGET_ACCEPT_QUEUE, &which, queue)?;
        page.set(&table::TARGET_BACKLOG, &which, backlog)?;
        page.set(&table::TARGET_LISTEN_DROPS, &which, dropped)?;
    }
    Ok(())
}

fn host(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    for one in &sources.picture.borrow().view.host {
        let signal = wire_name(one.signal);
        if one.signal.is_time() {
            page.set(&table::HOST_PRESSURE, &[&signal], one.total)?;
        } else {
            page.set(&table::HOST_SHORTAGES, &[&signal, &one.place], one.total)?;
        }
    }
    Ok(())
}

fn threads(page: &mut Page, who: &[&str], tasks: &TasksView) -> prometheus::Result<()> {
    page.set(&table::TARGET_LOCK_WAIT, who, tasks.locks.iter().map(|lock| lock.wait_seconds).sum())?;
    page.set(&table::TARGET_LOCK_WAITERS, who, tasks.locks.iter().map(|lock| f64::from(lock.waiters)).sum())?;
    page.set(&table::TARGET_CPU, who, tasks.cpu_used_seconds)?;
    page.set(&table::TARGET_CPU_DELAY, who, tasks.cpu_delay_seconds)?;
    page.set_some(&table::TARGET_TASKS, who, tasks.tasks_live.map(|live| live as f64))?;
    page.set_some(&table::TARGET_THROTTLED, who, tasks.throttled.map(|told| told.1))?;
    page.set_some(&table::TARGET_THROTTLED_PERIODS, who, tasks.throttled.map(|told| told.0 as f64))?;
    page.set(&table::TARGET_BLOCKED, who, tasks.blocked_seconds)
}

fn objectives(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    for slo in &sources.picture.borrow().view.slos {
        let what = [slo.name.as_str(), slo.service.as_str()];
        for state in [SloState::InsufficientData, SloState::Ok, SloState::Violated, SloState::Burning] {
            let is = f64::from(u8::from(state == slo.state));
            page.set(&table::SLO_STATE, &[what[0], what[1], &wire_name(state)], is)?;
        }
        page.set(&table::SLO_TARGET, &what, slo.target)?;
        page.set_some(&table::SLO_RATIO, &what, slo.ratio)?;
        page.set(&table::SLO_VIOLATIONS, &what, f64::from(slo.violations))?;
        page.set_some(&table::SLO_BUDGET, &what, slo.budget_used)?;
    }
    Ok(())
}

fn probes(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    for probe in sources.probes.borrow().iter() {
        for tier in [Tier::Full, Tier::Reduced, Tier::Off] {
            let is = f64::from(u8::from(tier == probe.tier));
            page.set(&table::PROBE_TIER, &[probe.name, &wire_name(tier)], is)?;
        }
        page.set(&table::PROBE_EVENTS, &[probe.name], probe.events as f64)?;
        page.set(&table::PROBE_LOST, &[probe.name], probe.lost as f64)?;
        for (what, count) in &probe.counts {
            page.set(&table::PROBE_COUNTS, &[probe.name, what], *count as f64)?;
        }
        page.set_some(&table::PROBE_DISPATCH, &[probe.name], probe.ns_dispatch.map(|ns| ns / 1e9))?;
        let calls = [("watched", probe.ns_for_targets), ("unwatched", probe.ns_for_others)];
        for (process, ns) in calls {
            page.set_some(&table::PROBE_CALL, &[probe.name, process], ns.map(|ns| ns / 1e9))?;
        }
        page.set_some(&table::PROBE_CORE, &[probe.name], probe.core_share)?;
        for shed in [Shed::Stacks, Shed::Owners, Shed::Hooks] {
            let is = f64::from(u8::from(probe.shed.contains(&shed)));
            page.set(&table::PROBE_SHED, &[probe.name, &wire_name(shed)], is)?;
        }
        page.set_some(&table::PROBE_COST, &[probe.name], probe.ns_per_event.map(|ns| ns / 1e9))?;
    }
    Ok(())
}

fn overhead(page: &mut Page, sources: &Sources) -> prometheus::Result<()> {
    let Some(overhead) = *sources.overhead.borrow() else { return Ok(()) };
    page.set(&table::OVERHEAD_CORE, &["targets"], overhead.targets_core_share)?;
    page.set_some(&table::OVERHEAD_CORE, &["agent"], overhead.agent_core_share)?;
    page.set(&table::OVERHEAD_BUDGET, &["targets"], overhead.targets_core_share_allowed)?;
    page.set(&table::OVERHEAD_BUDGET, &["agent"], overhead.budget.agent_core_share)?;
    page.set_some(&table::OVERHEAD_OTHER_CALL, &[], overhead.ns_per_other_call.map(|ns| ns / 1e9))?;
    page.set_some(&table::AGENT_BPF, &[], overhead.bpf_bytes.map(|bytes| bytes as f64))?;
    page.set(&table::AGENT_MEMORY_BUDGET, &[], overhead.budget.memory_bytes as f64)
}

/// The families of one scrape, made as they are first used.
#[derive(Default)]
struct Page {
    registry: Registry,
    gauges: BTreeMap<&'static str, GaugeVec>,
    counters: BTreeMap<&'static str, CounterVec>,
}

impl Page {
    fn set_some(&mut self, metric: &Metric, labels: &[&str], value: Option<f64>) -> prometheus::Result<()> {
        value.map_or(Ok(()), |value| self.set(metric, labels, value))
    }

    fn set(&mut self, metric: &Metric, labels: &[&str], value: f64) -> prometheus::Result<()> {
        match metric.kind {
            table::Kind::Gauge => {
                if !self.gauges.contains_key(metric.name) {
                    let family = GaugeVec::new(metric.opts(), metric.labels)?;
                    self.registry.register(Box::new(family.clone()))?;
                    self.gauges.insert(metric.name, family);
                }
                if let Some(family) = self.gauges.get(metric.name) {
                    family.get_metric_with_label_values(labels)?.set(value);
                }
            }
            table::Kind::Counter => {
                if !self.counters.contains_key(metric.name) {
                    let family = CounterVec::new(metric.opts(), metric.labels)?;
                    self.registry.register(Box::new(family.clone()))?;
                    self.counters.insert(metric.name, family);
                }
                if let Some(family) = self.counters.get(metric.name) {
                    family.get_metric_with_label_values(labels)?.inc_by(value.max(0.0));
                }
            }
        }
        Ok(())
    }
}
