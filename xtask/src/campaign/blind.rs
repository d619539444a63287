//! Several faults at once, drawn without notice, which end again: whether each is named, and whether all is well after.
//!
//! A round is a shop that asks for prices by name, on a host of its own; the prices and the resolver are on the other.
//! One fault lies on the way to the prices and one in the shop itself; when they begin, how long they last and what they
//! are is drawn. Invariant: who draws is apart from who scores, and the same seed draws the same again.

mod faults;
mod tally;

use super::{
    callers::{Callers, Plan},
    shop::{Kind, Options, Shop},
    stage::{ASK, Ground, watch_once},
    suspects::Suspects,
};
use crate::{
    process,
    rig::{Agent, AgentPorts, Hosts, Names, names},
};
use anyhow::{Context as _, bail};
use faults::{Drawn, Fault, INSIDE, ON_THE_WAY, Town};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use serde_json::json;
use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tally::{Tally, Told, tally};

/// Healthy past, seconds.
const HEALTHY: f64 = 50.0;
/// After the last fault has ended: until then everything must be well again.
const RECOVERY: f64 = 150.0;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// One round.
#[derive(Debug, Serialize)]
struct Round {
    /// The service.
    system: &'static str,
    /// What was drawn, in the order of their onset.
    faults: Vec<Drawn>,
    /// What came of each of them.
    told: Vec<Told>,
    /// Names that were never true, and incidents before the first onset.
    false_incidents: usize,
    /// Suspicions that were never true.
    wrong_suspicions: usize,
    /// From the end of the last fault until the callers had only good answers, and until the last incident closed,
    /// seconds; none if that did not come.
    service_well: Option<f64>,
    incidents_closed: Option<f64>,
}

/// All of them, and how many could not be played.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    rounds: Vec<Round>,
    failed: Vec<String>,
}

/// Plays the rounds, some beside each other, and prints what came of them.
pub(super) fn run(rounds: u8, at_once: u8, seed: u64, json: bool) -> anyhow::Result<()> {
    let next = AtomicU64::new(0);
    let report = Mutex::new(Report { seed, rounds: Vec::new(), failed: Vec::new() });
    std::thread::scope(|scope| {
        for number in 1..=at_once {
            let (next, report) = (&next, &report);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= rounds.into() {
                        return;
                    }
                    let played = round(seed.wrapping_add(at), number);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    match played {
                        Ok(round) => {
                            eprintln!("{round}");
                            report.rounds.push(round);
                        }
                        Err(error) => report.failed.push(format!("{error:#}")),
                    }
                }
            });
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    match report.failed.first() {
        Some(first) => bail!("{} rounds could not be played, the first: {first}", report.failed.len()),
        None => Ok(()),
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0} s"));
        write!(f, "{:<15}", self.system)?;
        for (drawn, told) in self.faults.iter().zip(&self.told) {
            let verdict = match (told.named, told.top3) {
                (Some(after), _) => format!("known after {}, named after {after:.0} s", seconds(told.known)),
                (None, true) => "among three".into(),
                (None, false) => "MISSED".into(),
            };
            write!(f, " {:?} at {:.0} s: {verdict};", drawn.fault, drawn.from)?;
        }
        let (well, closed) = (seconds(self.service_well), seconds(self.incidents_closed));
        write!(f, " {} false; service well after {well}, incidents closed after {closed}", self.false_incidents)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for round in &self.rounds {
            writeln!(f, "{round}")?;
        }
        let told = || self.rounds.iter().flat_map(|round| &round.told);
        let (all, named) = (told().count(), told().filter(|one| one.named.is_some()).count());
        let well = self.rounds.iter().filter(|round| round.service_well.is_some()).count();
        let closed = self.rounds.iter().filter(|round| round.incidents_closed.is_some()).count();
        let wrong: usize = self.rounds.iter().map(|round| round.false_incidents).sum();
        let suspected: usize = self.rounds.iter().map(|round| round.wrong_suspicions).sum();
        let rounds = self.rounds.len();
        writeln!(
            f,
            "\nseed {}: {named} of {all} faults named, {wrong} false incidents, {suspected} wrong suspicions; {well} of {rounds} services well again, the \
             incidents of {closed} closed",
            self.seed
        )
    }
}

