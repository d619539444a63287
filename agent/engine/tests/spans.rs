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
    let span = |n: u64, peer: Option<u32>, started| {
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
            peer: peer.map(|number| Caller { number, certain: true }),
            serial: true,
        })
    };
    // Two requests at the same time: one has a thread to itself, and the other's span does not say on which connection it was.
    service.at(4 * SECOND);
    service.see(span(1, Some(7), 2 * SECOND));
    service.at(10 * SECOND);
    service.hold(HoldingKind::File, SiteId(5), of(8, true));
    service.hold(HoldingKind::Pipe, SiteId(6), of(9, false));
    service.see(span(2, Some(8), 9_500_000_000));
    service.see(span(3, None, 9_500_000_000));
    for second in 11..30 {
        service.at(second * SECOND);
        service.snapshot(1_000);
    }
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    let lines = service.lines();
    let (early, late) = lines.split_at(lines.partition_point(|(now, _)| *now <= 15 * SECOND));
    let told = |engine: &Engine, n| {
        let descriptors = engine.trace(&trace(n)).expect("a span told of it").descriptors;
        descriptors.iter().map(|one| (one.kind, one.join, one.ambiguity, one.live)).collect::<Vec<_>>()
    };
    early.iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    let file = [(HoldingKind::File, Join::Socket, 1, 1)];
    assert_eq!((told(&engine, 2).as_slice(), told(&engine, 3).len()), (file.as_slice(), 0), "it may yet be settled");
    late.iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    assert_eq!((told(&engine, 1).len(), told(&engine, 2).as_slice()), (0, file.as_slice()));
    let [(HoldingKind::Pipe, Join::Socket, 2.., 1)] = told(&engine, 3)[..] else { panic!("{:?}", told(&engine, 3)) };
}
