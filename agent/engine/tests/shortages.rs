//! Shortages under noise: that an hour of healthy variation opens next to nothing, and that a disease in the midst of
//! it is named. Both print what they found (`--nocapture`).

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{CauseKind, Incident, Nanos, Observation, Output, Verdict},
};
use std::collections::BTreeMap;
use support::{
    PID, SECOND, Service,
    random::Random,
    shortage::{CALM, Seen, Step},
    suspected,
};

/// What goes on for a while in a healthy service.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Calm,
    /// More requests, twice as slow at most.
    Wave,
    /// The processor limit is hit, and requests are slow, for some seconds.
    Burst,
    /// A lock is held for some seconds.
    Held,
    /// Threads copy files, and nobody waits for them.
    Backup,
    /// Losses, for some seconds.
    Losses,
    /// A dependency restarts.
    Restart,
    /// Others use the machine; requests do not suffer.
    Neighbours,
    /// A heavier route is used most.
    Heavy,
    /// Idle threads of a pool queue for one mutex.
    Pool,
    /// Frames of unknown protocols, and full rings for some seconds.
    Frames,
}

const MOODS: [(Mood, u64, u64); 10] = [
    (Mood::Wave, 60, 240),
    (Mood::Burst, 2, 8),
    (Mood::Held, 2, 6),
    (Mood::Backup, 30, 180),
    (Mood::Losses, 2, 6),
    (Mood::Restart, 2, 4),
    (Mood::Neighbours, 20, 90),
    (Mood::Heavy, 60, 300),
    (Mood::Pool, 60, 300),
    (Mood::Frames, 2, 8),
];

fn healthy(random: &mut Random, mood: Mood) -> Step {
    let step = Step {
        requests: (random.between(2, 8), random.between(30, 60)),
        segments: (random.between(2_000, 6_000), random.below(6)),
        trip: u32::try_from(random.between(1, 4)).unwrap(),
        throttled: random.below(3),
        delay: random.between(5, 60),
        pressure: (random.below(10), random.below(8)),
        ..CALM
    };
    match mood {
        Mood::Calm => step,
        Mood::Wave => Step { requests: (12, random.between(60, 110)), segments: (20_000, random.below(60)), ..step },
        Mood::Burst => Step { throttled: random.between(12, 20), delay: 3_000, requests: (4, 500), ..step },
        Mood::Held => Step { waiters: u32::try_from(random.between(2, 8)).unwrap(), requests: (4, 700), ..step },
        Mood::Backup => Step { blocked: 2, pressure: (8, 70), ..step },
        Mood::Losses => Step { segments: (4_000, random.between(60, 300)), ..step },
        Mood::Restart => Step { refused: 20, status: 503, ..step },
        Mood::Neighbours => Step { delay: 900, pressure: (60, 5), ..step },
        Mood::Heavy => Step { route: "GET /archive", requests: (6, random.between(800, 1_300)), ..step },
        Mood::Pool => Step { waiters: 7, ..step },
        Mood::Frames => Step { ring: (200, 90), ..step },
    }
}

/// A service for so many seconds, with a mood now and then; `change` makes of each step what it likes.
fn live(seed: u64, until: u64, mut change: impl FnMut(u64, Step, &mut Random) -> Step) -> Vec<(Nanos, Observation)> {
    let (mut random, mut service, mut seen) = (Random::new(seed), Service::start(), Seen::new(PID));
    let (mut mood, mut ends) = (Mood::Calm, 90);
    for second in (4..until).step_by(2) {
        service.at(second * SECOND);
        if second >= ends {
            let (next, least, most) = MOODS[usize::try_from(random.below(10)).unwrap()];
            let calm = !matches!(mood, Mood::Calm);
            let span = if calm { random.between(20, 90) } else { random.between(least, most) };
            (mood, ends) = (if calm { Mood::Calm } else { next }, second + span);
        }
        let step = healthy(&mut random, mood);
        let step = change(second, step, &mut random);
        seen.step(&mut service, step);
    }
    service.lines()
}

/// Every incident as it was last told, and when one was first named.
fn run(lines: &[(Nanos, Observation)]) -> Vec<(Incident, Option<Nanos>)> {
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    let mut told: BTreeMap<u64, (Incident, Option<Nanos>)> = BTreeMap::new();
    for (now, observation) in lines {
        engine.step(*now, observation, &mut out);
        for output in out.drain(..) {
            let Output::Incident(incident) = output else { continue };
            let named = told.get(&incident.id).and_then(|known| known.1).or(incident.times.named);
            told.insert(incident.id, (*incident, named));
        }
    }
    told.into_values().collect()
}

