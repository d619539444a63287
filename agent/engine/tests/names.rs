//! Names that are not resolved: what is told of each kind of failure, and what only looks like one.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{CauseKind, Incident, Output, Verdict},
};
use std::collections::BTreeMap;
use support::{
    crowd::{CALM, Two},
    resolver::{Asked, WAITING, WELL, live},
};

/// Every incident of a service that is well for a minute and a half and then another, as it was last told.
fn incidents(then: impl Fn(u64) -> (Two, Asked)) -> Vec<Incident> {
    let (mut engine, mut out, mut told) = (Engine::new(EngineConfig::default()), Vec::new(), BTreeMap::new());
    for (now, observation) in live(150, |second| if second < 90 { (CALM, WELL) } else { then(second - 90) }) {
        engine.step(now, &observation, &mut out);
        for output in out.drain(..) {
            if let Output::Incident(incident) = output {
                told.insert(incident.id, *incident);
            }
        }
    }
    told.into_values().collect()
}

/// What is named first.
fn named(then: impl Fn(u64) -> (Two, Asked)) -> Option<(CauseKind, String)> {
    let named = incidents(then).into_iter().find(|incident| incident.verdict == Verdict::Named)?;
    Some((named.causes[0].kind, named.causes[0].title.clone()))
}

#[test]
fn each_way_to_fail_is_told_as_what_it_is() {
    let none = Asked { asked: 14, answered: 0, unknown: 0, ..WELL };
    let failing = [
        (
            none,
            "names are not resolved: resolver 10.0.0.2 leaves 100 % of the questions without an answer, 0.00 % before",
        ),
        (Asked { unreachable: 14, ..none }, "100 % of the questions to resolver 10.0.0.2 reach nobody"),
        (Asked { asked: 60, answered: 60, failed: 60, unknown: 0, ..WELL }, "fails at 100 % of the questions"),
        (Asked { asked: 60, answered: 60, unknown: 60, ..WELL }, "knows no such name for 100 % of them, 80 % before"),
        (Asked { asked: 8, answered: 8, unknown: 6, each: 1_900, ..WELL }, "answers after 1.9 s, 2 ms before"),
    ];
    for (asked, words) in failing {
        let (kind, title) = named(|_| (WAITING, asked)).unwrap_or_else(|| panic!("{asked:?} is not named"));
        assert!(kind == CauseKind::DnsFailure && title.contains(words), "{title}");
    }
}

#[test]
fn requests_that_fail_at_once_are_not_needed_to_see_that_nothing_is_resolved() {
    let quick = Two { own: (60, 2), others: (0, 8), pool: (0, 0), ..CALM };
    let opened = incidents(|_| (quick, Asked { answered: 60, failed: 60, asked: 60, unknown: 0, ..WELL }));
    let [one] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!(one.causes[0].kind, CauseKind::DnsFailure);
}

#[test]
fn names_that_nobody_waits_for_and_slow_requests_with_names_as_ever_are_not_it() {
    let some = Asked { answered: 90, unknown: 72, ..WELL };
    assert!(incidents(|_| (CALM, some)).is_empty(), "a quarter is lost, and nobody suffers");
    let slow = incidents(|_| (Two { own: (60, 900), ..CALM }, WELL));
    assert!(slow.iter().all(|incident| incident.causes.iter().all(|cause| cause.kind != CauseKind::DnsFailure)));
}
