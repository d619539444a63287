//! Growth from its first seconds on: suspected soon and with reserve, then an incident that is surer and dates it right.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{Cause, CauseKind, Nanos, Output, Times},
};
use support::{SECOND, growth, suspected};

#[test]
fn what_has_only_begun_to_grow_is_suspected_with_reserve_and_what_lasts_is_told() {
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    let mut first: Option<(Nanos, Cause)> = None;
    for (now, told) in growth::memory_growth() {
        engine.step(now, &told, &mut out);
        let view = engine.view(now);
        let cause = view.targets.iter().find_map(|target| target.suspected.as_ref()?.causes.first().cloned());
        first = first.or(cause.map(|cause| (now, cause)));
    }
    let (at, cause) = first.unwrap();
    assert!(cause.kind == CauseKind::MemoryGrowth && cause.confidence <= 0.7, "{cause:?}");
    assert!((68..=78).contains(&(at / SECOND)), "{at}");
    let incidents = out.iter().filter_map(|output| match output {
        Output::Incident(incident) => Some(incident),
        _ => None,
    });
    let told = incidents.max_by(|one, other| one.causes[0].confidence.total_cmp(&other.causes[0].confidence)).unwrap();
    assert!(told.causes[0].kind == CauseKind::MemoryGrowth && told.causes[0].confidence > 0.8, "{told:?}");
    let Times { onset, suspected, .. } = told.times;
    assert!((58..=62).contains(&(onset.0 / SECOND)) && suspected.is_some_and(|suspected| suspected <= at + SECOND));
}

#[test]
fn healthy_growth_is_hardly_suspected() {
    let told = suspected(&growth::healthy_growth());
    // A cache that fills looks like a leak as long as it does.
    assert!(told.len() <= 1, "{told:?}");
}
