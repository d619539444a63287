//! Replays every folder under `replay/`: `input.jsonl` goes in, `expected.json` says what must come out.
//!
//! Time between two lines passes as it does in the agent: the engine is ticked at each of its deadlines.
//! Every scenario is run twice and must give the same outputs to the byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

use serde::Deserialize;
use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Change, Incident, Nanos, Observation, Output, View},
    slo,
};
use std::{collections::BTreeMap, fs, path::Path};

const SECOND: Nanos = 1_000_000_000;

#[derive(Deserialize)]
struct Line {
    now: Nanos,
    observation: Observation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// What the scenario shows.
    about: String,
    #[serde(default)]
    config: EngineConfig,
    /// Objectives, as in a file.
    #[serde(default)]
    slo: Option<String>,
    /// Every incident, in the order of opening.
    incidents: Vec<ExpectedIncident>,
    /// Every change that left the engine, without renewals.
    #[serde(default)]
    acts: Vec<String>,
    /// Whether stacks were asked for.
    #[serde(default)]
    asked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedIncident {
    trigger: String,
    #[serde(default)]
    slo: Option<String>,
    severity: String,
    verdict: String,
    /// Kinds, likeliest first.
    causes: Vec<String>,
    #[serde(default)]
    site: Option<u64>,
    #[serde(default)]
    thread: Option<String>,
    /// Somewhere in the first cause's title, at any time.
    #[serde(default)]
    title: Vec<String>,
    /// Join of the first cause's evidence.
    #[serde(default)]
    join: Option<String>,
    /// Traces are a subset of requests numbered from the first to the last.
    #[serde(default)]
    traces: Option<(u64, u64)>,
    /// Bounds in seconds.
    detected: (f64, f64),
    #[serde(default)]
    named: Option<(f64, f64)>,
    #[serde(default)]
    mitigated: Option<(f64, f64)>,
    #[serde(default)]
    recovered: Option<(f64, f64)>,
    #[serde(default)]
    closed: Option<(f64, f64)>,
    /// The true growth per second, which every forecast must allow for.
    #[serde(default)]
    growth: Option<f64>,
    /// Actions in the record: change, and whether it was a dry run.
    #[serde(default)]
    actions: Vec<(String, bool)>,
}

struct Run {
    outputs: Vec<(Nanos, Output)>,
    view: View,
}

fn run(lines: &[Line], expected: &Expected) -> Run {
    let slos = expected.slo.as_ref().map_or(Vec::new(), |text| slo::parse(text, "expected.json").unwrap());
    let mut engine = Engine::new(EngineConfig { slos, ..expected.config.clone() });
    let (mut outputs, mut out) = (Vec::new(), Vec::new());
    for line in lines {
        while engine.next_deadline() > 0 && engine.next_deadline() < line.now {
            let due = engine.next_deadline();
            engine.tick(due, &mut out);
            outputs.extend(out.drain(..).map(|output| (due, output)));
        }
        engine.step(line.now, &line.observation, &mut out);
        outputs.extend(out.drain(..).map(|output| (line.now, output)));
    }
    Run { outputs, view: engine.view(lines.last().map_or(0, |line| line.now)) }
}

#[test]
fn every_recording_gives_what_is_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 7, "{} scenarios", names.len());
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path.join("input.jsonl")).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = fs::read_to_string(path.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_str(&expected).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {}", expected.about);
        let first = run(&lines, &expected);
        check(&name, &first, &expected);
        let again = run(&lines, &expected);
        let told =
            |run: &Run| (serde_json::to_string(&run.outputs).unwrap(), serde_json::to_string(&run.view).unwrap());
        assert!(told(&first) == told(&again), "{name}: two runs differ");
    }
}

fn check(name: &str, run: &Run, expected: &Expected) {
    let mut told: BTreeMap<u64, Vec<&Incident>> = BTreeMap::new();
    for (_, output) in &run.outputs {
        if let Output::Incident(incident) = output {
            told.entry(incident.id).or_default().push(incident);
        }
    }
    let summary: Vec<_> = told.values().map(|all| summary(all.last().unwrap())).collect();
    assert_eq!(told.len(), expected.incidents.len(), "{name}: {summary:#?}");
    for (all, expected) in told.values().zip(&expected.incidents) {
        check_incident(name, all, expected);
    }
    let mut acts: Vec<String> = run.outputs.iter().filter_map(|(_, output)| act(output)).collect();
    acts.dedup();
    assert_eq!(acts, expected.acts, "{name}: acts");
    let asked = run.outputs.iter().any(|(_, output)| matches!(output, Output::Ask(_)));
    assert_eq!(asked, expected.asked, "{name}: asked for stacks");
    for target in &run.view.targets {
        let live: u64 = target.fds.sites.iter().map(|site| site.live).sum();
        assert_eq!(live, target.fds.live, "{name}: every live descriptor is in exactly one site");
    }
}

