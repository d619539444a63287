//! Whole services under saturating load, with an agent that watches them and without one, in turns: what they still
//! deliver, and what a request costs them.
//!
//! The agent runs as anybody would start it, without a configuration: where its hooks cost more than its budget allows,
//! probes sample down, and the rows say how many times that was so. Each round starts a fresh agent and gives it the time
//! under load to find that out. Cost: some twenty seconds a round and service.

mod go;
mod nginx;
mod redis;
mod transcoder;

use super::{
    Part, Setting,
    figure::Figure,
    own,
    row::{Row, Target},
};
use crate::{
    process,
    rig::{Agent, http},
};
use anyhow::{Context as _, bail};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command, time::Duration};

/// Services whose work is the system calls that are hooked.
pub(super) const NGINX: Part = Part {
    name: "nginx",
    about: "nginx at full load, with and without the agent",
    run: |setting| paired("nginx, 1 KB", setting, nginx::start),
};
pub(super) const REDIS: Part = Part {
    name: "redis",
    about: "Redis at full load, with and without the agent",
    run: |setting| paired("Redis", setting, redis::start),
};
pub(super) const GO: Part = Part {
    name: "go",
    about: "a Go service at full load, with and without the agent",
    run: |setting| paired("Go", setting, go::Go::start),
};

/// The reference service.
pub(super) const TRANSCODER: Part = Part {
    name: "transcoder",
    about: "the transcoder at full load, with and without the agent: pictures a second, and the slowest in a hundred",
    run: transcoder::measure,
};

/// A service that can be put under load.
trait Service {
    /// The processes that do the work.
    fn pids(&self) -> Vec<u32>;
    /// Loads it for about so long; answers how many requests were served, and in how many seconds.
    fn load(&self, length: Duration) -> anyhow::Result<(u64, f64)>;
}

/// How long a load lasts that is measured.
const LENGTH: Duration = Duration::from_secs(3);
/// How long an agent has to see what it costs; and once more as long, so many times at most, while it still finds that
/// something is too dear.
const WARM: Duration = Duration::from_secs(4);
const WARMED: usize = 6;
/// How long the kernel goes on closing what an ended agent had hooked, and more: before that nothing is without one.
const CLOSED: Duration = Duration::from_secs(3);
/// Less than that must be left of the rate, and more may a request cost.
const RATE: f64 = 0.93;
const COST: f64 = 1.05;

/// One load: requests a second, and CPU seconds of the service for each.
#[derive(Clone, Copy, Debug)]
struct Run {
    rate: f64,
    cost: f64,
}

fn run(service: &dyn Service, length: Duration) -> anyhow::Result<Run> {
    let clocks = service.pids().into_iter().map(process::cpu_clock).collect::<anyhow::Result<Vec<_>>>()?;
    let used = || clocks.iter().map(|clock| process::clock_seconds(*clock)).sum::<f64>();
    let before = used();
    let (requests, seconds) = service.load(length)?;
    anyhow::ensure!(requests > 0, "no request was served");
    Ok(Run { rate: requests as f64 / seconds, cost: (used() - before) / requests as f64 })
}

fn paired<S: Service>(
    name: &str,
    setting: &Setting,
    start: fn(&Path) -> anyhow::Result<S>,
) -> anyhow::Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
    let service = start(folder.path()).with_context(|| format!("start {name}"))?;
    let mut random = StdRng::seed_from_u64(1);
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    let (mut plain, mut shed) = (Vec::new(), BTreeSet::new());
    let mut rounds_down = 0;
    run(&service, WARM)?;
    for round in 0..setting.rounds {
        let mut runs = [None; 2];
        let first = random.random_range(0..2);
        for with in [first, 1 - first] {
            runs[with] = Some(if with == 1 {
                let agent = own::watch(folder.path(), &service.pids())?;
                settle(&service, &agent)?;
                let watched = run(&service, LENGTH)?;
                let now = sampled_down(&agent)?;
                rounds_down += u32::from(!now.is_empty());
                shed.extend(now);
                drop(agent);
                std::thread::sleep(CLOSED);
                watched
            } else {
                run(&service, LENGTH)?
            });
        }
        let [Some(without), Some(with)] = runs else { bail!("a run is missing") };
        eprintln!(
            "{name} {round}: {:.0} a second, {:.0} with; {:.2} us a request, {:.2} with",
            without.rate,
            with.rate,
            1e6 * without.cost,
            1e6 * with.cost
        );
        rates.push(with.rate / without.rate);
        costs.push(with.cost / without.cost);
        plain.push(without.rate);
    }
    if !shed.is_empty() {
        eprintln!("{name}: {}", shed.into_iter().collect::<Vec<_>>().join("; "));
    }
    Ok(vec![
        Row::new(format!("{name}: requests a second without"), Figure::of(&plain), "", Target::None),
        Row::new(
            format!("{name}: requests a second, with by without"),
            Figure::of(&rates),
            "x",
            Target::SurelyAtLeast(RATE),
        ),
        Row::new(
            format!("{name}: CPU a request, with by without"),
            Figure::of(&costs),
            "x",
            Target::SurelyAtMost(COST),
        ),
        Row::new(
            format!("{name}: rounds in which probes sampled down and said so"),
            Figure::share(rounds_down.into(), setting.rounds.into()),
            "",
            Target::None,
        ),
    ])
}

/// Loads a service until its agent leaves out no more than before.
fn settle(service: &dyn Service, agent: &Agent) -> anyhow::Result<()> {
    let mut before = None;
    for _ in 0..WARMED {
        run(service, WARM)?;
        let now = left_out(agent)?;
        if before == Some(now) {
            break;
        }
        before = Some(now);
    }
    Ok(())
}

/// How many things the agent's probes leave out.
fn left_out(agent: &Agent) -> anyhow::Result<usize> {
    let status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array().context("no probes in the status")?;
    Ok(probes.iter().filter_map(|probe| probe["shed"].as_array()).map(Vec::len).sum())
}

/// What the agent says that it leaves out, and why.
fn sampled_down(agent: &Agent) -> anyhow::Result<Vec<String>> {
    let status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array().context("no probes in the status")?;
    let down = probes.iter().filter(|probe| probe["shed"].as_array().is_some_and(|shed| !shed.is_empty()));
    Ok(down.map(|probe| format!("{}: {}", probe["name"], probe["reason"]).replace('"', "")).collect())
}

/// Loads an HTTP service with `wrk`.
fn wrk(address: SocketAddr, path: &str, length: Duration) -> anyhow::Result<(u64, f64)> {
    let mut command = Command::new("wrk");
    let seconds = format!("{}s", length.as_secs().max(1));
    command.args(["--threads", "1", "--connections", "32", "--duration", &seconds]);
    let told = crate::program::output(command.arg(format!("http://{address}{path}")))?;
    // `  123456 requests in 3.00s, 150.00MB read`
    let line = told.lines().find(|line| line.contains(" requests in ")).with_context(|| format!("wrk said {told}"))?;
    anyhow::ensure!(!told.contains("Non-2xx"), "wrk was answered with errors: {told}");
    let (count, rest) = line.trim().split_once(" requests in ").context("wrk")?;
    let seconds = rest.split_once("s,").map_or("", |(seconds, _)| seconds);
    Ok((count.parse().context("wrk")?, seconds.parse().with_context(|| format!("wrk said {line:?}"))?))
}

/// Waits until something answers with 200.
fn wait_ready(address: SocketAddr) -> anyhow::Result<()> {
    process::wait_until("the service", Duration::from_secs(60), || {
        Ok(http::get(address, "/").is_ok_and(|reply| reply.status == 200).then_some(()))
    })
}
