//! One run: a service under load, well for a while, then with a fault, until it is dead or the time is over.

use super::{
    death::{self, Death, How},
    measure::{Change, Measure},
    sample::Sample,
    watch::{self, Asker, EVERY},
};
use crate::{
    load::{Load, Log, Plan, Report, Summary, wall_clock},
    process,
    rig::{Fault, Transcoder, TranscoderOptions},
    video::Clip,
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a dead service is still watched, for the picture.
const WAKE: Duration = Duration::from_secs(1);

/// What all runs of a comparison share.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// Uploads a second, on average.
    pub rate: f64,
    /// Share of clients that go away in the middle.
    pub aborting: f64,
    /// After this long a client gives up.
    pub timeout: Duration,
    /// File descriptors that the service may have (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Bytes of private writable memory that it may have (`RLIMIT_DATA`).
    pub data_bytes: u64,
    /// How long it is well before the fault is switched on.
    pub health: Duration,
    /// How long the fault has to kill.
    pub length: Duration,
    /// For logs and temporary files.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Conditions {
    /// At these each fault kills within a minute, with its default strength.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            rate: 6.0,
            aborting: 0.3,
            timeout: Duration::from_secs(8),
            descriptors: 256,
            data_bytes: 384 << 20,
            health: Duration::from_secs(5),
            length: Duration::from_secs(60),
            folder: folder.to_path_buf(),
        }
    }

    fn plan(&self, service: &Transcoder) -> Plan {
        Plan {
            rate: Some(self.rate),
            // Many small requests: an upload takes half a second, and little is asked of the codecs, so that what is
            // seen is the fault and not a busy machine.
            clip: Clip::Silent,
            pace: 8.0,
            height: Some(120),
            preset: Some("ultrafast".into()),
            length: Duration::from_secs(3600),
            timeout: self.timeout,
            aborting: self.aborting,
            verify: 4,
            ..Plan::new(service.address())
        }
    }
}

/// A fault and how strong it is.
#[derive(Clone, Debug)]
pub struct Dose {
    /// The fault.
    pub fault: Fault,
    /// Its value.
    pub value: String,
}

impl From<Fault> for Dose {
    /// Its default.
    fn from(fault: Fault) -> Self {
        Self { value: fault.default.clone(), fault }
    }
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The fault; none in the control.
    pub fault: Option<String>,
    /// Its strength.
    pub value: Option<String>,
    /// What it is declared to be diagnosed as.
    pub cause: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Its death, if it died.
    pub death: Option<Death>,
    /// How long it was watched after the fault was switched on, seconds.
    pub watched: f64,
    /// Every quarter of a second.
    pub samples: Vec<Sample>,
    /// What became of each measure until the death.
    pub changes: BTreeMap<&'static str, Change>,
    /// The load's figures.
    pub load: Option<Summary>,
    /// Answers that were decoded and are videos.
    pub verified: usize,
    /// What is wrong with those that are none.
    pub broken: Vec<String>,
}

impl Run {
    fn new(dose: Option<&Dose>) -> Self {
        let fault = dose.map(|dose| &dose.fault);
        Self {
            value: dose.map(|dose| dose.value.clone()),
            fault: fault.map(|fault| fault.name.clone()),
            cause: fault.map(|fault| fault.cause.clone()),
            description: fault.map(|fault| fault.description.clone()),
            death: None,
            watched: 0.0,
            samples: Vec::new(),
            changes: BTreeMap::new(),
            load: None,
            verified: 0,
            broken: Vec::new(),
        }
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        self.fault.as_deref().unwrap_or("no fault")
    }

    /// The samples up to the death: what comes after says nothing of the way there.
    #[must_use]
    pub fn alive(&self) -> &[Sample] {
        let end = self.death.as_ref().map_or(f64::INFINITY, |death| death.after);
        &self.samples[..self.samples.partition_point(|sample| sample.at < end)]
    }

    /// What became of a measure.
    #[must_use]
    pub fn change(&self, measure: Measure) -> Change {
        self.changes.get(measure.name()).copied().unwrap_or_else(|| measure.change(self.alive()))
    }

    /// The measures that grew.
    #[must_use]
    pub fn growing(&self) -> Vec<Measure> {
        Measure::ALL.into_iter().filter(|measure| self.change(*measure).grows).collect()
    }

    /// What is not as it is declared: a control that was not well, a fault whose mark did not show, a broken video.
    #[must_use]
    pub fn surprise(&self) -> Option<String> {
        let name = self.name();
        if let Some(broken) = self.broken.first() {
            return Some(format!("{name}: an answer is not a video: {broken}"));
        }
        let Some(cause) = &self.cause else {
            if let Some(death) = &self.death {
                return Some(format!("{name}: {}", death.how));
            }
            let growing = self.growing().first().map(|measure| measure.name());
            return growing.map(|measure| format!("{name}: {measure} grew"));
        };
        let declared = Measure::of_cause(cause);
        if declared.is_empty() {
            return Some(format!("{name}: nothing is known here of the cause {cause}"));
        }
        let missing = declared.iter().find(|measure| !self.change(**measure).grows)?;
        Some(format!("{name}: {cause}, but {} did not grow", missing.name()))
    }
}

