//! Processes of one service that suffer from the same: one incident speaks for all of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        Blocked, CauseKind, CpuTime, Incident, Join, Nanos, Observation, Output, ProcessExit, ProcessSeen, Request,
        Severity, SiteId, Spent, Stall, TraceId, TriggerKind, Verdict,
    },
    slo::parse,
};
use std::collections::BTreeMap;

const SECOND: Nanos = 1_000_000_000;
const FIRST: u32 = 100;
const WORKERS: [u32; 4] = [101, 102, 103, 104];
const OBJECTIVE: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: {name: answers}
spec:
  service: server
  indicator:
    metadata: {name: answers}
    spec:
      ratioMetric:
        counter: true
        good:  {metricSource: {type: snowshed, spec: {route: "GET /", status: "< 500"}}}
        total: {metricSource: {type: snowshed, spec: {route: "GET /"}}}
  timeWindow: [{duration: 1h, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.95}]
"#;

/// What happens to a worker in a second.
#[derive(Clone, Copy, PartialEq)]
enum Ill {
    /// Nothing.
    Well,
    /// It waits for a disk, and its loop with it.
    Disk,
    /// It waits for a disk, and its requests fail.
    DiskAndFails,
    /// Its loop computes.
    Computes,
    /// It ends.
    Ends,
}

/// What was told of each incident last in two minutes, and how many the API shows at the end.
fn run(parent: Option<u32>, name: fn(u32) -> &'static str, ill: fn(u32, u64) -> Ill) -> (Vec<Incident>, usize) {
    run_until(120, parent, name, ill)
}

fn run_until(
    end: u64,
    parent: Option<u32>,
    name: fn(u32) -> &'static str,
    ill: fn(u32, u64) -> Ill,
) -> (Vec<Incident>, usize) {
    let config = EngineConfig { slos: parse(OBJECTIVE, "slo.yaml").unwrap(), ..EngineConfig::default() };
    let (mut engine, mut out) = (Engine::new(config), Vec::new());
    let mut told: BTreeMap<u64, Incident> = BTreeMap::new();
    let mut ended = Vec::new();
    let mut see = |engine: &mut Engine, at: Nanos, observation: Observation| {
        engine.step(at, &observation, &mut out);
        told.extend(out.drain(..).filter_map(|output| match output {
            Output::Incident(incident) => Some((incident.id, *incident)),
            _ => None,
        }));
    };
    let process = |pid, parent| {
        let name = name(pid).into();
        Observation::Process(ProcessSeen { pid, name, started: SECOND / 2, parent, instance: None })
    };
    see(&mut engine, SECOND, process(FIRST, None));
    WORKERS.iter().for_each(|pid| see(&mut engine, SECOND, process(*pid, parent)));
    for second in 2..end {
        let at = second * SECOND;
        for pid in WORKERS.into_iter().filter(|pid| !ended.contains(pid)).collect::<Vec<_>>() {
            let ill = ill(pid, second);
            if ill == Ill::Ends {
                ended.push(pid);
                see(&mut engine, at, Observation::Exit(ProcessExit { pid, at }));
                continue;
            }
            let cpu = CpuTime { pid, at, over_ns: SECOND, used_ns: SECOND / 50, delay_ns: 0, throttled: None };
            see(&mut engine, at, Observation::CpuTime(cpu));
            if ill != Ill::Well {
                see(&mut engine, at, Observation::Stall(stuck(pid, at, ill == Ill::Computes)));
            }
            if matches!(ill, Ill::Disk | Ill::DiskAndFails) {
                see(&mut engine, at, Observation::Blocked(waits(pid, at)));
            }
            for n in 0..10 {
                let failed = ill == Ill::DiskAndFails;
                see(&mut engine, at, Observation::Request(request(pid, at, n, failed)));
            }
        }
    }
    let shown = engine.view(end * SECOND).incidents.len();
    (told.into_values().collect(), shown)
}

fn request(pid: u32, ended: Nanos, n: u64, failed: bool) -> Request {
    Request {
        pid: Some(pid),
        service: "server".into(),
        trace: TraceId((u128::from(ended) << 64 | u128::from(pid) << 8 | u128::from(n)).to_be_bytes()),
        span: None,
        route: "GET /".into(),
        started: ended - SECOND / 100,
        ended,
        first_byte: None,
        status: Some(if failed { 500 } else { 200 }),
        failed,
        weight: 1.0,
        peer: None,
        serial: false,
    }
}

fn stuck(pid: u32, until: Nanos, on_cpu: bool) -> Stall {
    let length = SECOND * 2 / 5;
    Stall {
        pid,
        tid: pid,
        thread: "server".into(),
        instance: 5,
        since: until - length,
        until,
        trace: None,
        join: Join::None,
        site: SiteId(9),
        on_cpu,
        syscall: (!on_cpu).then(|| "fdatasync".into()),
        starved: true,
        spent: on_cpu.then_some(Spent { running: length, queued: 0, blocked: 0 }),
    }
}

