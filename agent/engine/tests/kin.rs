//! Processes of one service that wait for one another's disk: the disk is named, not the loops of those that wait.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        Blocked, CauseKind, CpuTime, Incident, Join, Level, Nanos, Observation, Output, ProcessSeen, Resource, SiteId,
        Stall, Verdict,
    },
};
use std::collections::BTreeMap;

const SECOND: Nanos = 1_000_000_000;
const FIRST: u32 = 100;
const WORKERS: [u32; 4] = [101, 102, 103, 104];

/// Four workers of one server for two minutes; from the first on each of them is stuck behind a lock for 400 ms of each
/// second, and waits for a disk for 200 ms if `disk` says so.
fn run(parent: Option<u32>, disk: bool) -> Vec<Incident> {
    run_with(parent, disk, "futex")
}

/// The same with another call that they are stuck in. No loop may be named.
fn run_with(parent: Option<u32>, disk: bool, syscall: &str) -> Vec<Incident> {
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    let mut told: BTreeMap<u64, Incident> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut see = |at: Nanos, observation: Observation| {
        engine.step(at, &observation, &mut out);
        for output in out.drain(..) {
            let Output::Incident(incident) = output else { continue };
            let loops = incident.causes.first().is_some_and(|cause| cause.kind == CauseKind::EventLoopStall);
            if incident.verdict == Verdict::Named && loops {
                wrong.push(incident.id);
            }
            told.insert(incident.id, *incident);
        }
    };
    let process = |pid, parent| {
        Observation::Process(ProcessSeen { pid, name: "server".into(), started: SECOND / 2, parent, instance: None })
    };
    see(SECOND, process(FIRST, None));
    WORKERS.iter().for_each(|pid| see(SECOND, process(*pid, parent)));
    for second in 2..120 {
        let at = second * SECOND;
        for pid in WORKERS {
            let threads = Level { pid, at, resource: Resource::Threads, value: 1, limit: None };
            see(at, Observation::Level(threads));
            let cpu = CpuTime { pid, at, over_ns: SECOND, used_ns: SECOND / 50, delay_ns: 0, throttled: None };
            see(at, Observation::CpuTime(cpu));
            if second < 60 {
                continue;
            }
            see(at, Observation::Stall(stuck(pid, at, syscall)));
            if disk {
                see(at, Observation::Blocked(waits(pid, at)));
            }
        }
    }
    assert!(wrong.is_empty(), "loops were named in {wrong:?}");
    told.into_values().collect()
}

fn stuck(pid: u32, until: Nanos, syscall: &str) -> Stall {
    Stall {
        pid,
        tid: pid,
        thread: "server".into(),
        instance: 5,
        since: until - SECOND * 2 / 5,
        until,
        trace: None,
        join: Join::None,
        site: SiteId(0),
        on_cpu: false,
        syscall: Some(syscall.into()),
        starved: true,
        spent: None,
    }
}

fn waits(pid: u32, at: Nanos) -> Blocked {
    Blocked {
        pid,
        at,
        wait_ns: SECOND / 5,
        longest_ns: SECOND / 5,
        tid: pid,
        thread: "server".into(),
        syscall: "fdatasync".into(),
        function: String::new(),
        device: Some("loop3".into()),
        site: SiteId(0),
    }
}

#[test]
fn who_waits_for_a_process_that_waits_for_a_disk_waits_for_the_disk() {
    let told = run(Some(FIRST), true);
    assert!(!told.is_empty());
    for incident in &told {
        let cause = &incident.causes[0];
        assert!(incident.verdict == Verdict::Named && cause.kind == CauseKind::DiskStall, "{incident:#?}");
    }
}

#[test]
fn who_writes_to_a_disk_is_not_a_loop_that_stalls() {
    let told = run_with(Some(FIRST), true, "fdatasync");
    assert!(!told.is_empty(), "each of them waits for the disk itself");
}

#[test]
fn alone_in_a_lock_of_others_is_not_known_to_be_at_fault() {
    let (without, strangers) = (run(Some(FIRST), false), run(None, true));
    assert!(!without.is_empty() && !strangers.is_empty());
    for incident in without.iter().chain(&strangers) {
        assert_eq!(incident.verdict, Verdict::Unknown, "strangers' disks are their own: {incident:#?}");
    }
}