/// Runs one fault, or none; `progress` is told after each sample.
///
/// # Errors
/// The service or the load could not be started, the fault could not be switched on, or Ctrl-C was pressed.
pub fn observe(dose: Option<&Dose>, conditions: &Conditions, mut progress: impl FnMut(&Run)) -> anyhow::Result<Run> {
    let options = TranscoderOptions {
        descriptors: Some(conditions.descriptors),
        data: Some(conditions.data_bytes),
        ..TranscoderOptions::default()
    };
    let mut service = Transcoder::start(&conditions.folder, &options)?;
    let load = Load::start(conditions.plan(&service))?;
    let watch = Watch {
        livez: Asker::livez(service.address())?,
        tasks: Asker::tasks(service.address())?,
        log: load.log(),
        zero: Instant::now() + conditions.health,
    };
    let mut run = Run::new(dose);
    let mut switched = false;
    let mut dead_since: Option<Instant> = None;
    let mut due = Instant::now();
    loop {
        if !switched && Instant::now() >= watch.zero {
            switched = true;
            if let Some(Dose { fault, value }) = dose {
                service.fault_on(&fault.name, value).with_context(|| format!("switch {} on", fault.name))?;
            }
        }
        let sample = watch.look(service.pid());
        let at = sample.at;
        run.samples.push(sample);
        if run.death.is_none()
            && let Some(how) = watch.death(&mut service)?
        {
            run.death = Some(Death { after: at, how, last_words: last_words(&service.child().errors()) });
            dead_since = Some(Instant::now());
        }
        run.watched = run.death.as_ref().map_or(at, |death| death.after);
        progress(&run);
        if dead_since.is_some_and(|since| since.elapsed() >= WAKE) || at >= conditions.length.as_secs_f64() {
            break;
        }
        due += EVERY;
        process::pause(due.saturating_duration_since(Instant::now()))?;
    }
    drop(watch);
    load.give_up();
    let Report { summary, verified, broken, .. } = load.finish()?;
    run.changes = Measure::ALL.iter().map(|measure| (measure.name(), measure.change(run.alive()))).collect();
    Ok(Run { load: Some(summary), verified, broken, ..run })
}

struct Watch {
    livez: Asker,
    tasks: Asker,
    log: std::sync::Arc<Log>,
    /// When the fault is switched on.
    zero: Instant,
}

impl Watch {
    fn look(&self, pid: u32) -> Sample {
        let now = Instant::now();
        let at = match now.checked_duration_since(self.zero) {
            Some(since) => since.as_secs_f64(),
            None => -(self.zero - now).as_secs_f64(),
        };
        let mut sample = Sample::of_process(pid, at);
        sample.tasks = self.tasks.fresh();
        sample.livez_ms = Some(watch::felt(&self.livez));
        sample.first_byte_ms = watch::first_byte(&self.log.ended_since(0), wall_clock() - 1.0);
        sample
    }

    fn death(&self, service: &mut Transcoder) -> anyhow::Result<Option<How>> {
        if let Some(status) = service.child().ended()? {
            let name = |signal| match signal {
                libc::SIGABRT => "SIGABRT".to_owned(),
                libc::SIGSEGV => "SIGSEGV".to_owned(),
                libc::SIGKILL => "SIGKILL".to_owned(),
                other => format!("signal {other}"),
            };
            return Ok(Some(How::Gone { status: status.signal().map_or_else(|| status.to_string(), name) }));
        }
        if self.livez.silence() >= death::SILENCE {
            return Ok(Some(How::Silent));
        }
        Ok(death::failing(&self.log.ended_since(0), wall_clock() - death::WINDOW.as_secs_f64()))
    }
}

/// The last line on standard error that is no note of ours about switching the fault.
fn last_words(errors: &str) -> Option<String> {
    // Nor the note that Rust adds after it has said what failed.
    let is_note = |line: &str| line.contains("fault on") || line.starts_with("skipping backtrace");
    let line = errors.lines().rev().find(|line| !line.trim().is_empty() && !is_note(line))?;
    // Without the time and the level, which say nothing here.
    let line = line.split_once(" WARN ").map_or(line, |(_, words)| words);
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cause: Option<&str>, tasks_at_the_end: f64) -> Run {
        let fault = cause.map(|cause| Fault {
            name: "x".into(),
            cause: cause.into(),
            default: String::new(),
            description: String::new(),
        });
        let tasks = |at: f64| if at < 0.0 { 5.0 } else { tasks_at_the_end };
        let samples = (-8..40).map(|at| f64::from(at) / 4.0);
        let samples = samples.map(|at| Sample { at, tasks: Some(tasks(at)), ..Sample::default() }).collect();
        Run { samples, ..Run::new(fault.map(Dose::from).as_ref()) }
    }

    #[test]
    fn a_surprise_is_a_sick_control_or_a_mark_that_is_missing() {
        assert_eq!(run(None, 6.0).surprise(), None);
        assert_eq!(run(None, 60.0).surprise().unwrap(), "no fault: tasks grew");
        assert_eq!(run(Some("task_leak"), 60.0).surprise(), None);
        assert_eq!(run(Some("fd_leak"), 60.0).surprise().unwrap(), "x: fd_leak, but fds did not grow");
        assert!(run(Some("evil_eye"), 60.0).surprise().unwrap().contains("evil_eye"));
        let broken = Run { broken: vec!["noise".into()], ..run(None, 6.0) };
        assert!(broken.surprise().unwrap().contains("not a video"));
    }

    #[test]
    fn what_comes_after_the_death_does_not_count() {
        let mut run = run(Some("task_leak"), 60.0);
        run.death = Some(Death { after: 2.0, how: How::Silent, last_words: None });
        assert!(run.alive().len() < run.samples.len() && run.alive().iter().all(|sample| sample.at < 2.0));
    }

    #[test]
    fn the_last_words_are_not_our_own() {
        let errors = "2026-01-01T00:00:00Z  WARN a::b: fault on fault=\"x\"\nmemory allocation of 9 bytes failed\nskipping backtrace printing\n\n";
        assert_eq!(last_words(errors).unwrap(), "memory allocation of 9 bytes failed");
        assert_eq!(last_words("t  WARN a: accept error=Too many\n").unwrap(), "a: accept error=Too many");
        assert_eq!(last_words(""), None);
    }
}