/// Draws and plays one round.
fn round(seed: u64, number: u8) -> anyhow::Result<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    let kind = [Kind::Threads, Kind::Go, Kind::Node][random.random_range(0..3)];
    let drawn = draw(&mut random, kind);
    let folder = tempfile::Builder::new().prefix("shop-").tempdir().context("folder")?;
    let ground = Ground { folder: folder.path(), ports: AgentPorts::free()?, number, spans: false };
    let town = build(&ground, kind)?;
    let callers = Callers::start(Plan::new(town.shop.address), Some(&town.hosts.namespace(0)?))?;
    let agent = Agent::start(folder.path(), ground.ports, &["--pid", &town.shop.pid().to_string()])?;
    let begun = Instant::now();
    let (mut seen, mut suspects, mut asked) = (Vec::new(), Suspects::default(), None::<Instant>);
    // Changes in their order: (when, which fault, whether it begins).
    let mut changes: Vec<(f64, usize, bool)> = Vec::new();
    for (at, one) in drawn.iter().enumerate() {
        changes.extend([(one.from, at, true), (one.until, at, false)]);
    }
    changes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let over = drawn.iter().map(|one| one.until).fold(0.0, f64::max);
    let now = || begun.elapsed().as_secs_f64() - HEALTHY;
    let (mut bad, mut well, mut closed) = (callers.bad(), None, None);
    while now() < over + RECOVERY {
        watch_once(&agent, now(), &mut seen)?;
        if asked.is_none_or(|at| at.elapsed() >= ASK) {
            asked = Some(Instant::now());
            suspects.take(&agent.get("/api/v1/status")?, now());
        }
        while let Some((_, at, begins)) = changes.pop_if(|change| change.0 <= now()) {
            if begins { drawn[at].fault.begin(&town)? } else { drawn[at].fault.end(&town)? }
        }
        if now() > over {
            if callers.bad() != bad || well.is_none() {
                (bad, well) = (callers.bad(), Some(now() - over));
            }
            if tally::is_open(&seen) {
                closed = None;
            } else if closed.is_none() {
                closed = Some(now() - over);
            }
            // Ten seconds without a bad answer.
            if closed.is_some() && well.is_some_and(|at| now() - over - at > 10.0) {
                break;
            }
        }
        process::pause(LOOK)?;
    }
    let well = well.filter(|at| now() - over - at > 10.0);
    drop(agent);
    drop(callers);
    let Tally { told, false_incidents, wrong_suspicions } = tally(&drawn, &seen, suspects.all());
    Ok(Round {
        system: kind.name(),
        faults: drawn,
        told,
        false_incidents,
        wrong_suspicions,
        service_well: well,
        incidents_closed: closed,
    })
}

/// One fault on the way and one inside, in either order.
fn draw(random: &mut StdRng, kind: Kind) -> Vec<Drawn> {
    let inside: Vec<Fault> = INSIDE.iter().copied().filter(|fault| fault.suits(kind)).collect();
    let both = [ON_THE_WAY[random.random_range(0..ON_THE_WAY.len())], inside[random.random_range(0..inside.len())]];
    let mut drawn = both.map(|fault| {
        let from = random.random_range(0.0..20.0_f64);
        Drawn { fault, from, until: from + random.random_range(45.0..60.0) }
    });
    drawn.sort_by(|a, b| a.from.total_cmp(&b.from));
    drawn.into()
}

fn build(ground: &Ground<'_>, kind: Kind) -> anyhow::Result<Town> {
    let hosts = Hosts::make(ground.number)?;
    let resolver = Names::start(&hosts, 1, ground.folder, true)?;
    let at = |host| Options { hosts: Some((&hosts, host)), ..Options::default() };
    let prices = Shop::start(ground, "prices", Kind::Threads, &json!({"work_us": 200}), at(1))?;
    let upstream = format!("{}:{}", names::NAME, prices.address.port());
    let options = Options { upstream: Some(&upstream), resolver: Some(&hosts.addresses[1]), ..at(0) };
    let settings = json!({"work_us": 1000, "ask": 1, "fresh": 1});
    let shop = Shop::start(ground, "shop", kind, &settings, options)?;
    Ok(Town { shop, prices, resolver, hosts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_others_draw_all_there_is() {
        let told = |seed| format!("{:?}", draw(&mut StdRng::seed_from_u64(seed), Kind::Node));
        assert_eq!(told(7), told(7));
        let mut all: Vec<Fault> = (0..200)
            .flat_map(|seed| draw(&mut StdRng::seed_from_u64(seed), Kind::Node))
            .map(|drawn| drawn.fault)
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), ON_THE_WAY.len() + INSIDE.len(), "{all:?}");
    }
}
