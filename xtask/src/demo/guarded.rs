//! The second act: the same load and the same fault, with Snowshed beside the service.

use super::{
    MARK, Stage, alone,
    screen::{Screen, Tone},
    story::{Cost, Story},
    truth::{Sample, Truth, serves_nobody},
    watch::Watch,
};
use crate::{
    load::{Load, Summary, wall_clock},
    process, program,
    rig::{Agent, AgentPorts, Alertmanager, Events, SLO, Transcoder, TranscoderOptions},
};
use anyhow::Context as _;
use serde_json::Value;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// The control run, on top of the time that everything needs to start.
const CONTROL: Duration = Duration::from_secs(22);
/// Three windows of 15 s in a row, one that the fault cuts in two, and the time that spans take.
const UNTIL_SEEN: Duration = Duration::from_secs(75);
/// What is orphaned is called so five seconds after its request ended, at the next look.
const UNTIL_SETTLED: Duration = Duration::from_secs(14);
/// A share of requests so small that none is infected any more, while what has leaked stays.
const HELD_STILL: &str = "1e-9";
/// A clean window of 15 s, the one that recovery cuts in two, and the agent's own patience.
const UNTIL_RECOVERED: Duration = Duration::from_secs(75);

/// The processes of this act.
pub(super) struct Peers {
    pub(super) agent: Agent,
    pub(super) service: Transcoder,
    pub(super) alertmanager: Alertmanager,
    pub(super) load: Option<Load>,
    pub(super) truth: Truth,
}

impl Peers {
    /// Ends what the agent leaves behind when it stops: service, load, Alertmanager.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.load = None;
        self.service.child().stop(Duration::from_secs(5)).context("stop the service")?;
        self.alertmanager.child().stop(Duration::from_secs(5)).context("stop Alertmanager")?;
        Ok(())
    }
}

/// Plays it.
pub(super) fn play(screen: &mut Screen, stage: &Stage) -> anyhow::Result<(Story, Peers)> {
    screen.act("2  The same load with Snowshed");
    screen.zero();
    let mut peers = start(stage)?;
    let events = Events::subscribe(peers.agent.listen)?;
    screen.fact("service", &format!("pid {}, restarted", peers.service.pid()));
    screen.fact("workbench", &format!("http://{}/", peers.agent.listen));
    let mut story = Story::default();
    let (cpu_before, begun) = (process::cpu_seconds(peers.agent.pid()), Instant::now());
    let mut watch = Watch::new(events);

    control(screen, stage, &mut peers, &mut story, &mut watch)?;
    fault(screen, stage, &peers, &mut story, &mut watch)?;
    recovery(screen, stage, &peers, &mut story, &mut watch)?;

    let records = peers.load.as_ref().map(|load| load.log().ended_since(0)).unwrap_or_default();
    let since_fault = records.partition_point(|record| record.ended < story.on);
    let useless = || serves_nobody(&records[since_fault..], story.on);
    story.dead = peers.truth.health().dead.or_else(useless);
    let agent = peers.agent.pid();
    let claimed = |sample: &Value| sample["agent"]["cpu_seconds_total"].as_f64();
    story.cost = Cost {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_claimed: claimed(&watch.latest).zip(claimed(&watch.first)).map(|(last, first)| last - first),
        cpu_used: process::cpu_seconds(agent).zip(cpu_before).map(|(last, first)| last - first),
        rss_claimed: watch.latest["agent"]["rss_bytes"].as_f64(),
        rss_used: process::resident(agent),
    };
    Ok((story, peers))
}

fn start(stage: &Stage) -> anyhow::Result<Peers> {
    let folder = stage.subfolder("guarded")?;
    let objective = folder.join("slo.yaml");
    std::fs::write(&objective, SLO).context("write slo.yaml")?;
    let ports = AgentPorts::free()?;
    let alertmanager = Alertmanager::start(&folder, Some((MARK, &stage.mark)))?;
    let options =
        TranscoderOptions { otlp: Some(ports.otlp_url()), guard: Some(ports.guard_url()), ..stage.service_options() };
    let service = Transcoder::start(&folder, &options)?;
    let (pid, objective, url) = (service.pid().to_string(), objective.display().to_string(), alertmanager.url());
    let state = folder.join("state").display().to_string();
    let arguments =
        ["--pid", &pid, "--slo", &objective, "--enforce", "guard", "--alertmanager", &url, "--state-dir", &state];
    let agent = Agent::start_with(&folder, ports, &arguments, |spawn| spawn.env(MARK, &stage.mark))?;
    let truth = Truth::watch(&service)?;
    Ok(Peers { agent, service, alertmanager, load: None, truth })
}

