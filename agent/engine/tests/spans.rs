//! What the engine makes of spans that come as they come: more than once, from anybody.

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Call, CallKind, Caller, HoldingKind, Join, Observation, Owner, Request, SiteId, SpanId},
};
use support::{PID, SECOND, Service, trace};

#[test]
fn a_span_that_arrives_twice_counts_once() {
    let mut service = Service::start();
    service.at(5 * SECOND);
    for _ in 0..3 {
        for span in [1, 2] {
            service.see(Observation::Call(Call {
                pid: Some(PID),
                trace: trace(1),
                span: Some(SpanId([span; 8])),
                kind: CallKind::Database,
                peer: "redis cache:6379".into(),
                started: 4 * SECOND,
                ended: 5 * SECOND,
                failed: span == 2,
                weight: 1.0,
            }));
        }
    }
    let lines = service.lines();
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    lines.iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    let view = engine.view(5 * SECOND);
    let peer = &view.downstream[0].peers[0];
    assert_eq!((peer.calls, peer.failed), (2.0, 1.0));
    assert!(view.lost.iter().any(|lost| lost.probe == "engine.duplicate_spans" && lost.events == 4));
}

#[test]
fn what_only_its_connection_tells_of_is_in_the_trace_that_ran_there() {
    let mut service = Service::start();
    let of = |peer: u32, alone| {
        let connection = Some((u64::from(peer), 0));
        Owner { connection, join: Join::Socket, peer, alone, ..Owner::default() }
    };
    let span = |n: u64, peer: u32, started| {
        Observation::Request(Request {
            pid: Some(PID),
            service: support::NAME.into(),
            trace: trace(n),
            span: None,
            route: support::ROUTE.into(),
            started,
            ended: started + SECOND,
            first_byte: None,
            status: Some(200),
            failed: false,
            weight: 1.0,
            peer: Some(Caller { number: peer, certain: true }),
            serial: true,
        })
    };
    // Of two requests at the same time one has a thread to itself; on the other's connection nobody was certain.
    service.at(4 * SECOND);
    service.see(span(1, 7, 2 * SECOND));
    service.at(10 * SECOND);
    service.hold(HoldingKind::File, SiteId(5), of(8, true));
    service.hold(HoldingKind::Pipe, SiteId(6), of(9, false));
    service.see(span(2, 8, 9_500_000_000));
    service.see(span(3, 10, 9_500_000_000));
    for second in 11..30 {
        service.at(second * SECOND);
        service.snapshot(1_000);
    }
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    service.lines().iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    let descriptors = |n| engine.trace(&trace(n)).expect("a span told of it").descriptors;
    let told: Vec<_> = descriptors(2).iter().map(|one| (one.kind, one.join, one.ambiguity, one.live)).collect();
    assert_eq!(told, [(HoldingKind::File, Join::Socket, 1, 1)]);
    assert!(descriptors(1).is_empty());
    let others: Vec<_> = descriptors(3).iter().map(|one| (one.kind, one.ambiguity > 1)).collect();
    assert!(others.is_empty() || others == [(HoldingKind::Pipe, true)], "{others:?}");
}
