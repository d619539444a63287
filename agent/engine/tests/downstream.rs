//! Slow and failing calls to others: told from what the process does to itself, and with whom it calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Call, CallKind, Cause, CauseKind, Incident, Nanos, Observation, Output, SpanId, Verdict},
};
use support::{
    PID, SECOND, Service, ms,
    shortage::{CALM, Seen, Step},
    trace,
};

/// A cache, and a service behind HTTP.
const CACHE: &str = "redis cache:6379";
const BILLING: &str = "http billing:8080";

/// Two seconds: how long calls to cache and billing take and the work between them, milliseconds, and what fails.
#[derive(Clone, Copy)]
struct Spans {
    cache: u64,
    billing: u64,
    own: u64,
    fails: bool,
}

const WELL: Spans = Spans { cache: 4, billing: 10, own: 25, fails: false };

/// One request with its calls, which end before it does; their spans come first, as an SDK sends them.
fn ask(service: &mut Service, n: u64, spans: Spans) {
    // Times spread by a fifth.
    let ms = |time: u64| ms(time * (90 + n * 7 % 20)) / 100;
    let started = service.now() - SECOND / 10 - ms(spans.cache + spans.billing + spans.own);
    let mut at = started;
    let mut number = 0;
    for (kind, peer, time, failed) in
        [(CallKind::Database, CACHE, spans.cache, false), (CallKind::Http, BILLING, spans.billing, spans.fails)]
    {
        number += 1;
        service.see(Observation::Call(Call {
            pid: Some(PID),
            trace: trace(n),
            span: Some(SpanId((n * 8 + number).to_be_bytes())),
            kind,
            peer: peer.to_owned(),
            started: at,
            ended: at + ms(time),
            failed,
            weight: 1.0,
        }));
        at += ms(time);
    }
    service.span(n, started, at + ms(spans.own), if spans.fails { 502 } else { 200 });
}

/// A minute in which all is well, half of one in which it is not, and a minute more.
fn live(ill: impl Fn(&mut Service) -> (Spans, Step)) -> Vec<Incident> {
    let (mut service, mut seen, mut n) = (Service::start(), Seen::new(PID), 0);
    for second in (6..170_u64).step_by(2) {
        service.at(second * SECOND);
        let (spans, step) = if (66..110).contains(&second) { ill(&mut service) } else { (WELL, CALM) };
        for _ in 0..6 {
            n += 1;
            ask(&mut service, n, spans);
        }
        seen.step(&mut service, Step { requests: (0, 0), ..step });
    }
    run(&service.lines())
}

/// Every state of every incident that was told.
fn run(lines: &[(Nanos, Observation)]) -> Vec<Incident> {
    let (mut engine, mut out, mut told) = (Engine::new(EngineConfig::default()), Vec::new(), Vec::new());
    for (now, observation) in lines {
        while engine.next_deadline() > 0 && engine.next_deadline() < *now {
            engine.tick(engine.next_deadline(), &mut out);
        }
        engine.step(*now, observation, &mut out);
        told.extend(out.drain(..).filter_map(|output| match output {
            Output::Incident(incident) => Some(*incident),
            _ => None,
        }));
    }
    told
}

fn kinds(incident: &Incident) -> Vec<CauseKind> {
    incident.causes.iter().map(|cause| cause.kind).collect()
}

/// The cause that was named, of the incident as it was last told while it was open.
fn named(told: &[Incident]) -> &Cause {
    let last = told.iter().rfind(|incident| incident.closed.is_none()).unwrap();
    assert_eq!(last.verdict, Verdict::Named, "{last:?}");
    &last.causes[0]
}

