//! Who is told about incidents.
//!
//! Invariant: a sink never holds up the engine or another sink. Each has its own bounded queue in which
//! the newest change of an incident replaces an older one that still waits; when the queue is full, the
//! oldest incident is dropped and counted. Adding a sink is one file and its line in [`ALL`].

pub(crate) mod alertmanager;
mod journal;
mod log;
pub(crate) mod otlp_logs;
mod queue;
mod store;
pub(crate) mod webhook;

use crate::{
    clock::Clock,
    metrics::Tally,
    render::{Numbered, SharedSites, incident::Record, named_record},
    store::Store,
};
use futures_util::future::BoxFuture;
pub(crate) use queue::Queue;
use serde::Serialize;
use snowshed_engine::model::{CauseKind, Severity, Verdict};
use std::{collections::HashMap, path::PathBuf, time::Duration};

/// How long one HTTP attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The sinks' own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// [`alertmanager`].
    pub(crate) alertmanager: Option<alertmanager::Config>,
    /// [`webhook`].
    pub(crate) webhook: Option<webhook::Config>,
    /// [`otlp_logs`].
    pub(crate) otlp_logs: Option<otlp_logs::Config>,
    /// Where [`journal`] writes.
    pub(crate) state_dir: Option<PathBuf>,
}

/// What every sink gets.
#[derive(Clone)]
pub(crate) struct Context {
    /// Names of code.
    pub(crate) sites: SharedSites,
    /// The time.
    pub(crate) clock: Clock,
    /// Incidents on disk.
    pub(crate) store: Store,
    /// Counters.
    pub(crate) tally: Tally,
    /// Where people find the agent, as in `http://127.0.0.1:9470`.
    pub(crate) agent_url: String,
}

/// A sink's task, or nothing where the configuration does not want it, or what is wrong with its settings.
pub(crate) type Started = Result<Option<BoxFuture<'static, ()>>, String>;

/// A sink of this version.
pub(crate) struct Unit {
    /// Its name, which is its config key and its label in the metrics.
    pub(crate) name: &'static str,
    /// Its task, if the configuration wants it.
    pub(crate) start: fn(&Config, Context, Queue) -> Started,
}

/// All that this version has.
pub(crate) const ALL: &[Unit] =
    &[log::UNIT, journal::UNIT, store::UNIT, alertmanager::UNIT, webhook::UNIT, otlp_logs::UNIT];

impl Context {
    /// The public record, with names.
    async fn record(&self, numbered: &Numbered) -> Record {
        named_record(numbered, &self.sites, &self.clock).await
    }

    /// Posts JSON once; what went wrong is counted and returned.
    async fn post(&self, sink: &str, client: &reqwest::Client, url: &str, json: &impl Serialize) -> Result<(), String> {
        let outcome = match client.post(url).timeout(ATTEMPT).json(json).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answered {}", response.status())),
            Err(error) => Err(chain(&error)),
        };
        let counter = if outcome.is_ok() { &self.tally.sink_sent } else { &self.tally.sink_failed };
        counter.with_label_values(&[sink]).inc();
        outcome
    }
}

/// Where an incident stands. Figures change each second; this changes when there is something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    closed: bool,
    severity: Severity,
    verdict: Verdict,
    cause: Option<CauseKind>,
    actions: usize,
}

/// The stages that were last told, for sinks that are read by people. Open incidents only, hence bounded
/// by what the engine keeps open.
#[derive(Debug, Default)]
struct Stages(HashMap<String, Stage>);

impl Stages {
    /// Whether this change is worth telling; remembers it if so.
    fn is_news(&mut self, record: &Record) -> bool {
        let stage = Stage {
            closed: record.closed_at.is_some(),
            severity: record.severity,
            verdict: record.verdict,
            cause: record.causes.first().map(|cause| cause.kind),
            actions: record.actions.len(),
        };
        let news = self.0.get(&record.id) != Some(&stage);
        if stage.closed {
            self.0.remove(&record.id);
        } else {
            self.0.insert(record.id.clone(), stage);
        }
        news
    }

    /// It was not told after all: the next change is news whatever it is.
    fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }
}

/// The wait before the next attempt: doubles from 250 ms to 30 s.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(250 << failures.min(7)).min(Duration::from_secs(30))
}

/// A client that does not send loopback traffic through a proxy, and an address that it can post to.
fn client(url: &str, key: &str) -> Result<(reqwest::Client, reqwest::Url), String> {
    let parsed: reqwest::Url = url.parse().map_err(|error| format!("{key}.url: {url:?}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{key}.url: {url:?}: only http and https are spoken"));
    }
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if parsed.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]") {
        builder = builder.no_proxy();
    }
    Ok((builder.build().map_err(|error| format!("{key}: {}", chain(&error)))?, parsed))
}

/// An error with what lies behind it: reqwest's own text leaves out the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_stage_is_news() {
        let (numbered, sites, clock) = crate::render::incident::tests::sample();
        let mut record = Record::of(&numbered, &sites, &clock);
        let mut stages = Stages::default();
        assert!(stages.is_news(&record));
        record.causes[0].title = "38 files".into();
        assert!(!stages.is_news(&record));
        stages.forget(&record.id);
        assert!(stages.is_news(&record), "it was not told");
        record.verdict = Verdict::Unknown;
        assert!(stages.is_news(&record));
        record.closed_at = Some(record.updated_at.clone());
        assert!(stages.is_news(&record));
        assert!(stages.0.is_empty());
    }

    #[test]
    fn the_wait_grows_and_is_bounded() {
        assert_eq!(backoff(0), Duration::from_millis(250));
        assert_eq!(backoff(2), Duration::from_secs(1));
        assert_eq!(backoff(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn an_address_that_cannot_be_posted_to_is_refused_with_its_key() {
        assert!(client("not a url", "webhook").is_err_and(|text| text.starts_with("webhook.url")));
        assert!(client("file:///etc/passwd", "webhook").is_err_and(|text| text.contains("http and https")));
    }
}
