//! What an operator relies on, told by a small service and decided by the whole engine.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        CauseKind, Change, HoldingKind, Incident, Join, Nanos, Observation, OomKill, Output, Owner, ProcessExit,
        ProcessSeen, Severity, SiteId, TriggerKind, Verdict, View,
    },
    slo,
};
use support::{NAME, PID, SECOND, Service, ms, trace};

type Lines = Vec<(Nanos, Observation)>;

/// All outputs, with the time of each, and the picture at the end.
fn run(config: EngineConfig, lines: &Lines) -> (Vec<(Nanos, Output)>, View) {
    let mut engine = Engine::new(config);
    let (mut outputs, mut out) = (Vec::new(), Vec::new());
    for (now, observation) in lines {
        while engine.next_deadline() > 0 && engine.next_deadline() < *now {
            let due = engine.next_deadline();
            engine.tick(due, &mut out);
            outputs.extend(out.drain(..).map(|output| (due, output)));
        }
        engine.step(*now, observation, &mut out);
        outputs.extend(out.drain(..).map(|output| (*now, output)));
    }
    (outputs, engine.view(lines.last().map_or(0, |line| line.0)))
}

fn incidents(outputs: &[(Nanos, Output)]) -> Vec<(Nanos, &Incident)> {
    outputs
        .iter()
        .filter_map(
            |(at, output)| if let Output::Incident(incident) = output { Some((*at, &**incident)) } else { None },
        )
        .collect()
}

/// Files forgotten by every `one_in`th request from second 10 on, ten requests a second.
fn leaking(seconds: u64, one_in: u64, limit: u64) -> Service {
    let mut service = Service::start();
    for second in 2..seconds {
        for tenth in 0..10 {
            let n = second * 10 + tenth;
            service.at(second * SECOND + tenth * ms(100));
            let file = service.hold_for(n, HoldingKind::File, 7);
            service.span(n, second * SECOND + tenth * ms(100), second * SECOND + tenth * ms(100) + ms(40), 200);
            if second < 10 || n % one_in != 0 {
                service.give_back(file);
            }
        }
        service.at(second * SECOND + ms(950));
        service.snapshot(limit);
    }
    service
}

#[test]
fn a_leak_on_an_error_path_is_named_although_most_is_given_back() {
    let (outputs, _) = run(EngineConfig::default(), &leaking(30, 10, 4_096).lines());
    let told = incidents(&outputs);
    let (_, last) = told.last().unwrap();
    assert_eq!((last.verdict, last.causes[0].kind), (Verdict::Named, CauseKind::FdLeak));
    assert_eq!(last.causes[0].site, SiteId(7));
    assert!(last.causes[0].traces.iter().all(|id| u64::from_be_bytes(id.0[8..].try_into().unwrap()) % 10 == 0));
}