#[test]
fn a_peer_that_answers_late_is_named_with_its_share_of_the_delay() {
    let told = live(|_| (Spans { billing: 800, ..WELL }, CALM));
    let cause = named(&told);
    assert_eq!(cause.kind, CauseKind::DownstreamSlow);
    assert!(cause.title.starts_with("calls to http billing:8080 take 7") && cause.title.contains("% of the delay"));
    let by = |signal: &str| cause.evidence.iter().find(|found| found.signal == format!("{signal} {BILLING}")).unwrap();
    let (time, share) = (by("calls.time"), by("calls.share_of_delay"));
    assert!((time.before - 0.01).abs() < 0.003 && (0.7..0.9).contains(&time.after) && time.n >= 10, "{time:?}");
    assert!(share.after > 0.97, "{share:?}");
    assert!(!cause.traces.is_empty() && cause.confidence >= 0.85, "{cause:?}");
    assert!((66..84).contains(&(told[0].opened / SECOND)), "{}", told[0].opened / SECOND);
    assert!(told.last().unwrap().closed.is_some() && told.iter().all(|incident| incident.id == told[0].id));
}

#[test]
fn own_slowness_with_calls_as_ever_is_not_blamed_on_a_peer() {
    let told = live(|_| (Spans { own: 900, ..WELL }, CALM));
    assert!(told.iter().all(|incident| !kinds(incident).contains(&CauseKind::DownstreamSlow)), "{told:?}");
    assert!(!told.is_empty() && told.iter().all(|incident| incident.verdict == Verdict::Unknown), "{told:?}");
    let short = Step { delay: 3_200, pressure: (85, 2), ..CALM };
    let told = live(|_| (Spans { own: 900, ..WELL }, short));
    assert_eq!(named(&told).kind, CauseKind::CpuSaturation);
}

#[test]
fn a_loop_that_stalls_makes_calls_seem_late_and_is_what_is_named() {
    let told = live(|service| {
        let now = service.now();
        service.stall(now - ms(700), now / SECOND * 100, true);
        (Spans { billing: 700, ..WELL }, CALM)
    });
    let cause = named(&told);
    assert_eq!(cause.kind, CauseKind::EventLoopStall, "{told:?}");
    for incident in told.iter().filter(|incident| kinds(incident).contains(&CauseKind::DownstreamSlow)) {
        let downstream = incident.causes.iter().find(|cause| cause.kind == CauseKind::DownstreamSlow).unwrap();
        assert!(downstream.confidence < 0.6, "{downstream:?}");
    }
}

#[test]
fn short_stalls_beside_a_peer_that_is_much_later_do_not_excuse_it() {
    let told = live(|service| {
        let now = service.now();
        service.stall(now - ms(300), now / SECOND * 100, true);
        (Spans { billing: 4_000, ..WELL }, CALM)
    });
    let last = told.iter().rfind(|incident| incident.closed.is_none()).unwrap();
    let downstream = last.causes.iter().find(|cause| cause.kind == CauseKind::DownstreamSlow).unwrap();
    assert!(downstream.confidence >= 0.6, "{:?}", last.causes);
}

#[test]
fn a_process_without_a_processor_writes_long_spans_itself() {
    let short = Step { delay: 3_200, pressure: (85, 2), ..CALM };
    let told = live(|_| (Spans { billing: 800, cache: 200, ..WELL }, short));
    assert_eq!(named(&told).kind, CauseKind::CpuSaturation, "{told:?}");
}

#[test]
fn calls_that_fail_are_what_requests_fail_of() {
    let told = live(|_| (Spans { fails: true, billing: 2, own: 1, ..WELL }, CALM));
    let cause = named(&told);
    assert_eq!(cause.kind, CauseKind::DownstreamSlow);
    assert!(cause.title.starts_with("100 % of the failed requests had a call to http billing:8080"), "{}", cause.title);
}

#[test]
fn connections_that_agree_make_it_surer() {
    let spans = Spans { billing: 800, ..WELL };
    let (alone, both) = (live(|_| (spans, CALM)), live(|_| (spans, Step { refused: 12, ..CALM })));
    let (alone, both) = (named(&alone), named(&both));
    assert_eq!(both.kind, CauseKind::DownstreamSlow);
    assert!(both.confidence > alone.confidence && both.confidence < 1.0, "{} {}", both.confidence, alone.confidence);
    let signals: Vec<&str> = both.evidence.iter().map(|found| found.signal.as_str()).collect();
    assert!(
        signals.contains(&"tcp.failed_connects") && signals.contains(&"calls.time http billing:8080"),
        "{signals:?}"
    );
    assert!(both.title.contains(BILLING) && both.title.contains("10.0.0.7:5432"), "{}", both.title);
}
