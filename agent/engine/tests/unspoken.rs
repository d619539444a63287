//! Services without spans: that requests suffer, and whose answers are late, is told by their connections alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{
        CauseKind, CpuTime, HoldingKind, Incident, Join, LockKind, LockWait, Observation, Output, Owner, Peer,
        Severity, SiteId, Spent, Stall, TcpLook, TcpPeer, Throttled, Verdict,
    },
};
use support::{PID, SECOND, Service, ms};

/// Two seconds of it.
#[derive(Clone, Copy)]
struct Step {
    /// Its own answers, and as many of the database.
    answers: u64,
    /// What its own answers take, and those of the database, milliseconds.
    own: u64,
    others: u64,
    /// Connects to the database that are refused.
    refused: u64,
    /// Of 100 segments to the database, those sent again.
    resent: u64,
    /// Threads that wait for a lock.
    waiters: u32,
    /// Periods of twenty in which its limit held it back.
    throttled: u64,
    /// Stalls of its loop: how long, and the share of it that the thread waited for a processor; milliseconds.
    stall: Option<(u64, u64)>,
}

const CALM: Step =
    Step { answers: 60, own: 9, others: 3, refused: 0, resent: 0, waiters: 0, throttled: 0, stall: None };

fn see(service: &mut Service, step: Step) {
    let (pid, at) = (PID, service.now());
    let database = Peer { address: "10.0.0.7".parse().unwrap(), port: Some(5432) };
    let (answers, reads) = (step.answers, step.answers);
    let one = |peer, took: u64, segments, resent, failures| TcpPeer {
        peer: Some(peer),
        connections: 4,
        segments,
        data_segments: segments,
        resent,
        reads,
        answers,
        answer_us: took * 1_000 * answers,
        failures,
        ..TcpPeer::default()
    };
    let refused = if step.refused > 0 { vec![(111, step.refused)] } else { Vec::new() };
    let clients = Peer { address: "10.0.1.9".parse().unwrap(), port: None };
    let peers = vec![
        one(database, step.others, 100, step.resent, refused),
        // Pages are large: they hide what is lost of the questions.
        one(clients, step.own, 20_000, 1, Vec::new()),
    ];
    service.see(Observation::Tcp(TcpLook { pid, at, peers, ..TcpLook::default() }));
    let throttled = Some(Throttled { periods: step.throttled, ns: 0 });
    let (over_ns, used_ns, delay_ns) = (2 * SECOND, ms(700), ms(20));
    service.see(Observation::CpuTime(CpuTime { pid, at, over_ns, used_ns, delay_ns, throttled }));
    if step.waiters > 0 {
        let wait_ns = u64::from(step.waiters) * 2 * SECOND;
        let (word, kind, waits, hand_overs, thread) = (64, LockKind::Word, 9, 2, "worker".to_owned());
        let (waiters, longest_ns, site, holder) = (step.waiters, ms(400), SiteId(21), None);
        let told =
            LockWait { pid, word, kind, waiters, waits, wait_ns, longest_ns, hand_overs, site, thread, holder, at };
        service.see(Observation::LockWait(told));
    }
    if let Some((length, queued)) = step.stall {
        let spent = Spent { queued: ms(queued), running: ms(length - queued), blocked: 0 };
        for n in 1..3 {
            let until = at.saturating_sub(ms(900 * (2 - n)));
            service.see(Observation::Stall(Stall {
                pid,
                tid: pid,
                thread: "loop".into(),
                since: until.saturating_sub(ms(length)),
                until,
                on_cpu: true,
                syscall: None,
                instance: 4,
                starved: true,
                site: SiteId(11),
                trace: None,
                join: snowshed_engine::model::Join::None,
                spent: Some(spent),
            }));
        }
    }
}

/// A minute of calm, then half a minute of the other; all that is told of it.
fn live(ill: Step) -> Vec<Incident> {
    let (mut service, mut engine, mut out, mut told) =
        (Service::start(), Engine::new(EngineConfig::default()), Vec::new(), Vec::new());
    for second in (4..92_u64).step_by(2) {
        service.at(second * SECOND);
        see(&mut service, if second < 60 { CALM } else { ill });
    }
    for (now, observation) in service.lines() {
        engine.step(now, &observation, &mut out);
        told.extend(out.drain(..).filter_map(|output| match output {
            Output::Incident(incident) => Some(*incident),
            _ => None,
        }));
    }
    told
}

/// What is named at first and at the end.
fn named(ill: Step) -> (CauseKind, CauseKind, String) {
    let told = live(ill);
    let first = told.iter().find(|one| one.verdict == Verdict::Named).unwrap();
    let last = told.last().unwrap();
    assert_eq!(last.verdict, Verdict::Named, "{last:?}");
    (first.causes[0].kind, last.causes[0].kind, last.causes[0].title.clone())
}

