//! When a shortage opens an incident, and when it is only a symptom or nobody's business.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{CauseKind, Incident, Nanos, Observation, OomKill, Output, ProcessExit, ProcessSeen, TriggerKind, Verdict},
};
use support::{
    NAME, PID, SECOND, Service, ms,
    shortage::{CALM, Seen, Step},
    suspected,
};

fn run(lines: &[(Nanos, Observation)]) -> Vec<Incident> {
    let (mut engine, mut out, mut told) = (Engine::new(EngineConfig::default()), Vec::new(), Vec::new());
    for (now, observation) in lines {
        engine.step(*now, observation, &mut out);
        told.extend(out.drain(..).filter_map(|output| match output {
            Output::Incident(incident) => Some(*incident),
            _ => None,
        }));
    }
    told
}

/// Steps until a second, each made from its second.
fn live(until: u64, mut step: impl FnMut(&mut Service, u64) -> Step) -> Vec<Incident> {
    let (mut service, mut seen) = (Service::start(), Seen::new(PID));
    for second in (4..until).step_by(2) {
        service.at(second * SECOND);
        let step = step(&mut service, second);
        seen.step(&mut service, step);
    }
    run(&service.lines())
}

#[test]
fn without_requests_a_shortage_must_last_a_minute() {
    let silent = |waiters| Step { requests: (0, 0), network: false, waiters, ..CALM };
    let told = live(150, |_, second| silent(if second >= 60 { 5 } else { 0 }));
    assert!((118..130).contains(&(told[0].opened / SECOND)), "{:?}", told[0]);
    assert_eq!(told.last().unwrap().causes[0].kind, CauseKind::LockContention);
    assert!(live(150, |_, second| silent(if (60..110).contains(&second) { 5 } else { 0 })).is_empty());
}

#[test]
fn requests_that_are_well_make_it_nobodys_business() {
    assert!(live(200, |_, second| Step { waiters: if second >= 60 { 5 } else { 0 }, ..CALM }).is_empty());
}

#[test]
fn what_a_listener_drops_beside_an_empty_queue_opens_nothing() {
    let told = live(150, |_, second| Step { dropped: if second >= 60 { 14 } else { 0 }, full: false, ..CALM });
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_loop_that_blocks_in_a_call_is_not_excused_by_a_limit() {
    let told = live(120, |service, second| {
        if second < 60 {
            return CALM;
        }
        service.stall(second * SECOND - ms(700), second, true);
        Step { throttled: 14, requests: (4, 700), ..CALM }
    });
    let last = told.last().unwrap();
    assert_eq!((last.verdict, last.causes[0].kind), (Verdict::Named, CauseKind::EventLoopStall), "{:?}", last.causes);
    assert!(last.causes.iter().any(|cause| cause.kind == CauseKind::CpuThrottled));
}

/// As a limit that a database just about needs: its threads wait for four times as long as they run, and its answers,
/// which are quick, take several times as long without being slow.
#[test]
fn a_limit_that_starves_the_threads_counts_although_no_request_is_slow() {
    let lines = |throttled, delay| {
        let (mut service, mut seen) = (Service::start(), Seen::new(PID));
        for second in (4..150).step_by(2) {
            service.at(second * SECOND);
            let now = if second >= 60 { Step { throttled, delay, ..CALM } } else { CALM };
            seen.step(&mut service, now);
        }
        service.lines()
    };
    let starved = lines(9, 3_000);
    let suspected = suspected(&starved);
    assert!(
        matches!(suspected.as_slice(), [(at, CauseKind::CpuThrottled)] if (60..68).contains(&(at / SECOND))),
        "{suspected:?}"
    );
    let told = run(&starved);
    assert!(!told.is_empty() && told.iter().all(|incident| incident.causes[0].kind == CauseKind::CpuThrottled));
    assert!((74..90).contains(&(told[0].opened / SECOND)), "{:?}", told[0]);
    // Threads that run nearly always when they want to are held back by nothing.
    for (throttled, delay) in [(9, 600), (3, 3_000)] {
        let lines = lines(throttled, delay);
        assert!(run(&lines).is_empty() && support::suspected(&lines).is_empty(), "{throttled} of 20, {delay} ms");
    }
}

#[test]
fn a_process_that_is_killed_again_and_again_is_one_incident() {
    let mut service = Service::start();
    for n in 0..4_u32 {
        service.at(u64::from(n + 1) * 20 * SECOND);
        let (at, pid) = (service.now(), PID + n);
        service.see(Observation::OomKill(OomKill { pid, at }));
        service.see(Observation::Exit(ProcessExit { pid, at }));
        let (name, parent, instance) = (NAME.into(), None, None);
        service.see(Observation::Process(ProcessSeen { pid: pid + 1, name, started: at, parent, instance }));
    }
    let told = run(&service.lines());
    let last = told.last().unwrap();
    assert!(told.iter().all(|incident| incident.id == last.id && incident.closed.is_none()), "{told:?}");
    assert_eq!((last.trigger.kind, last.causes[0].kind), (TriggerKind::ProcessExit, CauseKind::OomKill));
    assert!(last.trigger.detail.contains("4 times") && last.times.recovered.is_some(), "{last:?}");
}

#[test]
fn a_process_that_ends_by_itself_is_no_incident() {
    let mut service = Service::start();
    service.at(30 * SECOND);
    service.see(Observation::OomKill(OomKill { pid: PID, at: 30 * SECOND }));
    service.at(200 * SECOND);
    service.see(Observation::Exit(ProcessExit { pid: PID, at: 200 * SECOND }));
    assert!(run(&service.lines()).is_empty(), "a thread of it was chosen long before, and it lived on");
}
