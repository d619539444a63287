//! Whether forecasts keep their word: leaks fed by random arrivals, run until the limit is reached.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own input has failed")]

mod support;

use snowshed_engine::{
    Engine,
    config::EngineConfig,
    model::{HoldingKind, Nanos, Observation, Output, Verdict},
};
use std::collections::VecDeque;
use support::{SECOND, Service, ms};

const LIMIT: usize = 512;

/// Requests arrive at random, 2.5 a second, and last 4.5 s. From second 30 on each forgets four files, of
/// which few have a known site. Ends when the limit is reached; tells when.
fn leak(seed: u64) -> (Vec<(Nanos, Observation)>, Nanos) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut uniform = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (f64::from(u32::try_from(random >> 32).unwrap()) + 0.5) / 4_294_967_296.0
    };
    let mut service = Service::start();
    let (mut open, mut spans) = (VecDeque::new(), VecDeque::new());
    let (mut arrival, mut request, mut live) = (2.0_f64, 0, 3);
    for quarter in 8_u32.. {
        let now = Nanos::from(quarter) * SECOND / 4;
        service.at(now);
        while arrival < f64::from(quarter) / 4.0 {
            arrival -= uniform().ln() / 2.5;
            request += 1;
            service.begin(request);
            let forgets = now > 30 * SECOND;
            let site = |n| if n == 0 && request % 3 == 0 { 7 } else { 0 };
            let count = if forgets { 4 } else { 1 };
            let files: Vec<u64> = (0..count).map(|n| service.hold_for(request, HoldingKind::File, site(n))).collect();
            live += files.len();
            open.push_back((now + ms(4_500), request, if forgets { Vec::new() } else { files }));
        }
        while open.front().is_some_and(|(end, ..)| *end <= now) {
            let (end, n, files) = open.pop_front().unwrap();
            live -= files.len();
            files.into_iter().for_each(|file| service.give_back(file));
            spans.push_back((end + SECOND, n, service.end(n), end));
        }
        while spans.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, n, began, ended) = spans.pop_front().unwrap();
            service.span(n, began, ended, 200);
        }
        service.report();
        if quarter % 4 == 0 {
            service.snapshot(LIMIT as u64);
        }
        if live >= LIMIT {
            return (service.lines(), now);
        }
    }
    unreachable!("the leak reaches its limit")
}

#[test]
fn forecasts_keep_their_word_and_come_early() {
    let (mut told, mut held) = (0_u32, 0_u32);
    for seed in 1..=20 {
        let (lines, dead) = leak(seed);
        let (mut engine, mut out) = (Engine::new(EngineConfig::default()), Vec::new());
        let (mut named, mut first) = (None, None);
        for (now, observation) in &lines {
            engine.step(*now, observation, &mut out);
            for output in out.drain(..) {
                let Output::Incident(incident) = output else { continue };
                if incident.verdict == Verdict::Named {
                    named.get_or_insert(*now);
                }
                let Some(forecast) = incident.causes.first().and_then(|cause| cause.forecast) else { continue };
                first.get_or_insert(*now);
                let left = f64::from(u32::try_from((dead - now) / ms(1)).unwrap()) / 1e3;
                // Snapshots come once a second.
                told += 1;
                held += u32::from(forecast.eta_seconds.0 <= left + 1.0 && left - 1.0 <= forecast.eta_seconds.1);
            }
        }
        let (named, first) = (named.unwrap(), first.unwrap());
        assert!(named < 45 * SECOND, "seed {seed}: named at {named}");
        assert!(first + 15 * SECOND < dead, "seed {seed}: told at {first}, over at {dead}");
    }
    println!("{held} of {told} forecasts held");
    assert!(told > 200 && held * 10 >= told * 9, "{held} of {told} forecasts held the truth");
}