fn control(
    screen: &Screen,
    stage: &Stage,
    peers: &mut Peers,
    story: &mut Story,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    let load = Load::start(stage.load(peers.service.address(), 2))?;
    let log = load.log();
    peers.load = Some(load);
    process::pause(CONTROL)?;
    watch.sample()?;
    story.control_seconds = CONTROL.as_secs_f64();
    story.control_incidents = peers.agent.incidents()?.len();
    let summary = Summary::of(&log.ended_since(0), CONTROL.as_secs_f64());
    story.control_good = (summary.good, summary.requests);
    watch.records = log.ended();
    let tone = if story.control_incidents == 0 { Tone::Good } else { Tone::Bad };
    let text =
        format!("{}; {} incidents in {} s", alone::describe(&summary), story.control_incidents, CONTROL.as_secs());
    screen.seen("control run", &text, tone);
    Ok(())
}

fn fault(
    screen: &mut Screen,
    stage: &Stage,
    peers: &Peers,
    story: &mut Story,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    story.on = wall_clock();
    story.fault = Some(stage.switch_on(&peers.service)?);
    screen.zero();
    screen.seen("fault on", "the agent is not told", Tone::Plain);
    let begun = Instant::now();
    while !story.all_seen() && begun.elapsed() < UNTIL_SEEN {
        watch.look(screen, peers, story)?;
        process::pause(Duration::from_millis(200))?;
    }
    // The leak is held still for a moment (no more requests leak, nothing is given back): then numbers must agree.
    if story.leaks() {
        peers.service.fault_on(stage.fault.0, HELD_STILL).context("hold the leak still")?;
        let begun = Instant::now();
        while begun.elapsed() < UNTIL_SETTLED && story.settled.is_none_or(|(claim, truth)| claim != truth as u64) {
            watch.look(screen, peers, story)?;
            settle(peers, story)?;
            process::pause(Duration::from_millis(250))?;
        }
        if let Some((claim, truth)) = story.settled {
            let text = format!("{claim} files called orphaned; /proc/{}/fd holds {truth} deleted", peers.service.pid());
            screen.seen("held still", &text, Tone::Plain);
        }
    }
    if let Some(picture) = &stage.picture {
        photograph(screen, peers, picture)?;
    }
    Ok(())
}

/// What people see now, as the browser paints it; an error on its console fails the demo.
fn photograph(screen: &Screen, peers: &Peers, picture: &Path) -> anyhow::Result<()> {
    let script = process::root().join("dashboards/web/e2e/screenshot.mjs");
    let url = format!("http://{}/", peers.agent.listen);
    program::output(Command::new("node").arg(script).arg(url).arg(picture).arg("--wait-incident"))
        .context("photograph the workbench")?;
    screen.seen("picture", &format!("{}, the browser's console is clean", picture.display()), Tone::Plain);
    Ok(())
}

/// The claim is read between two looks at the truth that agree, so that it belongs to that truth.
fn settle(peers: &Peers, story: &mut Story) -> anyhow::Result<()> {
    let before = peers.service.deleted_files()?.len();
    let record = peers.agent.fds(peers.service.pid())?;
    let after = peers.service.deleted_files()?.len();
    if before == after {
        story.settled = Some((record["orphaned"].as_u64().unwrap_or(0), after));
        let sites = record["sites"].as_array().into_iter().flatten();
        let worst = sites.max_by_key(|site| site["orphaned"].as_u64().unwrap_or(0));
        story.kind = worst.and_then(|site| site["kind"].as_str()).map(str::to_owned);
    }
    Ok(())
}

fn recovery(
    screen: &mut Screen,
    stage: &Stage,
    peers: &Peers,
    story: &mut Story,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    peers.service.fault_off(stage.fault.0)?;
    story.off = wall_clock();
    screen.zero();
    screen.seen("fault off", "times count from here", Tone::Plain);
    let begun = Instant::now();
    let is_over = |story: &Story| {
        story.closed.is_some() && story.resolved.is_some() && story.released.is_some() && story.first_good.is_some()
    };
    while !is_over(story) && begun.elapsed() < UNTIL_RECOVERED {
        watch.look(screen, peers, story)?;
        process::pause(Duration::from_millis(250))?;
    }
    Ok(())
}

/// Growth of the leak by `/proc`, descriptors a second, over the last `length` seconds before `until`.
pub(super) fn growth(samples: &[Sample], until: f64, length: f64) -> Option<f64> {
    let inside = |sample: &&Sample| sample.at <= until && sample.at >= until - length;
    let first = samples.iter().find(inside)?;
    let last = samples.iter().rfind(inside)?;
    let time = last.at - first.at;
    (time > 1.0).then(|| (last.fds as f64 - first.fds as f64) / time)
}
