//! The whole agent under both loads: ten processes that make and close descriptors, each with an exporter that sends spans
//! in its name.
//!
//! The agent has no budget here, so that every hook is on. Spans are counted by those who send them, and every request must
//! be counted by the agent, each once. Cost: some two minutes.

use super::exporter::Exporters;
use crate::{
    bench::probes::{
        Part, Setting,
        figure::Figure,
        mill::{self, Mill},
        own::{self, Memory},
        row::{Row, Target},
    },
    process,
    rig::Agent,
};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};

/// The agent with everything on.
pub(super) const LIVE: Part = Part {
    name: "live",
    about: "the whole agent (root) at 20,000 spans a second over OTLP and 100,000 kernel events a second",
    run: measure,
};

/// Spans a second.
pub(super) const SPANS: u32 = 20_000;
/// Kernel events a second.
pub(super) const EVENTS: u32 = 100_000;
const PROCESSES: u32 = 10;
/// Held by each process.
const HELD: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(60);
/// Until looks have found their pace, and tables have filled up.
const SETTLE: Duration = Duration::from_secs(12);
/// Until the spans of a lower rate come evenly.
const CHANGE: Duration = Duration::from_secs(4);

fn measure(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    process::require_root("watching processes")?;
    let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
    let program = mill::compile(folder.path())?;
    let start = |number| Mill::start(&program, folder.path(), number, HELD, EVENTS / PROCESSES);
    let mut mills = (0..PROCESSES).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let pids: Vec<u32> = mills.iter().map(Mill::pid).collect();
    let agent = own::watch_all(folder.path(), &pids)?;
    let to = agent.otlp_grpc.context("the agent takes no spans over gRPC")?;
    process::wait_until("the targets", PATIENCE, || {
        Ok((agent.items("/api/v1/fds")?.len() == pids.len()).then_some(()))
    })?;
    mills.iter_mut().try_for_each(Mill::fill)?;

    // Spans alone at three rates, then both.
    process::pause(SETTLE)?;
    let (mut told, mut costs) = (0, Vec::new());
    let quiet = shares(&agent, setting)?;
    for rate in [SPANS / 16, SPANS / 4, SPANS] {
        let exporters = Exporters::start(to, &pids, rate)?;
        process::pause(CHANGE)?;
        let (begun, before) = (Instant::now(), exporters.spans());
        let shares = shares(&agent, setting)?;
        let real = (exporters.spans() - before) as f64 / begun.elapsed().as_secs_f64();
        told += exporters.finish()?;
        // Percent of a core, as microseconds a span.
        costs.push(shares.iter().zip(&quiet).map(|(with, without)| 1e4 * (with - without) / real).collect::<Vec<_>>());
    }
    let exporters = Exporters::start(to, &pids, SPANS)?;
    mills.iter_mut().try_for_each(Mill::turn)?;
    process::pause(SETTLE)?;
    let turned = |mills: &[Mill]| mills.iter().map(Mill::turned).sum::<u64>();
    let (begun, spans, events) = (Instant::now(), exporters.spans(), turned(&mills));
    let (mut both, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        both.extend(own::shares(&agent, 1, Duration::from_secs(1))?);
        memory.push(Memory::now(&agent)?.sum() as f64 / 1e6);
    }
    let length = begun.elapsed().as_secs_f64();
    let (spans, events) = ((exporters.spans() - spans) as f64 / length, (turned(&mills) - events) as f64 / length);
    told += exporters.finish()?;
    let counted = process::wait_until("the last spans to be counted", PATIENCE, || {
        let counted = agent.metric("snowshed_target_requests_total", "")?.unwrap_or(0.0);
        Ok((counted >= told as f64 - dropped(&agent)?).then_some(counted))
    })?;
    ensure!(counted <= told as f64, "{counted} requests were counted, and only {told} were told");
    let ratio = |one: &[f64], other: &[f64]| -> Vec<f64> { one.iter().zip(other).map(|(a, b)| a / b).collect() };
    let most = memory.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        Row::new("spans answered a second", Figure::exact(spans), "", Target::AtLeast(0.98 * f64::from(SPANS))),
        Row::new("kernel events a second", Figure::exact(events), "", Target::AtLeast(0.98 * f64::from(EVENTS))),
        Row::new("the agent's share of a core with both, %", Figure::of(&both), "", Target::AtMost(35.0)),
        Row::new("its memory with its maps, at most", Figure::exact(most), "MB", Target::AtMost(64.0)),
        Row::new("spans dropped", Figure::exact(dropped(&agent)?), "", Target::AtMost(0.0)),
        Row::new("kernel events lost", Figure::exact(own::lost(&agent)?), "", Target::AtMost(0.0)),
        Row::new("its share of a core without either, %", Figure::of(&quiet), "", Target::None),
        Row::new("a span, received, decoded and judged", Figure::of(&costs[2]), "us", Target::None),
        Row::new("a span at 16 times the rate", Figure::of(&ratio(&costs[2], &costs[0])), "x", Target::AtMost(1.25)),
        Row::new("a span at 4 times the rate", Figure::of(&ratio(&costs[1], &costs[0])), "x", Target::AtMost(1.25)),
    ])
}

/// Spans that the agent had no room for.
fn dropped(agent: &Agent) -> anyhow::Result<f64> {
    Ok(agent.metric("snowshed_otlp_spans_total", "outcome=\"dropped\"")?.unwrap_or(0.0))
}

/// Its share of a core, in percent, second by second.
fn shares(agent: &Agent, setting: &Setting) -> anyhow::Result<Vec<f64>> {
    own::shares(agent, setting.rounds, Duration::from_secs(1))
}
