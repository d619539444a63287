//! What the engine makes of spans that come as they come: more than once, from anybody.

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Call, CallKind, Observation, SpanId},
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
