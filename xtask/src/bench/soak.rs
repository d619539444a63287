//! The load that killed the service of the story, and what is left of this one: many at once with slow and impatient
//! clients, then many arrivals a second, uploads at the network's speed.
//!
//! Judged is the work that was admitted, beside what the machine does with one `ffmpeg` command for each upload, on
//! the cores that generator and strangers left over (see [`super::throughput`]).

use super::{
    Subject,
    job::Job,
    levels::{Level, Page},
    service::Service,
    table::{Card, Row, Target},
    throughput::{Speed, Stretch, by_ffmpeg},
    watch::{Watch, Watched},
};
use crate::{
    load::{Load, Plan, Report},
    process,
    video::Clip,
};
use anyhow::{Context as _, bail};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Before work is counted: the first streams have to begin.
const RAMP: Duration = Duration::from_secs(2);
/// Looks at the machine's own speed.
const WAVES: usize = 3;
const STOP: Duration = Duration::from_secs(10);
/// A megabyte, and the memory that the service may have.
const MB: f64 = 1e6;
const MOST_MB: f64 = 1500.0;

/// What is done.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The service.
    pub subject: Subject,
    /// How long many are at once.
    pub crowd: Duration,
    /// How long many arrive.
    pub rush: Duration,
    /// How many at once.
    pub concurrency: usize,
    /// How many a second.
    pub rate: f64,
    /// How long it may take to come back to where it was: as long as its pools keep what is idle.
    pub settle: Duration,
    /// Answers of each phase to decode.
    pub verify: usize,
}

/// A phase and what it showed.
#[derive(Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// What the clients saw.
    pub report: Report,
    /// What was seen from outside.
    pub watched: Watched,
    /// Pictures a second.
    pub(crate) speed: Speed,
}

/// All of it.
#[derive(Debug)]
pub struct Outcome {
    /// In their order.
    pub phases: Vec<Phase>,
    /// Before the first request, its heap after a few.
    pub before: Level,
    /// At the end.
    pub after: Level,
    /// How long it took to come back.
    pub settled: Duration,
    /// It ended by itself with 0 when it was asked to.
    pub clean_end: bool,
    machine: Speed,
}

const JOB: Job = Job { clip: Clip::Fragmented, height: 240, preset: "ultrafast", format: "fmp4" };

/// Does it.
///
/// # Errors
/// The service cannot be started, dies, or does not answer at all; or nothing could be measured.
pub fn soak(soak: &Soak) -> anyhow::Result<Outcome> {
    eprintln!("measuring this machine by ffmpeg …");
    let machine = machine()?;
    let mut service = Service::start(&soak.subject, &[])?;
    let mut before = Level::of(&service)?;
    eprintln!("a few requests first …");
    let few = Plan { concurrency: Some(4), length: Duration::from_secs(3), rate: None, ..plan(soak, &service) };
    Load::start(few)?.finish()?;
    let (warm, _) = Level::settled(&service, &Level { heap: f64::INFINITY, ..before }, soak.settle)?;
    // What is made once, with the first streams, is no leak.
    before.heap = warm.heap;
    let mut phases = Vec::new();
    if !soak.crowd.is_zero() {
        let crowd = Plan {
            concurrency: Some(soak.concurrency),
            rate: None,
            length: soak.crowd,
            slow: 0.1,
            aborting: 0.1,
            ..plan(soak, &service)
        };
        phases.push(phase(&service, format!("{} at once", soak.concurrency), crowd)?);
    }
    if !soak.rush.is_zero() {
        let rush = Plan {
            rate: Some(soak.rate),
            length: soak.rush,
            slow: 0.1,
            aborting: 0.1,
            seed: 2,
            ..plan(soak, &service)
        };
        phases.push(phase(&service, format!("{} arrivals/s", soak.rate), rush)?);
    }
    eprintln!("waiting for it to come back …");
    let (after, settled) = Level::settled(&service, &before, soak.settle)?;
    let clean_end = service.stop(STOP)?;
    Ok(Outcome { phases, before, after, settled, clean_end, machine })
}

fn plan(soak: &Soak, service: &Service) -> Plan {
    let timeout = Duration::from_secs(30);
    Plan {
        clip: JOB.clip,
        height: Some(JOB.height),
        preset: Some(JOB.preset.into()),
        pace: 1000.0,
        clients: 50,
        timeout,
        drain: timeout + Duration::from_secs(1),
        verify: soak.verify,
        ..Plan::new(service.address())
    }
}

