//! One run: a healthy past, then the fault or the variation, and what the agent said of it.
//!
//! Cost: a minute or two; everything that was started has ended with it.

use super::{
    callers::{Callers, Plan},
    forecast::{Outcome, Told, note, outcome},
    left_out::LeftOut,
    score::{NO_NAME, Score, Seen, Truth, score},
    shop::{Kind, Options, Shop},
    suspects::Suspects,
};
use crate::{
    process,
    rig::{Agent, AgentPorts},
};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use std::{
    any::Any,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Between two looks at the incidents.
const LOOK: Duration = Duration::from_millis(250);
/// How often its whole status is.
pub(super) const ASK: Duration = Duration::from_secs(1);
/// Once the truth has been named it must stay so for this long.
const SETTLE: Duration = Duration::from_secs(15);

/// A fault with known truth, or a healthy variation.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The service, for the totals.
    pub(super) system: &'static str,
    /// What must be named; nothing if it is healthy.
    pub(super) truth: Option<Truth>,
    /// Healthy past before the onset, seconds.
    pub(super) healthy: u64,
    /// How long it is watched after the onset at most, seconds.
    pub(super) watched: u64,
    /// It takes all processors: no other run may be beside it, which would be a second fault in each.
    pub(super) alone: bool,
    pub(super) stage: fn(&Ground<'_>) -> anyhow::Result<Stage>,
}

impl Scenario {
    /// The same with the machine to itself.
    pub(super) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }
}

/// What a scenario stands on.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    /// Goes away with the run.
    pub(super) folder: &'a Path,
    pub(super) ports: AgentPorts,
    /// Of this run; no other that runs at the same time has it.
    pub(super) number: u8,
    /// Services that can export spans do.
    pub(super) spans: bool,
}

impl Ground<'_> {
    /// Where the spans of a service on the loopback go, if they are wanted.
    pub(super) fn otlp(&self) -> Option<String> {
        self.spans.then(|| self.ports.otlp_http_url())
    }
}

/// Something that goes on until it is dropped.
pub(super) type Kept = Box<dyn Any>;

/// What a scenario starts with.
pub(super) enum Stage {
    Ready(Set),
    /// The same, watched until what runs out is used up.
    Lasting(Set, UsedUp),
    /// It cannot be run here, for this reason.
    Skipped(String),
}

/// Whether what runs out is used up.
pub(super) type UsedUp = Box<dyn Fn() -> anyhow::Result<bool>>;

/// A service under load.
pub(super) struct Set {
    /// Those that are watched.
    pub(super) pids: Vec<u32>,
    /// More arguments of the agent.
    pub(super) arguments: Vec<String>,
    /// The onset; what it starts goes on until the end.
    pub(super) begin: Box<dyn FnOnce() -> anyhow::Result<Kept>>,
    /// What has been started, in the order in which it is to end.
    pub(super) kept: Vec<Kept>,
    /// Who calls, if it is known how much was answered.
    pub(super) callers: Option<Callers>,
}

/// One shop whose settings change at the onset.
pub(super) fn shop(ground: &Ground<'_>, kind: Kind, before: &Value, after: Value) -> anyhow::Result<Stage> {
    shop_with(ground, kind, before, after, Options::default(), |plan| plan)
}

/// The same while sometimes more is asked, sometimes less.
pub(super) fn shop_in_waves(ground: &Ground<'_>, kind: Kind, before: &Value, after: Value) -> anyhow::Result<Stage> {
    shop_called(ground, kind, before, after, Plan::in_waves)
}

/// The same while callers call in a way of their own.
pub(super) fn shop_called(
    ground: &Ground<'_>,
    kind: Kind,
    before: &Value,
    after: Value,
    plan: fn(Plan) -> Plan,
) -> anyhow::Result<Stage> {
    shop_with(ground, kind, before, after, Options::default(), plan)
}