#[test]
fn late_answers_of_others_are_named_with_their_peer() {
    let (first, last, title) = named(Step { own: 612, others: 600, ..CALM });
    assert_eq!((first, last), (CauseKind::DownstreamSlow, CauseKind::DownstreamSlow));
    assert!(title.contains("10.0.0.7:5432 answers after 600 ms"), "{title}");
    assert_eq!(live(Step { others: 600, ..CALM }), [], "nobody waits for them");
}

#[test]
fn a_lock_is_named_once_answers_take_long() {
    assert_eq!(named(Step { own: 480, waiters: 5, ..CALM }).1, CauseKind::LockContention);
    assert_eq!(live(Step { waiters: 5, ..CALM }), []);
}

#[test]
fn slow_answers_alone_are_told_after_half_a_minute_and_nobody_is_called() {
    let told = live(Step { own: 480, ..CALM });
    let [one] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((one.verdict, one.severity), (Verdict::Unknown, Severity::Info));
    assert!(one.opened >= 88 * SECOND && one.trigger.detail.contains("answers take 480 ms"), "{one:?}");
    assert_eq!(live(Step { own: 40, ..CALM }), [], "as quick as anybody wants");
}

#[test]
fn connects_that_fail_again_and_again_harm_although_answers_are_quick() {
    assert_eq!(named(Step { own: 2, refused: 60, ..CALM }).1, CauseKind::DownstreamSlow);
    assert_eq!(live(Step { refused: 2, ..CALM }), [], "one a second, perhaps of a collector that nobody needs");
}

#[test]
fn what_is_lost_of_questions_is_not_hidden_by_answers() {
    assert_eq!(named(Step { resent: 4, ..CALM }).1, CauseKind::TcpRetransmits);
}

#[test]
fn a_loop_that_waits_for_a_processor_is_not_named_before_the_limit_is() {
    let (first, last, _) = named(Step { own: 250, throttled: 19, stall: Some((250, 200)), ..CALM });
    assert_eq!((first, last), (CauseKind::CpuThrottled, CauseKind::CpuThrottled));
    // Who computes for so long that it were a stall without the waiting has one.
    let (first, last, _) = named(Step { own: 250, stall: Some((600, 300)), ..CALM });
    assert_eq!((first, last), (CauseKind::EventLoopStall, CauseKind::EventLoopStall));
}

#[test]
fn a_loop_that_much_more_is_asked_of_is_not_named_before_the_crowd_is() {
    let (first, last, _) = named(Step { answers: 450, own: 250, stall: Some((230, 0)), ..CALM });
    assert_eq!((first, last), (CauseKind::TrafficSurge, CauseKind::TrafficSurge));
}

/// When a loop is named that computes for 300 ms of each second from 60 s on, while so many more connect; of `tells` it is known
/// how much arrives, and that is as ever.
fn named_while(more: usize, tells: bool) -> Option<u64> {
    let mut service = Service::start();
    for second in 1..90_u64 {
        let come = match second {
            1 => 6,
            60 => more,
            _ => 0,
        };
        for _ in 0..come {
            service.hold(HoldingKind::TcpAccepted, SiteId(3), Owner::default());
        }
        service.at(second * SECOND);
        service.snapshot(1_024);
        if tells && second % 2 == 0 {
            see(&mut service, CALM);
        }
        if second >= 60 {
            service.at(second * SECOND + ms(300));
            service.stall(second * SECOND, second, true);
        }
    }
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    for (now, mut observation) in service.lines() {
        if let Observation::Stall(stall) = &mut observation {
            (stall.on_cpu, stall.syscall, stall.trace, stall.join) = (true, None, None, Join::None);
        }
        engine.step(now, &observation, &mut out);
        let is_named = |output: Output| matches!(output, Output::Incident(told) if told.verdict == Verdict::Named);
        if out.drain(..).any(is_named) {
            return Some(now / SECOND);
        }
    }
    None
}

#[test]
fn a_loop_is_not_named_while_only_those_who_came_tell_of_a_crowd() {
    assert!(named_while(0, true).is_some_and(|at| at <= 63), "nobody came");
    assert!(named_while(80, true).is_some_and(|at| (68..=72).contains(&at)), "no more arrives than ever");
    assert!(named_while(0, false).is_some_and(|at| at <= 63));
    assert_eq!(named_while(80, false), None, "nothing tells how much arrives");
    assert!(named_while(12, false).is_some_and(|at| at <= 63), "twelve are no crowd");
}