fn act(output: &Output) -> Option<String> {
    let Output::Act(act) = output else { return None };
    assert!(!act.reason.is_empty());
    Some(match act.change {
        Change::Limit(limit) => format!("limit {limit}"),
        Change::Release => "release".to_owned(),
    })
}

fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a recording")]
fn seconds(time: Nanos) -> f64 {
    time as f64 / SECOND as f64
}

fn summary(incident: &Incident) -> String {
    let titles: Vec<_> = incident.causes.iter().map(|cause| (cause.confidence, &cause.title)).collect();
    format!("{:?} {:?} {titles:?} {:?}", incident.trigger, incident.verdict, incident.times)
}

fn check_incident(name: &str, all: &[&Incident], expected: &ExpectedIncident) {
    let last = *all.last().unwrap();
    let about = || format!("{name}: {}", summary(last));
    assert_eq!(word(last.trigger.kind), expected.trigger, "{}", about());
    assert_eq!(last.trigger.slo, expected.slo, "{}", about());
    assert_eq!(word(last.severity), expected.severity, "{}", about());
    assert_eq!(word(last.verdict), expected.verdict, "{}", about());
    let kinds: Vec<String> = last.causes.iter().map(|cause| word(cause.kind)).collect();
    assert_eq!(kinds, expected.causes, "{}", about());
    for title in &expected.title {
        let ever = all.iter().any(|told| told.causes.first().is_some_and(|cause| cause.title.contains(title)));
        assert!(ever, "{title:?} never told; {}", about());
    }
    let within = |what: &str, time: Option<Nanos>, bounds: Option<(f64, f64)>| match (time.map(seconds), bounds) {
        (Some(time), Some((low, high))) => {
            assert!((low..=high).contains(&time), "{what} at {time}, not in {low}..={high}; {}", about());
        }
        (time, bounds) => assert!(time.is_none() && bounds.is_none(), "{what}: {time:?}, {bounds:?}; {}", about()),
    };
    within("detected", Some(last.times.detected), Some(expected.detected));
    within("named", last.times.named, expected.named);
    within("mitigated", last.times.mitigated, expected.mitigated);
    within("recovered", last.times.recovered, expected.recovered);
    within("closed", last.closed, expected.closed);
    let onset = last.times.onset;
    assert!(onset.0 <= onset.1 && onset.1 <= last.times.detected, "{}", about());
    let actions: Vec<(String, bool)> = last.actions.iter().map(|taken| (taken.change.clone(), taken.dry_run)).collect();
    assert_eq!(actions, expected.actions, "{}", about());
    let told: Vec<Nanos> = all.iter().map(|incident| incident.updated).collect();
    assert!(told.windows(2).all(|pair| pair[0] <= pair[1]), "{name}: {told:?}");
    if let Some(cause) = last.causes.first() {
        check_cause(cause, expected, &about());
    }
    if let Some(growth) = expected.growth {
        check_forecasts(all, growth, &about());
    }
}

fn check_cause(cause: &snowshed_engine::model::Cause, expected: &ExpectedIncident, about: &str) {
    assert!((0.0..=1.0).contains(&cause.confidence), "{about}");
    assert!(expected.site.is_none_or(|site| cause.site.0 == site), "site {:?}; {about}", cause.site);
    assert_eq!(cause.thread.as_ref().map(|thread| thread.name.clone()), expected.thread, "{about}");
    assert!(!cause.evidence.is_empty(), "{about}");
    if let Some(join) = &expected.join {
        assert_eq!(word(cause.evidence[0].join), *join, "{about}");
    }
    match expected.traces {
        None => assert!(cause.traces.is_empty(), "{about}"),
        Some((first, last)) => {
            let number = |trace: &snowshed_engine::model::TraceId| u64::from_be_bytes(trace.0[8..].try_into().unwrap());
            let numbers: Vec<u64> = cause.traces.iter().map(number).collect();
            assert!(!numbers.is_empty() && numbers.len() <= 16, "{about}");
            assert!(numbers.iter().all(|n| (first..=last).contains(n)), "{numbers:?}; {about}");
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "newest last: {numbers:?}");
        }
    }
}

/// A forecast must have been told, and each must allow for the true growth.
fn check_forecasts(all: &[&Incident], growth: f64, about: &str) {
    let told: Vec<_> = all.iter().filter_map(|incident| incident.causes.first()?.forecast).collect();
    assert!(!told.is_empty(), "no forecast; {about}");
    for told in told {
        #[expect(clippy::cast_precision_loss, reason = "a count of descriptors")]
        let truth = (told.limit - told.level) as f64 / growth;
        let (earliest, latest) = told.eta_seconds;
        assert!(earliest <= truth + 1e-6 && truth <= latest + 1e-6, "{told:?} does not hold {truth}; {about}");
    }
}