#[test]
fn an_incident_is_told_at_most_once_a_second() {
    let (outputs, _) = run(EngineConfig::default(), &leaking(40, 1, 512).lines());
    let times: Vec<Nanos> = incidents(&outputs).into_iter().map(|(at, _)| at).collect();
    assert!(times.len() >= 5, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{times:?}");
    assert!(times.len() <= 20, "small changes of figures are no news: {}", times.len());
}

#[test]
fn growth_without_owners_is_told_as_exhaustion_of_unknown_cause() {
    let mut service = Service::start();
    for second in 2..60 {
        service.at(second * SECOND);
        for _ in 0..3 {
            service.hold(HoldingKind::Unix, SiteId(0), Owner::default());
        }
        service.snapshot(200);
    }
    let (outputs, view) = run(EngineConfig::default(), &service.lines());
    let told = incidents(&outputs);
    let (_, last) = told.last().unwrap();
    assert_eq!((last.trigger.kind, last.verdict), (TriggerKind::Exhaustion, Verdict::Unknown));
    assert!(last.causes.is_empty());
    let (earliest, latest) = view.targets[0].fds.eta_seconds.unwrap();
    let truth = (200.0 - f64::from(u32::try_from(view.targets[0].fds.live).unwrap())) / 3.0;
    assert!(earliest <= truth + 1e-6 && truth <= latest + 1e-6, "{earliest} to {latest}, in truth {truth}");
}

#[test]
fn a_busy_start_is_no_exhaustion() {
    let mut service = Service::start();
    for second in 2..90 {
        service.at(second * SECOND);
        if second < 30 {
            for _ in 0..5 {
                service.hold(HoldingKind::TcpAccepted, SiteId(0), Owner::default());
            }
        }
        service.snapshot(512);
    }
    let (outputs, _) = run(EngineConfig::default(), &service.lines());
    assert!(incidents(&outputs).is_empty(), "145 connections of 512 came in half a minute and stayed");
}

#[test]
fn two_diseases_of_one_process_are_one_incident_with_two_causes() {
    let mut service = Service::start();
    for second in 2..60_u64 {
        let now = second * SECOND;
        service.at(now);
        service.hold_for(second, HoldingKind::Pipe, 7);
        service.span(second, now - ms(50), now, 200);
        if second < 5 {
            continue;
        }
        service.at(now + ms(400));
        service.stall(now, second, true);
        service.at(now + ms(900));
        service.snapshot(4_096);
    }
    let (outputs, view) = run(EngineConfig::default(), &service.lines());
    let told = incidents(&outputs);
    let (_, last) = told.last().unwrap();
    assert_eq!(view.incidents.len(), 1);
    assert_eq!(last.trigger.kind, TriggerKind::Stall, "the first trigger keeps its name");
    let kinds: Vec<CauseKind> = last.causes.iter().map(|cause| cause.kind).collect();
    assert_eq!(kinds, [CauseKind::EventLoopStall, CauseKind::FdLeak]);
}

#[test]
fn at_the_limit_a_stall_is_the_leaks_symptom() {
    let mut service = leaking(16, 1, 64);
    for second in 16..22_u64 {
        let now = second * SECOND;
        service.at(now);
        service.stall(now - ms(900), second * 10, true);
        service.at(now + ms(500));
        service.snapshot(64);
    }
    let (outputs, _) = run(EngineConfig::default(), &service.lines());
    let told = incidents(&outputs);
    let (_, last) = told.last().unwrap();
    let kinds: Vec<CauseKind> = last.causes.iter().map(|cause| cause.kind).collect();
    assert_eq!(kinds, [CauseKind::FdLeak, CauseKind::EventLoopStall]);
    assert!(last.causes[1].confidence < 0.6, "{}", last.causes[1].confidence);
}

#[test]
fn a_target_that_exits_takes_its_incident_along_and_late_facts_do_not_bring_it_back() {
    let mut service = leaking(25, 1, 4_096);
    service.see(Observation::Exit(ProcessExit { pid: PID, at: 25 * SECOND }));
    service.at(26 * SECOND);
    service.snapshot(4_096);
    service.loop_time(0);
    let (outputs, view) = run(EngineConfig::default(), &service.lines());
    let told = incidents(&outputs);
    let closed = told.iter().find(|(_, incident)| incident.closed.is_some()).unwrap().1;
    assert!(closed.times.recovered.is_none(), "it ended, it did not recover");
    let last = told.last().unwrap().1;
    assert_eq!((last.trigger.kind, last.closed, last.verdict), (TriggerKind::ProcessExit, None, closed.verdict));
    assert!(last.id != closed.id && last.causes == closed.causes && !last.causes.is_empty());
    assert!(last.trigger.detail.contains("descriptors of 4096"), "{}", last.trigger.detail);
    assert!(view.targets.is_empty());
    assert!(view.lost.iter().any(|lost| lost.probe == "engine.unknown_process" && lost.events == 2));
}

#[test]
fn nobody_is_limited_who_cannot_obey() {
    let stalls = |reports: bool| {
        let mut service = Service::start();
        for second in 2..40_u64 {
            let now = second * SECOND;
            service.load(9, None);
            service.at(now);
            if reports {
                service.report();
            }
            service.at(now + ms(400));
            service.stall(now, second, true);
        }
        service.lines()
    };
    let config = || serde_json::from_str::<EngineConfig>(r#"{"enforce":["guard"]}"#).unwrap();
    let acts = |lines| run(config(), &lines).0.iter().filter(|(_, output)| matches!(output, Output::Act(_))).count();
    assert_eq!(acts(stalls(false)), 0);
    assert!(acts(stalls(true)) >= 1);
}

#[test]
fn an_incident_stays_open_until_everything_is_given_back() {
    let mut service = Service::start();
    service.load(9, None);
    for second in 2..120_u64 {
        let now = second * SECOND;
        service.at(now);
        service.report();
        if (20..30).contains(&second) {
            service.at(now + ms(400));
            service.stall(now, second, true);
        }
    }
    let config = r#"{"enforce":["guard"],"breaker":{"settle_seconds":50}}"#;
    let (outputs, _) = run(serde_json::from_str(config).unwrap(), &service.lines());
    let released = outputs.iter().find_map(|(at, output)| match output {
        Output::Act(act) if act.change == Change::Release => Some(*at),
        _ => None,
    });
    let told = incidents(&outputs);
    let (closed, last) = told.last().unwrap();
    assert!(last.times.recovered.is_some_and(|at| at < 42 * SECOND), "{:?}", last.times);
    assert!(
        last.closed.is_some() && released.is_some_and(|at| (80 * SECOND..=*closed).contains(&at)),
        "{released:?} {closed}"
    );
}

#[test]
fn spans_without_a_pid_find_the_only_target() {
    let text = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: n}\nspec:\n  service: front\n  indicator: {spec: {ratioMetric: {good: {metricSource: {type: snowshed, spec: {status: '< 500'}}}, total: {metricSource: {type: snowshed, spec: {}}}}}}\n  timeWindow: [{duration: 1h, isRolling: true}]\n  budgetingMethod: Occurrences\n  objectives: [{target: 0.99}]\n";
    let mut service = Service::start();
    for n in 15..80_u64 {
        service.at(n * SECOND);
        service.span(n, n * SECOND - ms(10), n * SECOND, 503);
    }
    let mut lines = service.lines();
    for (_, observation) in &mut lines {
        if let Observation::Request(request) = observation {
            (request.pid, request.service) = (None, "front".into());
        }
    }
    let config = EngineConfig { slos: slo::parse(text, "f").unwrap(), ..EngineConfig::default() };
    let (outputs, view) = run(config, &lines);
    let told = incidents(&outputs);
    assert_eq!(told[0].1.trigger.kind, TriggerKind::SloWindows);
    assert_eq!((told[0].1.pid, told[0].1.name.as_str()), (PID, NAME));
    assert!(view.slos[0].budget_used.unwrap() > 99.0);
}

#[test]
fn a_number_given_to_another_process_starts_afresh() {
    let mut service = leaking(25, 1, 4_096);
    let seen = |started| ProcessSeen { pid: PID, name: "other".into(), started, parent: None, instance: None };
    service.see(Observation::Process(seen(SECOND / 2 + ms(20))));
    let kept = run(EngineConfig::default(), &service.lines()).1;
    assert!(kept.targets[0].fds.orphaned > 0, "a start told a little differently is the same process");
    let mut service = leaking(25, 1, 4_096);
    service.see(Observation::Process(seen(24 * SECOND)));
    let (outputs, view) = run(EngineConfig::default(), &service.lines());
    assert_eq!((view.targets[0].fds.live, view.targets[0].name.as_str()), (0, "other"));
    let told = incidents(&outputs);
    assert!(told.iter().any(|(_, incident)| incident.closed.is_some()));
    assert_eq!(told.last().unwrap().1.trigger.kind, TriggerKind::ProcessExit);
}

#[test]
fn a_child_works_for_a_connection_that_only_its_parent_holds() {
    let child = |closed: bool| {
        let mut service = Service::start();
        let connection = service.hold(HoldingKind::TcpAccepted, SiteId(0), Owner::default());
        let child = ProcessSeen { pid: 77, name: "worker".into(), started: SECOND, parent: Some(PID), instance: None };
        service.see(Observation::Process(child));
        for second in 2..30_u64 {
            service.at(second * SECOND);
            if closed && second == 15 {
                service.give_back(connection);
            }
            service.snapshot(64);
            service.lend(77, connection, 4);
        }
        run(EngineConfig::default(), &service.lines()).1
    };
    assert_eq!(child(false).targets[0].fds.orphaned, 0);
    assert_eq!(child(true).targets[0].fds.orphaned, 4);
}

#[test]
fn a_stall_nobody_waited_for_stays_below_the_bar() {
    let mut service = Service::start();
    for second in 2..30_u64 {
        let now = second * SECOND;
        service.at(now + ms(800));
        service.stall(now, second, false);
    }
    let mut lines = service.lines();
    for (_, observation) in &mut lines {
        if let Observation::Stall(stall) = observation {
            assert_eq!(stall.trace.map(|id| id.0[15]), Some(trace(stall.since / SECOND).0[15]));
            (stall.trace, stall.join) = (None, Join::None);
        }
    }
    let (outputs, _) = run(EngineConfig::default(), &lines);
    let told = incidents(&outputs);
    let (_, last) = told.last().unwrap();
    assert_eq!(last.verdict, Verdict::Unknown);
    assert_eq!(last.causes[0].kind, CauseKind::EventLoopStall);
}

#[test]
fn a_handler_that_opens_at_several_lines_is_one_culprit_that_remembers_its_worst() {
    let mut service = Service::start();
    let mut kept = Vec::new();
    for second in 2..40 {
        for half in 0..2 {
            let n = second * 2 + half;
            service.at(second * SECOND + half * ms(500));
            kept.extend([7, 8, 9].map(|site| service.hold_for(n, HoldingKind::File, site)));
            let begun = second * SECOND + half * ms(500);
            service.span(n, begun, begun + ms(40), 200);
        }
        service.at(second * SECOND + ms(950));
        service.snapshot(4_096);
    }
    let leaked = kept.len();
    // Two of three are given back: some are still held, by requests that ended long ago.
    for second in 40..50 {
        service.at(second * SECOND);
        kept.drain(..kept.len().min(leaked / 12)).for_each(|file| service.give_back(file));
        service.snapshot(4_096);
    }
    let (outputs, _) = run(EngineConfig::default(), &service.lines());
    let told = incidents(&outputs);
    let (_, at_worst) = told.iter().rfind(|(at, _)| *at < 40 * SECOND).unwrap();
    assert_eq!(at_worst.causes.len(), 1, "{:?}", at_worst.causes);
    assert!(at_worst.causes[0].title.contains("files held by requests that ended, opened at 3 places"));
    let (_, last) = told.last().unwrap();
    assert!(last.causes[0].title.contains(" of up to "), "{}", last.causes[0].title);
    assert!(last.causes[0].evidence[0].after >= at_worst.causes[0].evidence[0].after);
}

#[test]
fn who_is_killed_for_lack_of_memory_leaves_an_incident_that_closes_and_who_just_ends_leaves_none() {
    let dies = |killed: bool| {
        let mut service = Service::start();
        service.at(5 * SECOND);
        service.snapshot(64);
        if killed {
            service.see(Observation::OomKill(OomKill { pid: PID, at: 5 * SECOND }));
        }
        service.at(6 * SECOND);
        service.see(Observation::Exit(ProcessExit { pid: PID, at: 6 * SECOND }));
        service.at(80 * SECOND);
        service.loop_time(0);
        run(EngineConfig::default(), &service.lines())
    };
    let (outputs, view) = dies(true);
    let told = incidents(&outputs);
    assert_eq!(told.len(), 2, "opened and closed: {told:?}");
    let (opened, closed) = (told[0].1, told[1].1);
    assert_eq!((opened.trigger.kind, opened.severity, opened.closed), (TriggerKind::ProcessExit, Severity::Page, None));
    assert!(opened.trigger.detail.contains("for lack of memory"), "{}", opened.trigger.detail);
    assert_eq!((opened.verdict, opened.causes[0].kind), (Verdict::Named, CauseKind::OomKill));
    assert_eq!(opened.causes[0].evidence[0].since, 5 * SECOND, "it dates from the kill");
    assert!(closed.closed.is_some_and(|at| at >= 66 * SECOND) && closed.times.recovered.is_none());
    assert_eq!(view.incidents.len(), 1);
    assert!(incidents(&dies(false).0).is_empty());
}

#[test]
fn a_trace_tells_what_is_held_for_it_and_is_forgotten_when_there_are_newer_ones() {
    let mut config = EngineConfig::default();
    config.caps.traces = 50;
    let lines = leaking(25, 1, 4_096).lines();
    let mut engine = Engine::new(config);
    let mut out = Vec::new();
    lines.iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    let view = engine.trace(&trace(249)).unwrap();
    let held = &view.descriptors[0];
    assert_eq!((held.kind, held.site, held.made, held.live), (HoldingKind::File, SiteId(7), 1, 1));
    assert_eq!((view.requests[0].status, view.requests[0].ended.is_some()), (Some(200), true));
    assert_eq!(view.processes[0].name, NAME);
    let kept = engine.traces();
    assert_eq!((kept.kept, kept.most), (50, 50));
    assert!(kept.evicted > 50 && engine.trace(&trace(101)).is_none(), "{kept:?}");
    let bare = engine.trace(&trace(21)).unwrap();
    assert_eq!((bare.requests.len(), bare.descriptors.len()), (1, 0), "given back before anybody looked");
    let lost = engine.view(25 * SECOND).lost;
    assert!(lost.iter().any(|lost| lost.probe == "engine.traces" && lost.events == kept.evicted));
}