fn waits(pid: u32, at: Nanos) -> Blocked {
    Blocked {
        pid,
        at,
        wait_ns: SECOND * 9 / 10,
        longest_ns: SECOND * 9 / 10,
        tid: pid,
        thread: "server".into(),
        syscall: "fdatasync".into(),
        function: String::new(),
        device: Some("loop3".into()),
        site: SiteId(0),
    }
}

fn all_wait(_: u32, second: u64) -> Ill {
    if second < 60 { Ill::Well } else { Ill::Disk }
}

fn same(_: u32) -> &'static str {
    "server"
}

#[test]
fn workers_that_wait_for_one_disk_are_one_incident_that_names_them() {
    let (told, shown) = run(Some(FIRST), same, all_wait);
    let [one] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((one.verdict, one.causes[0].kind, shown), (Verdict::Named, CauseKind::DiskStall, 1));
    let mut all = one.also.clone();
    all.push(one.pid);
    all.sort_unstable();
    assert_eq!(all, WORKERS);
}

#[test]
fn strangers_and_other_services_keep_their_own() {
    assert_eq!(run(None, same, all_wait).0.len(), 4, "no parent is watched");
    let (told, _) = run(Some(FIRST), |pid| if pid == 104 { "other" } else { "server" }, all_wait);
    assert_eq!(told.len(), 2, "{told:#?}");
}

#[test]
fn another_trouble_is_told_apart() {
    let (told, _) = run(Some(FIRST), same, |pid, second| match second {
        ..60 => Ill::Well,
        _ if pid == 104 => Ill::Computes,
        _ => Ill::Disk,
    });
    let mut kinds: Vec<_> = told.iter().map(|one| (one.causes[0].kind, one.also.len())).collect();
    kinds.sort_by_key(|(_, also)| *also);
    assert_eq!(kinds, [(CauseKind::EventLoopStall, 0), (CauseKind::DiskStall, 2)]);
}

#[test]
fn who_spoke_and_ends_is_followed_by_another_and_a_death_is_told_of_each() {
    // The one that speaks ends at 80, a silent one at 100.
    let (told, _) = run(Some(FIRST), same, |pid, second| match (pid, second) {
        (101, 80) | (104, 100) => Ill::Ends,
        _ => all_wait(pid, second),
    });
    let deaths: Vec<u32> =
        told.iter().filter(|one| one.trigger.kind == TriggerKind::ProcessExit).map(|one| one.pid).collect();
    assert_eq!(deaths, [101, 104]);
    assert!(told.iter().all(|one| one.trigger.kind != TriggerKind::ProcessExit || one.also.is_empty()), "{told:#?}");
    let lives: Vec<_> = told.iter().filter(|one| one.trigger.kind != TriggerKind::ProcessExit).collect();
    let [first, second] = lives.as_slice() else { panic!("{lives:#?}") };
    assert!(first.pid == 101 && first.closed == Some(80 * SECOND), "{first:#?}");
    assert_eq!((second.pid, second.also.as_slice()), (102, [103].as_slice()), "one incident for those that are left");
}

#[test]
fn what_was_told_is_told_to_its_end() {
    // The second falls ill of something else first, which is told; at 80 of the same as the others.
    let (told, _) = run(Some(FIRST), same, |pid, second| match (pid, second) {
        (102, 30..80) => Ill::Computes,
        (102, 80..95) | (101 | 103 | 104, 60..95) => Ill::Disk,
        _ => Ill::Well,
    });
    let whose: Vec<_> = told.iter().map(|one| (one.pid, one.also.as_slice(), one.closed.is_some())).collect();
    assert_eq!(whose, [(102, [].as_slice(), true), (101, [103, 104].as_slice(), true)]);
}

#[test]
fn what_is_more_urgent_is_told_although_another_speaks() {
    // All wait for one disk; the requests of the last one fail too, for three windows of an objective.
    let (told, _) = run_until(220, Some(FIRST), same, |pid, second| match (pid, second) {
        (_, ..60) => Ill::Well,
        (104, 75..) => Ill::DiskAndFails,
        _ => Ill::Disk,
    });
    let whose: Vec<_> = told.iter().map(|one| (one.pid, one.severity, one.also.as_slice())).collect();
    assert!(whose[0].0 == 101 && whose[0].1 < Severity::Page && whose[0].2 == [102, 103], "{whose:?}");
    assert!(whose.iter().any(|(pid, severity, _)| (*pid, *severity) == (104, Severity::Page)), "{whose:?}");
}
