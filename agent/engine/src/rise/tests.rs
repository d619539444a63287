//! What counts as steady growth, from when on, and what does not.

use super::*;

const MIB: f64 = 1_048_576.0;

/// One value a second.
fn seen(seconds: u64, level: impl Fn(f64) -> f64) -> Option<Rise> {
    working(seconds, level, |_, _| Some(1.0))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels of a test")]
fn working(seconds: u64, level: impl Fn(f64) -> f64, work: impl Fn(Nanos, Nanos) -> Option<f64>) -> Option<Rise> {
    let mut series = Series::new();
    for second in 0..seconds {
        let at = f64::from(u32::try_from(second).unwrap());
        series.record(second * SECOND, (level(at) * MIB) as u64);
    }
    rise(&series, 32 << 20, &GrowthConfig::default(), work)
}

fn kink(at: f64, begin: f64, slope: f64) -> f64 {
    100.0 + (at - begin).max(0.0) * slope
}

#[test]
fn what_rises_after_a_calm_minute_is_told_within_a_minute_with_its_beginning() {
    let found = seen(118, |at| kink(at, 60.0, 2.0)).unwrap();
    assert!((58..=62).contains(&(found.since / SECOND)), "{found:?}");
    let (low, high) = found.rate();
    assert!(low <= 2.0 * MIB && (1.99 * MIB..2.5 * MIB).contains(&high), "{found:?}");
    let (early, late) = found.seconds_to(200.0 * MIB).unwrap();
    assert!(early <= 100.0 && late >= 99.0, "{early} {late}");
    assert_eq!(seen(95, |at| kink(at, 60.0, 2.0)), None, "too short yet");
    assert_eq!(seen(200, |at| kink(at, 60.0, 0.1)), None, "too little yet");
}

/// A server in Node: its first seconds, what they leave, and what each request leaves from the second minute on.
fn node(at: f64) -> f64 {
    [20.0, 11.0 + at].into_iter().fold(f64::INFINITY, f64::min) + (at - 62.0).max(0.0) * 4.0
}

#[test]
fn a_rise_is_dated_after_the_pause_that_a_start_ended_in() {
    let early = GrowthConfig::default().early();
    let at = |seconds, config: &GrowthConfig| {
        let mut series = Series::new();
        (0..seconds).for_each(|second: u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels of a test")]
            series.record(u64::from(second) * SECOND, (node(f64::from(second)) * MIB) as u64);
        });
        rise(&series, 32 << 20, config, |_, _| Some(1.0)).map(|found| found.since / SECOND)
    };
    let first = (62..200).find(|second| at(*second, &early).is_some()).unwrap();
    assert!((71..=76).contains(&first), "suspected: {first}");
    let first = (62..200).find(|second| at(*second, &GrowthConfig::default()).is_some()).unwrap();
    assert!((107..=112).contains(&first), "told: {first}");
    for second in 76..250 {
        let since = at(second, &early).unwrap();
        assert!((60..=64).contains(&since), "at {second}: {since}");
    }
}

#[test]
fn a_rise_that_pauses_is_told_anew_or_as_a_whole_once_it_has_lasted() {
    let pauses = |at: f64| kink(at.min(160.0), 60.0, 1.0) + (at - 190.0).max(0.0);
    let since = |second, work: &dyn Fn(Nanos, Nanos) -> Option<f64>| {
        working(second, pauses, work).map(|found| found.since / SECOND)
    };
    let works = |_: Nanos, _: Nanos| Some(1.0);
    assert!(since(150, &works).is_some_and(|since| (56..=64).contains(&since)));
    assert_eq!(since(185, &works), None, "it does not rise now");
    assert_eq!(since(230, &works), None, "that may be anything yet");
    assert!(since(242, &works).is_some_and(|since| (186..=194).contains(&since)));
    let idle_in_between =
        |from: Nanos, until: Nanos| Some(if from < 190 * SECOND && until > 160 * SECOND { 0.0 } else { 1.0 });
    assert_eq!(since(242, &idle_in_between), None, "the work began again with it");
    assert!(since(264, &idle_in_between).is_some_and(|since| (56..=82).contains(&since)), "as a whole");
}

#[test]
fn what_rises_above_a_collected_heap_is_suspected_soon_and_its_teeth_are_not() {
    let early = GrowthConfig::default().early();
    let suspected = |level: &dyn Fn(f64) -> f64| {
        let mut series = Series::new();
        (0..200_u32).find(|second| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels of a test")]
            series.record(u64::from(*second) * SECOND, (level(f64::from(*second)) * MIB) as u64);
            rise(&series, 32 << 20, &early, |_, _| Some(1.0)).is_some()
        })
    };
    for period in [8.0, 14.0, 19.0] {
        let heap = |at: f64| 15.0 + at % period * 70.0 / period;
        assert_eq!(suspected(&heap), None, "teeth of {period} s");
        let kept = suspected(&|at| heap(at) + (at - 60.0).max(0.0) * 15.0);
        assert!(kept.is_some_and(|second| (68..=82).contains(&second)), "teeth of {period} s: {kept:?}");
        let larger = |at: f64| if at < 60.0 { heap(at) } else { 15.0 + at % (2.0 * period) * 70.0 / period };
        assert_eq!(suspected(&larger), None, "larger teeth than {period} s");
    }
}

