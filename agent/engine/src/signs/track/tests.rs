//! Figures over time, window by window.

use super::*;

const BAR: Bar = Bar { least: 0.1, times: 4.0, is_share: false, needs_past: false, events: 3.0, hold: 5, needed: 3 };
const PAST: Past = Past { seconds: 40 };

#[test]
fn what_is_usually_half_of_the_whole_can_still_be_out_of_its_ordinary() {
    let share = Bar { is_share: true, ..BAR };
    assert!((share.level(0.05) - 0.2).abs() < 1e-9 && (BAR.level(0.5) - 2.0).abs() < 1e-9);
    assert!((share.level(0.5) - 0.875).abs() < 1e-9 && (share.level(0.0) - 0.1).abs() < 1e-9);
    assert!(share.level(1.0) <= 1.0 && share.level(1.0) > share.level(0.9));
}

/// One look a second of ten, of which `height` tells the share; when it began and ended to deviate.
fn spans(seconds: u64, height: impl Fn(u64) -> f64) -> Vec<(u64, Option<u64>)> {
    let (mut track, mut spans) = (Track::new(), Vec::<(u64, Option<u64>)>::new());
    for second in 1..=seconds {
        track.add(second * SECOND, 10.0 * height(second), 10.0);
        track.judge(second * SECOND, &BAR, PAST);
        match (spans.last_mut(), track.found().is_some()) {
            (Some((_, end @ None)), false) => *end = Some(second),
            (None | Some((_, Some(_))), true) => spans.push((second, None)),
            _ => {}
        }
    }
    spans
}

#[test]
fn a_step_that_lasts_is_found_in_seconds_and_its_end_too() {
    let found = spans(200, |second| if (100..150).contains(&second) { 0.5 } else { 0.001 });
    assert_eq!(found, [(106, Some(158))]);
}

#[test]
fn what_is_found_tells_when_it_began_and_how_it_was() {
    let mut track = Track::new();
    for second in 1..=120 {
        track.add(second * SECOND, if second < 100 { 0.2 } else { 6.0 }, 10.0);
        track.judge(second * SECOND, &BAR, PAST);
    }
    let found = *track.found().unwrap();
    assert_eq!((found.since, found.before, found.after, found.has_past), (100 * SECOND, 0.02, 0.6, true));
    assert!((found.level - 0.1).abs() < 1e-12 && (found.amount - 120.0).abs() < 1e-9, "{found:?}");
}

#[test]
fn what_is_healthy_is_not_found() {
    let none = |what: &str, height: &dyn Fn(u64) -> f64| assert_eq!(spans(400, height), [], "{what}");
    none("a flat past makes nothing large", &|second| if second < 100 { 0.0 } else { 0.09 });
    none("a peak of four seconds", &|second| if second % 100 < 4 { 1.0 } else { 0.0 });
    none("a wave", &|second| 0.2 + 0.15 * (f64::from(u32::try_from(second).unwrap()) / 20.0).sin());
    none("peaks that are usual", &|second| if second % 20 < 10 { 0.5 } else { 0.0 });
    none("always as high", &|_| 0.19);
    none("a slow rise", &|second| f64::from(u32::try_from(second).unwrap()) / 800.0);
    none("a start", &|second| if second < 14 { 0.9 } else { 0.02 });
}

#[test]
fn what_is_far_above_its_level_is_known_early() {
    let first = |height: &dyn Fn(u64) -> f64| {
        let mut track = Track::new();
        (1..=200).find(|second| {
            track.add(second * SECOND, 10.0 * height(*second), 10.0);
            track.judge(second * SECOND, &BAR, PAST);
            track.early().is_some()
        })
    };
    let step = |high: f64| move |second| if second >= 100 { high } else { 0.001 };
    assert_eq!((first(&step(0.16)), first(&step(0.14))), (Some(103), None), "half as high again as its level, or not");
    assert_eq!(first(&|second| if (100..102).contains(&second) { 0.5 } else { 0.001 }), None, "too short");
    assert_eq!(first(&|second| if second % 20 < 10 { 0.5 } else { 0.0 }), None, "it is usual");
    assert_eq!(first(&|_| 0.5), None, "it has no past");
}

#[test]
fn what_has_been_high_for_four_seconds_is_high() {
    let is_high = |at: u64, high: f64| {
        let mut track = Track::new();
        for second in 1..=at {
            track.add(second * SECOND, if second >= 100 { 10.0 * high } else { 0.01 }, 10.0);
        }
        track.is_high(at * SECOND, &BAR, PAST)
    };
    assert!(is_high(103, 0.16), "the ten seconds before were 0.06 on average");
    assert!(is_high(112, 0.16) && !is_high(112, 0.09) && !is_high(100, 0.16));
}

#[test]
fn without_a_past_it_takes_more_and_longer() {
    assert_eq!(spans(60, |_| 0.45), [(26, None)]);
    assert_eq!(spans(60, |_| 0.35), []);
}

#[test]
fn what_needs_a_past_is_nothing_without_and_is_found_once_it_has_one() {
    let (mut track, bar) = (Track::new(), Bar { needs_past: true, ..BAR });
    let mut found = Vec::new();
    for second in 1..=120 {
        track.add(second * SECOND, if second < 80 { 0.6 } else { 6.0 }, 1.0);
        track.judge(second * SECOND, &bar, PAST);
        found.extend(track.found().map(|found| (second, found.has_past)));
    }
    assert!(matches!(found.first(), Some((84..90, true))), "{:?}", found.first());
}

#[test]
fn the_past_is_frozen_while_it_lasts_and_learnt_in_the_end() {
    let found = spans(1_400, |second| if second < 60 { 0.01 } else { 0.5 });
    let [(begin, Some(end))] = found.as_slice() else { panic!("{found:?}") };
    assert!(*begin < 70 && (950..980).contains(end), "{found:?}");
}

#[test]
fn odd_facts_never_break_it() {
    let mut track = Track::new();
    for (n, odd) in [f64::NAN, f64::INFINITY, -1.0, f64::MAX, 0.0].into_iter().enumerate() {
        for at in [n as u64 * SECOND, u64::MAX, 0] {
            track.add(at, odd, 1.0);
            track.add(at, 1.0, odd);
            track.judge(at, &BAR, Past { seconds: u64::MAX / SECOND });
        }
    }
    assert!(track.found().is_none_or(|found| found.after.is_finite() && found.amount.is_finite()));
}
