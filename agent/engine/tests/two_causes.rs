//! Two troubles of one process at the same time: both are told, and the one that the incident is about stays the first.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{CauseKind, HoldingKind, Incident, Output},
};
use support::{
    PID, SECOND, Service, ms,
    shortage::{CALM, Seen, Step},
};

/// From then on each request leaves a pipe open; and from then on something else is wrong, too.
const LEAKS: u64 = 120;
const BESIDE: u64 = 140;

/// What was told of the incident until some seconds after the second trouble began.
fn told(leaks: bool, beside: Step) -> Vec<Incident> {
    let (mut service, mut seen) = (Service::start(), Seen::new(PID));
    for second in (4..BESIDE + 20).step_by(2) {
        service.at(second * SECOND);
        seen.step(&mut service, if second >= BESIDE { beside } else { CALM });
        for n in (0..6).filter(|_| leaks && second >= LEAKS) {
            let (id, now) = (1_000_000 + second * 10 + n, service.now());
            service.hold_for(id, HoldingKind::Pipe, 7);
            service.span(id, now.saturating_sub(ms(40)), now, 200);
        }
        service.at(second * SECOND + ms(1_900));
        service.snapshot(65_536);
    }
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    service.lines().iter().for_each(|(now, observation)| engine.step(*now, observation, &mut out));
    out.into_iter().filter_map(|output| if let Output::Incident(told) = output { Some(*told) } else { None }).collect()
}

fn believed(told: &[Incident]) -> Vec<CauseKind> {
    let last = told.last().unwrap();
    last.causes.iter().filter(|cause| cause.confidence >= 0.6).map(|cause| cause.kind).collect()
}

#[test]
fn what_would_open_an_incident_by_itself_is_told_beside_a_leak() {
    let all = [
        (CauseKind::LockContention, Step { waiters: 2, requests: (4, 700), ..CALM }),
        (CauseKind::TcpRetransmits, Step { segments: (4_000, 120), requests: (4, 600), ..CALM }),
        (CauseKind::DownstreamSlow, Step { refused: 3, status: 503, ..CALM }),
        (CauseKind::DiskStall, Step { blocked: 1, pressure: (5, 40), requests: (4, 700), ..CALM }),
    ];
    for (kind, step) in all {
        let both = told(true, step);
        assert!(both.iter().all(|told| told.id == both[0].id), "{kind:?}: one incident");
        assert_eq!(believed(&both), [CauseKind::FdLeak, kind], "{kind:?}: {:?}", both.last().unwrap().causes);
        assert_eq!(believed(&told(false, step)), [kind], "{kind:?} by itself");
    }
    assert_eq!(believed(&told(true, CALM)), [CauseKind::FdLeak]);
}