#[test]
fn hours_of_healthy_variation_open_next_to_nothing() {
    let (mut all, mut most) = (0, 0);
    for seed in 1..=16 {
        let opened = run(&live(seed, 3_600, |_, step, _| step));
        for (incident, _) in &opened {
            println!("seed {seed}: at {} s: {}", incident.opened / SECOND, incident.trigger.detail);
        }
        all += opened.len();
        most = most.max(opened.len());
    }
    println!("{all} incidents in 16 healthy hours");
    assert!(most <= 1 && all <= 4, "{all} incidents in 16 healthy hours, {most} in one");
}

/// The figures' bars were chosen with the first half; the second was first run when they stood.
const SEEDS: [u64; 24] = [
    100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510,
    511,
];
const RUNS: u32 = 24;

type Dose = fn(Step, &mut Random) -> Step;

/// Diseases, in doses that differ from run to run; requests suffer.
const DISEASES: &[(CauseKind, Dose)] = &[
    (CauseKind::TcpRetransmits, |step, random| Step {
        segments: (4_000, random.between(50, 300)),
        ..slow(step, random)
    }),
    (CauseKind::LockContention, |step, random| Step {
        waiters: u32::try_from(random.between(3, 12)).unwrap(),
        ..slow(step, random)
    }),
    (CauseKind::CpuThrottled, |step, random| Step {
        throttled: random.between(12, 20),
        delay: random.between(2_000, 6_000),
        waiters: 2,
        ..slow(step, random)
    }),
    (CauseKind::CpuSaturation, |step, random| Step {
        delay: random.between(2_500, 9_000),
        pressure: (random.between(50, 99), 3),
        ..slow(step, random)
    }),
    (CauseKind::AcceptQueueOverflow, |step, random| Step { dropped: random.between(4, 60), ..step }),
    (CauseKind::DiskStall, |step, random| Step {
        blocked: u32::try_from(random.between(2, 6)).unwrap(),
        pressure: (5, 80),
        ..slow(step, random)
    }),
    (CauseKind::NicDrops, |step, random| Step {
        ring: (random.between(200, 3_000), 0),
        segments: (4_000, random.between(60, 300)),
        ..slow(step, random)
    }),
    (CauseKind::DownstreamSlow, |step, random| Step { refused: random.between(4, 30), status: 503, ..step }),
];

fn slow(step: Step, random: &mut Random) -> Step {
    Step { requests: (step.requests.0, step.requests.1 * random.between(5, 12)), ..step }
}

#[test]
fn a_disease_is_suspected_at_once_and_health_seldom() {
    let mut all = 0;
    for seed in 1..=16 {
        let told = suspected(&live(seed, 3_600, |_, step, _| step));
        for (at, kind) in &told {
            println!("seed {seed}: at {} s: {kind:?}", at / SECOND);
        }
        all += told.len();
    }
    println!("{all} suspicions in 16 healthy hours");
    // Most of their hiccups last for long enough: what is suspected of those is so.
    assert!(all <= 160, "{all} suspicions in 16 healthy hours");
    let (mut found, mut missed, mut runs) = (0, 0, 0);
    for (kind, dose) in DISEASES {
        let (mut right, mut delays, mut wrong) = (0_u32, Vec::new(), Vec::new());
        for seed in SEEDS {
            let told = suspected(&live(seed, 480, |second, step, random| match second {
                240..300 => healthy(random, Mood::Calm),
                300..400 => dose(healthy(random, Mood::Calm), random),
                _ => step,
            }));
            let during: Vec<_> = told.iter().filter(|(at, _)| (300..400).contains(&(at / SECOND))).collect();
            match during.first() {
                Some((at, first)) if first == kind => {
                    right += 1;
                    delays.push(at / SECOND - 300);
                }
                Some((_, other)) => wrong.push(*other),
                None => {}
            }
        }
        delays.sort_unstable();
        println!("{kind:?}: {right} of {RUNS} suspected, after {delays:?} s; first {wrong:?}");
        assert!(delays.iter().all(|delay| *delay <= 12), "{kind:?}: {delays:?}");
        (found, missed, runs) = (found + right, missed + wrong.len(), runs + RUNS);
    }
    println!("{found} of {runs} suspected, {missed} wrongly");
    // Losses are usual there now and then.
    assert!(found * 4 >= runs * 3 && missed * 20 <= runs as usize, "{found} of {runs}, {missed} wrongly");
}

/// A calm service whose threads wait for a lock from 100 s on, until then.
fn held_until(end: u64) -> Vec<(Nanos, Observation)> {
    live(1, 200, |second, _, random| match second {
        second if (100..end).contains(&second) => {
            Step { waiters: 8, requests: (4, 900), ..healthy(random, Mood::Calm) }
        }
        _ => healthy(random, Mood::Calm),
    })
}