#[test]
fn what_each_request_leaves_rises_steadily_in_waves_of_them() {
    // Requests a second, and how many there were before.
    let rate = |at: f64| 1.0 + 0.75 * (at / 6.0).sin();
    let before = |at: f64| at + 4.5 * (1.0 - (at / 6.0).cos());
    let level = |at: f64| 100.0 + 4.0 * (before(at) - before(60.0)).max(0.0);
    let work = |from: Nanos, until: Nanos| {
        let (from, until) = (crate::window::seconds(from), crate::window::seconds(until));
        Some(if until > from { (before(until) - before(from)) / (until - from) } else { rate(until) })
    };
    let early = GrowthConfig::default().early();
    let suspected = |second, work: &dyn Fn(Nanos, Nanos) -> Option<f64>| {
        let mut series = Series::new();
        (0..second).for_each(|second: u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels of a test")]
            series.record(u64::from(second) * SECOND, (level(f64::from(second)) * MIB) as u64);
        });
        rise(&series, 32 << 20, &early, work).is_some()
    };
    let seconds = 84..200;
    assert!(seconds.clone().all(|second| suspected(second, &work)));
    assert!(!seconds.clone().all(|second| suspected(second, &|_, _| Some(1.0))), "as much work all the time");
    let stops = |at: f64| level(at.min(100.0));
    assert!((116..300).all(|second| working(second, stops, |_, _| Some(0.0)).is_none()), "no work is no excuse");
}

#[test]
fn what_rises_faster_than_before_has_not_paused() {
    let faster = |at: f64| kink(at, 60.0, 1.0) + (at - 110.0).max(0.0) * 5.0;
    for second in 117..160 {
        let found = seen(second, faster).unwrap_or_else(|| panic!("at {second}"));
        assert!((56..=110).contains(&(found.since / SECOND)), "at {second}: {found:?}");
    }
}

#[test]
fn a_rise_from_the_start_or_with_the_work_takes_longer_to_be_believed() {
    let from_start = |at: f64| 50.0 + at;
    assert_eq!(seen(150, from_start), None);
    assert!(seen(215, from_start).is_some());
    let idle_before = |_, until| Some(if until <= 70 * SECOND { 0.0 } else { 1.0 });
    assert_eq!(working(140, |at| kink(at, 60.0, 2.0), idle_before), None, "the work began with it");
    assert_eq!(working(140, |at| kink(at, 60.0, 2.0), |_, _| None), None, "nothing is known of the work");
    assert!(working(280, |at| kink(at, 60.0, 2.0), idle_before).is_some());
}

#[test]
fn healthy_growth_is_none() {
    for second in 1..300 {
        let none = |what: &str, level: &dyn Fn(f64) -> f64| assert_eq!(seen(second, level), None, "{what} {second}");
        for half in [8.0, 25.0, 60.0] {
            none("warming up", &|at| 60.0 + 300.0 * (1.0 - (-at / half).exp()));
        }
        none("a cache that fills in a minute", &|at| 100.0 + at.min(60.0) * 5.0);
        none("a cache that fills after a calm minute", &|at| 100.0 + (at - 60.0).clamp(0.0, 40.0) * 5.0);
        none("one step", &|at| if at < 90.0 { 100.0 } else { 300.0 });
        for period in [10.0, 40.0, 70.0] {
            none("a saw", &|at| 100.0 + at % period * 200.0 / period);
        }
        none("up and down", &|at| 200.0 + 100.0 * (at / 30.0).sin());
        none("falling", &|at| 500.0 - at);
    }
}

#[test]
fn growth_that_stops_is_no_growth_any_more() {
    let stopped = |at: f64| kink(at.min(140.0), 60.0, 2.0);
    assert!(seen(141, stopped).is_some());
    assert_eq!(seen(175, stopped), None);
}

#[test]
fn what_rises_above_uneven_teeth_is_dated_when_it_left_them() {
    let early = GrowthConfig::default().early();
    let (mut right, mut all) = (0, 0);
    for seed in 0..40_u64 {
        let mut random = seed;
        let mut share = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(random >> 40).unwrap()) / f64::from(1 << 24)
        };
        let (mut series, mut tooth, mut since) = (Series::new(), 0.0, Vec::new());
        for second in 0..140_u32 {
            let at = f64::from(second);
            // Collected after a while that is never the same, and never to the same level.
            tooth = if tooth > 50.0 || share() < 0.1 { 40.0 * share() } else { tooth + 8.0 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels of a test")]
            series.record(u64::from(second) * SECOND, ((15.0 + tooth + (at - 60.0).max(0.0) * 15.0) * MIB) as u64);
            since.extend(rise(&series, 32 << 20, &early, |_, _| Some(1.0)).map(|found| found.since / SECOND));
        }
        right += since.iter().filter(|since| (54..=70).contains(*since)).count();
        all += since.len();
    }
    assert!(all > 2_000 && right * 100 >= all * 99, "{right} of {all}");
}
