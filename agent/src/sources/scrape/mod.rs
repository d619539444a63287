//! What targets publish of themselves: heap in use, tasks, garbage collections, goroutines by the place that makes
//! them. Only from addresses that the configuration names; no port is ever tried out.
//!
//! Invariant: a figure is a target's only if that target alone holds the socket that listens at the address;
//! otherwise it is nobody's, and the state says why. What comes back is hostile until parsed: bounded in size and
//! time, refused whole at the first line that makes no sense, and never followed anywhere. Cost: one request for
//! each address every [`EVERY`]; who listens is looked up again each half minute or after a failure.

mod endpoint;
mod exposition;
mod fetch;
mod figures;
mod goroutines;
mod listener;

pub(crate) use endpoint::Endpoint;

use super::Intake;
use crate::{metrics::Tally, render::scrape::Record};
use endpoint::Kind;
use figures::Figures;
use snowshed_ebpf::{Frame, Session};
use snowshed_engine::model::{Level, Observation, Pid, Resource, SiteId, TaskGroups};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How often each address is asked.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// How long it is believed who listens at an address.
const BELIEVED: Duration = Duration::from_secs(30);
/// Addresses that are asked at most.
pub(crate) const MOST: usize = 16;
/// With more goroutines than this only their sum and their entry functions are asked for: listing each of them
/// stops the target's world for as long as it takes.
const EACH_GOROUTINE: u64 = 2_000;

/// Names of places that a target told itself.
pub(crate) type Named = Vec<(SiteId, Vec<Frame>)>;

/// What the source needs.
pub(crate) struct Desk {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) every: Duration,
    pub(crate) intake: Intake,
    /// The processes that are watched.
    pub(crate) targets: watch::Receiver<Arc<Vec<Pid>>>,
    /// Takes the names of places.
    pub(crate) name: Box<dyn Fn(Named) + Send + Sync>,
    pub(crate) states: watch::Sender<Arc<Vec<Record>>>,
    pub(crate) tally: Tally,
}

struct Asked {
    endpoint: Endpoint,
    state: Record,
    believed: Option<Instant>,
}

/// Asks for as long as it is polled.
pub(crate) async fn run(desk: Desk) {
    if desk.endpoints.is_empty() {
        return;
    }
    let client = match fetch::client() {
        Ok(client) => client,
        Err(error) => return tracing::error!("no page of a target is asked for: {error}"),
    };
    let mut all: Vec<Asked> = desk.endpoints.iter().map(Asked::new).collect();
    let mut beat = tokio::time::interval(desk.every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        for asked in &mut all {
            let outcome = asked.ask(&desk, &client).await;
            asked.state.attempts_total += 1;
            let label = if outcome.is_ok() { "learnt" } else { "failed" };
            desk.tally.scrapes.with_label_values(&[label]).inc();
            if let Err(error) = &outcome {
                asked.state.failed_total += 1;
                asked.believed = None;
                if asked.state.error.as_ref() != Some(error) {
                    tracing::warn!("{}: {error}", asked.state.url);
                }
            }
            asked.state.error = outcome.err();
        }
        desk.states.send_replace(Arc::new(all.iter().map(|asked| asked.state.clone()).collect()));
    }
}

impl Asked {
    fn new(endpoint: &Endpoint) -> Self {
        let state = Record { url: endpoint.to_string(), ..Record::default() };
        Self { endpoint: endpoint.clone(), state, believed: None }
    }

    async fn ask(&mut self, desk: &Desk, client: &reqwest::Client) -> Result<(), String> {
        let pid = self.whose(desk).await?;
        match self.endpoint.kind {
            Kind::Exposition => {
                let page = fetch::get(client, self.endpoint.url.clone()).await?;
                tell(desk, pid, &figures::of_exposition(&page)?)
            }
            Kind::Expvar => {
                let page = fetch::get(client, self.endpoint.url.clone()).await?;
                tell(desk, pid, &figures::of_expvar(&page)?)
            }
            Kind::Goroutines => {
                let mut found = goroutines::summed(&fetch::get(client, self.endpoint.debug(1)).await?)?;
                let (live, at) = (found.live, Session::now());
                if live <= EACH_GOROUTINE {
                    found = goroutines::listed(&fetch::get(client, self.endpoint.debug(2)).await?)?;
                }
                (desk.name)(found.names);
                tell(desk, pid, &Figures { tasks: Some(live), ..Figures::default() })?;
                let (groups, left_out) = (found.groups, found.left_out);
                desk.intake.offer(Observation::TaskGroups(TaskGroups { pid, at, groups, left_out }));
                Ok(())
            }
        }
    }

    /// The target that alone listens at the address.
    async fn whose(&mut self, desk: &Desk) -> Result<Pid, String> {
        let targets = desk.targets.borrow().clone();
        let known = self.state.pid.filter(|pid| targets.contains(pid));
        if let Some(pid) = known.filter(|_| self.believed.is_some_and(|at| at.elapsed() < BELIEVED)) {
            return Ok(pid);
        }
        self.state.pid = None;
        let address = self.endpoint.address;
        let found = tokio::task::spawn_blocking(move || listener::holders(address, &targets)).await;
        let pid = match found.map_err(|error| error.to_string())?.as_slice() {
            [pid] => *pid,
            [] => return Err(format!("no watched process listens at {address} in the agent's network namespace")),
            several => {
                return Err(format!(
                    "{} watched processes share the socket at {address}: whose figures these are is not known",
                    several.len()
                ));
            }
        };
        (self.state.pid, self.believed) = (Some(pid), Some(Instant::now()));
        Ok(pid)
    }
}

/// Hands the figures over; a page without any that is known is an error.
fn tell(desk: &Desk, pid: Pid, figures: &Figures) -> Result<(), String> {
    let at = Session::now();
    let told = [
        (Resource::HeapInUse, figures.heap, figures.heap_limit),
        (Resource::Tasks, figures.tasks, None),
        (Resource::Collections, figures.collections, None),
    ];
    let mut some = false;
    for (resource, value, limit) in told {
        if let Some(value) = value {
            some = true;
            desk.intake.offer(Observation::Level(Level { pid, resource, value, limit, at }));
        }
    }
    if some { Ok(()) } else { Err("it tells neither heap in use nor tasks under a name that is known".to_owned()) }
}