/// The same with more to say of the shop and of its callers.
pub(super) fn shop_with(
    ground: &Ground<'_>,
    kind: Kind,
    before: &Value,
    after: Value,
    options: Options<'_>,
    plan: impl FnOnce(Plan) -> Plan,
) -> anyhow::Result<Stage> {
    let shop = Shop::start(ground, "shop", kind, before, options)?;
    let callers = Callers::start(plan(Plan::new(shop.address)), None)?;
    let knob = shop.knob();
    Ok(Stage::Ready(Set {
        pids: vec![shop.pid()],
        arguments: Vec::new(),
        begin: Box::new(move || {
            knob.turn(&after)?;
            Ok(Box::new(()))
        }),
        kept: vec![Box::new(shop)],
        callers: Some(callers),
    }))
}

/// What one run came to.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) scenario: &'static str,
    pub(super) system: &'static str,
    /// What is true.
    pub(super) truth: Option<&'static str>,
    /// How many spans of requests and of calls the agent took.
    pub(super) spans: u64,
    /// Why it could not run.
    pub(super) skipped: Option<String>,
    pub(super) score: Score,
    /// Of what was told to run out, where the run lasted until it had.
    pub(super) forecast: Option<Outcome>,
    /// Share of the time in which something on the machine waited for a processor: in health, and after the onset.
    pub(super) pressure: (f64, f64),
    /// Whether what was first suspected after the onset is the truth, where anything was.
    pub(super) suspected: Option<bool>,
    /// How many other causes were suspected at any time, each time that one was.
    pub(super) wrong_suspicions: usize,
    /// What probes left out.
    pub(super) left_out: Vec<String>,
    /// Seconds of a healthy service, for the rate of false incidents.
    pub(super) healthy_seconds: f64,
    /// Requests answered with 200.
    pub(super) answered: u64,
}

/// Runs a scenario once.
pub(super) fn run(scenario: &'static Scenario, number: u8, spans: bool) -> anyhow::Result<Run> {
    let folder = tempfile::Builder::new().prefix("shop-").tempdir().context("folder")?;
    let ground = Ground { folder: folder.path(), ports: AgentPorts::free()?, number, spans };
    let mut run = Run {
        scenario: scenario.name,
        system: scenario.system,
        truth: scenario.truth.map(|truth| truth.kind),
        spans: 0,
        skipped: None,
        score: Score::default(),
        forecast: None,
        pressure: (0.0, 0.0),
        suspected: None,
        wrong_suspicions: 0,
        left_out: Vec::new(),
        healthy_seconds: 0.0,
        answered: 0,
    };
    let (set, used_up) = match (scenario.stage)(&ground)? {
        Stage::Ready(set) => (set, None),
        Stage::Lasting(set, used_up) => (set, Some(used_up)),
        Stage::Skipped(reason) => {
            run.skipped = Some(reason);
            return Ok(run);
        }
    };
    let pids: Vec<String> = set.pids.iter().map(u32::to_string).collect();
    let mut arguments: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid.as_str()]).collect();
    arguments.extend(set.arguments.iter().map(String::as_str));
    let agent = Agent::start(folder.path(), ground.ports, &arguments)?;
    let mut watch = Watch::new(&agent);

    let begun = (Instant::now(), pressure_total()?);
    let healthy = Duration::from_secs(scenario.healthy);
    let onset = begun.0 + healthy;
    while Instant::now() < onset {
        watch.look(onset)?;
        process::pause(LOOK)?;
    }
    let before = set.callers.as_ref().map(Callers::answered);
    ensure!(before != Some(0), "the callers had no answer in {} s", scenario.healthy);
    run.pressure.0 = pressure_since(begun)?;

    let begun = (Instant::now(), pressure_total()?);
    let after = (set.begin)()?;
    let (end, mut named) = (begun.0 + Duration::from_secs(scenario.watched), None);
    while Instant::now() < end {
        watch.look(begun.0)?;
        let so_far = score(&watch.seen, scenario.truth);
        named = so_far.top1.then(|| named.unwrap_or_else(Instant::now));
        // A name that must not come may come late.
        let may_end = used_up.is_none() && scenario.truth.is_some_and(|truth| truth.kind != NO_NAME);
        if may_end && named.is_some_and(|at| at.elapsed() > SETTLE) {
            break;
        }
        if let Some(is_used_up) = &used_up
            && is_used_up()?
        {
            run.forecast = outcome(&watch.forecasts, begun.0.elapsed().as_secs_f64());
            break;
        }
        process::pause(LOOK)?;
    }
    run.pressure.1 = pressure_since(begun)?;
    let watched = if scenario.truth.is_none() { begun.0.elapsed() } else { Duration::ZERO };
    run.healthy_seconds = (healthy + watched).as_secs_f64();
    run.score = score(&watch.seen, scenario.truth);
    (run.suspected, run.wrong_suspicions) = watch.suspects.judge(scenario.truth);
    run.left_out = watch.left_out.all();
    for outcome in ["outcome=\"request\"", "outcome=\"call\""] {
        run.spans += agent.metric("snowshed_otlp_spans_total", outcome)?.unwrap_or(0.0) as u64;
    }
    run.answered = set.callers.as_ref().map_or(0, Callers::answered);
    drop(agent);
    // Callers first: they would wait for answers that never come.
    drop((after, set.callers, set.kept));
    Ok(run)
}