#[test]
fn what_lasts_is_suspected_before_it_is_an_incident_that_says_since_when() {
    let lines = held_until(200);
    let told = run(&lines);
    let [(incident, named)] = told.as_slice() else { panic!("{told:?}") };
    let times = incident.times;
    assert_eq!((incident.causes[0].kind, times.named), (CauseKind::LockContention, *named));
    let suspected = times.suspected.expect("it was suspected");
    assert!((102..=105).contains(&(suspected / SECOND)) && times.detected >= suspected + 6 * SECOND, "{times:?}");
    assert_eq!(suspected_of(&lines, times.detected + SECOND), None, "it has a name");
}

#[test]
fn a_limit_is_not_taken_for_a_machine_that_is_short_of_processors() {
    // The limit begins at the end of a window: in the first one threads wait for a processor, and few periods are throttled.
    let lines = live(3, 360, |second, _, random| match second {
        300.. => Step {
            throttled: if second < 302 { 3 } else { 19 },
            delay: 6_000,
            pressure: (99, 3),
            ..slow(healthy(random, Mood::Calm), random)
        },
        _ => healthy(random, Mood::Calm),
    });
    let (mut engine, mut out, mut named) = (Engine::new(EngineConfig::default()), Vec::new(), Vec::new());
    for (now, observation) in &lines {
        engine.step(*now, observation, &mut out);
        named.extend(out.drain(..).filter_map(|output| match output {
            Output::Incident(told) if told.verdict == Verdict::Named => Some(told.causes[0].kind),
            _ => None,
        }));
    }
    assert!(!named.is_empty() && named.iter().all(|kind| *kind == CauseKind::CpuThrottled), "{named:?}");
    let suspected = suspected(&lines);
    assert!(suspected.iter().all(|(_, kind)| *kind == CauseKind::CpuThrottled), "{suspected:?}");
}

#[test]
fn a_hiccup_is_suspected_and_forgotten() {
    let lines = held_until(106);
    assert_eq!(run(&lines).len(), 0);
    assert_eq!(suspected_of(&lines, 105 * SECOND), Some(CauseKind::LockContention));
    assert_eq!(suspected_of(&lines, 116 * SECOND), None);
}

/// What is suspected at a time.
fn suspected_of(lines: &[(Nanos, Observation)], at: Nanos) -> Option<CauseKind> {
    let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
    lines.iter().filter(|(now, _)| *now <= at).for_each(|(now, told)| engine.step(*now, told, &mut out));
    let view = engine.view(at);
    view.targets.iter().find_map(|target| Some(target.suspected.as_ref()?.causes.first()?.kind))
}

#[test]
fn a_disease_in_the_midst_of_it_is_named() {
    let (mut right, mut wrong, mut runs, mut worst) = (0_u32, 0_u32, 0_u32, RUNS);
    for (kind, dose) in DISEASES {
        let (mut named, mut held, mut delays, mut sure) = (0_u32, 0_u32, Vec::new(), 0.0);
        for seed in SEEDS {
            let lines = live(
                seed,
                480,
                |second, step, random| {
                    if (300..400).contains(&second) { dose(step, random) } else { step }
                },
            );
            let found = run(&lines);
            let during = found.iter().find(|(incident, _)| (300..400).contains(&(incident.opened / SECOND)));
            runs += 1;
            let Some((incident, at)) = during.filter(|(incident, _)| incident.verdict == Verdict::Named) else {
                continue;
            };
            let first = &incident.causes[0];
            if first.kind == *kind {
                named += 1;
                held += u32::from(seed >= 500);
                sure += first.confidence;
                delays.push(at.unwrap() / SECOND - 300);
            } else {
                wrong += 1;
                let rest: Vec<_> = incident.causes.iter().map(|cause| (cause.kind, cause.confidence)).collect();
                println!("{kind:?}, seed {seed}: {}; {rest:?}", first.title);
            }
        }
        delays.sort_unstable();
        println!("{kind:?}: of the second half {held} of 12");
        let confidence = sure / f64::from(named.max(1));
        println!("{kind:?}: {named} of {RUNS} named, confidence {confidence:.2}, after {delays:?} s");
        right += named;
        worst = worst.min(named);
    }
    println!("{right} of {runs} right, {wrong} wrong");
    assert!(worst * 4 >= RUNS * 3 && right * 10 >= runs * 9, "{right} of {runs}, of one only {worst} of {RUNS}");
    assert!(wrong * 20 <= runs, "{wrong} of {runs} named wrongly");
}