/// What the machine does by itself: a command for each upload, four for each core so that none is idle.
fn machine() -> anyhow::Result<Speed> {
    let (video, cores) = (JOB.clip.bytes()?, process::Machine::now()?.cores);
    let mut waves = Vec::new();
    for _ in 0..WAVES {
        waves.push(by_ffmpeg(JOB, &video, 4 * cores as usize)?);
    }
    waves.sort_by(|a, b| a.left.total_cmp(&b.left));
    waves.get(WAVES / 2).copied().context("no wave")
}

fn phase(service: &Service, name: String, plan: Plan) -> anyhow::Result<Phase> {
    eprintln!("{name} for {} s …", plan.length.as_secs());
    let (watch, begun, length) = (Watch::begin(service)?, Instant::now(), plan.length);
    let load = Load::start(plan)?;
    process::pause(RAMP.min(length / 4))?;
    let (stretch, cpu, frames) = (Stretch::begin()?, service.cpu()?, frames(service)?);
    process::pause(length.saturating_sub(begun.elapsed()))?;
    let made = self::frames(service)? - frames;
    let speed = stretch.end(made, service.cpu()? - cpu)?;
    let report = load.finish()?;
    if !process::is_alive(service.pid()) {
        bail!("{name}: the service died; {}", report.summary);
    }
    Ok(Phase { name, report, watched: watch.end(), speed })
}

/// Pictures encoded so far. A service under such a load may take a moment to say.
fn frames(service: &Service) -> anyhow::Result<f64> {
    process::wait_until("/metrics", Duration::from_secs(10), || {
        Ok(Page::get(service).ok().map(|page| page.value("transcoder_frames_total")))
    })?
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.card().fmt(f)
    }
}

impl Outcome {
    /// Each figure beside its target.
    pub(crate) fn card(&self) -> Card {
        let mut card = Card::new("what is left of the service after the load that killed the other one");
        for phase in &self.phases {
            card.rows.extend(phase.rows(&self.machine));
            card.notes.push(format!("{}:\n{}generator   {}", phase.name, phase.report.summary, phase.report.generator));
        }
        card.rows.extend(self.after.rows(&self.before, "afterwards"));
        card.rows.push(Row::value("afterwards: back after", self.settled.as_secs_f64(), "s", Target::None));
        card.rows.push(Row::value("ended by itself", f64::from(self.clean_end), "", Target::AtLeast(1.0)));
        card.notes.push(format!("before      {}\nafter       {}", self.before, self.after));
        card
    }
}

impl Phase {
    /// Answers that are neither 200 nor 429, and requests without a whole answer, but for those given up on purpose.
    #[must_use]
    pub fn failed(&self) -> usize {
        let summary = &self.report.summary;
        let strange = summary.statuses.iter().filter(|(status, _)| !matches!(status, 200 | 429));
        let errors = summary.errors.values().sum::<usize>();
        errors.max(strange.map(|(_, n)| n).sum())
    }

    fn rows(&self, machine: &Speed) -> Vec<Row> {
        let (summary, name) = (&self.report.summary, &self.name);
        let ratio = |ours: f64, theirs: f64| ours / theirs;
        let row = |what: &str, value: f64, unit, target| Row::value(format!("{name}: {what}"), value, unit, target);
        let speed = |what: &str, pair, target| Row::paired(format!("{name}: {what}"), &[pair], "f/s", ratio, target);
        vec![
            speed("work, on cores left", (self.speed.left, machine.left), Target::AtLeast(0.9)),
            speed("work, by the clock", (self.speed.raw, machine.raw), Target::None),
            row("good answers", summary.good as f64, "", Target::AtLeast(1.0)),
            row("failed requests", self.failed() as f64, "", Target::AtMost(0.0)),
            row("wrong results", self.report.broken.len() as f64, "", Target::AtMost(0.0)),
            row("results looked at", self.report.verified as f64, "", Target::AtLeast(1.0)),
            row("refused after, p99", summary.refused_ms.p99, "ms", Target::None),
            row("refused after, slowest", summary.refused_ms.max, "ms", Target::AtMost(1000.0)),
            row("first byte, p99", summary.first_byte_ms.p99, "ms", Target::None),
            row("peak memory", self.watched.resident as f64 / MB, "MB", Target::AtMost(MOST_MB)),
            row("most threads", self.watched.threads as f64, "", Target::None),
            row("/healthz late or failed", self.watched.unhealthy as f64, "", Target::AtMost(0.0)),
            row("generator, cores", self.report.generator.cores, "", Target::None),
            row("strangers, cores", self.speed.strangers, "", Target::None),
        ]
    }
}