struct Watch<'a> {
    agent: &'a Agent,
    seen: Vec<Seen>,
    forecasts: Vec<Told>,
    asked: Option<Instant>,
    left_out: LeftOut,
    suspects: Suspects,
}

impl<'a> Watch<'a> {
    fn new(agent: &'a Agent) -> Self {
        let (left_out, suspects) = (LeftOut::default(), Suspects::default());
        Self { agent, seen: Vec::new(), forecasts: Vec::new(), asked: None, left_out, suspects }
    }

    /// Notes what has changed, with its time after the onset.
    fn look(&mut self, onset: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        let at =
            now.saturating_duration_since(onset).as_secs_f64() - onset.saturating_duration_since(now).as_secs_f64();
        watch_once(self.agent, at, &mut self.seen)?;
        if self.asked.is_none_or(|at| at.elapsed() >= ASK) {
            self.asked = Some(now);
            let status = self.agent.get("/api/v1/status")?;
            self.left_out.take(&status);
            self.suspects.take(&status, at);
        }
        if let Some(eta) = self.seen.iter().rev().find(|one| one.open).and_then(|one| one.eta).filter(|_| at > 0.0) {
            note(&mut self.forecasts, Told { at, eta });
        }
        Ok(())
    }
}

/// Notes which incidents have changed; it is now `at` seconds after the onset.
pub(super) fn watch_once(agent: &Agent, at: f64, seen: &mut Vec<Seen>) -> anyhow::Result<()> {
    for incident in agent.incidents()?.iter().rev() {
        let state = Seen::read(incident, at);
        let last = seen.iter().rev().find(|one| one.id == state.id);
        // Its times and figures go on; what it names is what counts.
        if last.is_none_or(|last| Seen { at: last.at, ..state.clone() } != *last) {
            seen.push(state);
        }
    }
    Ok(())
}

/// Microseconds in which something on the machine waited for a processor, since it started; none where the kernel
/// does not tell.
fn pressure_total() -> anyhow::Result<Option<u64>> {
    let Ok(text) = fs::read_to_string("/proc/pressure/cpu") else { return Ok(None) };
    let some = text.lines().find(|line| line.starts_with("some"));
    let total = some.and_then(|line| line.rsplit_once("total=")).and_then(|(_, total)| total.trim().parse().ok());
    total.map(Some).with_context(|| format!("/proc/pressure/cpu: {text:?}"))
}

fn pressure_since((at, before): (Instant, Option<u64>)) -> anyhow::Result<f64> {
    let waited = pressure_total()?.zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
    Ok(waited as f64 / 1e6 / at.elapsed().as_secs_f64().max(1e-3))
}
