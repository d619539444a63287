//! Looks at the agent, Alertmanager and the load generator's log again and again, and prints what is new.
//!
//! Cost: four small requests a look, and a fifth each second.

use super::{
    claims,
    guarded::Peers,
    screen::{Screen, Tone},
    story::Story,
};
use crate::{load::wall_clock, rig::Events};
use anyhow::Context as _;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Seconds after a verdict within which the names of the code must be there.
const NAMES: f64 = 3.0;

/// What has been looked at so far.
pub(super) struct Watch {
    events: Events,
    /// First and last `sample` of the agent's stream.
    pub(super) first: Value,
    pub(super) latest: Value,
    incident: Option<String>,
    alerts_asked: Option<Instant>,
    /// Requests of the load generator's log that were looked at.
    pub(super) records: usize,
    /// Rounds in a row that failed.
    failures: u32,
}

impl Watch {
    pub(super) fn new(events: Events) -> Self {
        Self {
            events,
            first: Value::Null,
            latest: Value::Null,
            incident: None,
            alerts_asked: None,
            records: 0,
            failures: 0,
        }
    }

    /// One round over everything that can be observed; prints what is new.
    ///
    /// # Errors
    /// Five rounds in a row failed: on a busy machine a single answer may come late.
    pub(super) fn look(&mut self, screen: &Screen, peers: &Peers, story: &mut Story) -> anyhow::Result<()> {
        match self.round(screen, peers, story) {
            Err(error) if self.failures == 4 => Err(error),
            Err(_) => {
                self.failures += 1;
                Ok(())
            }
            Ok(()) => {
                self.failures = 0;
                Ok(())
            }
        }
    }

    fn round(&mut self, screen: &Screen, peers: &Peers, story: &mut Story) -> anyhow::Result<()> {
        self.sample()?;
        let incidents = peers.agent.incidents()?;
        let mine = |incident: &&Value| match &self.incident {
            Some(id) => incident["id"] == id.as_str(),
            None => incident["closed_at"].is_null(),
        };
        if let Some(incident) = incidents.iter().find(mine) {
            self.incident = incident["id"].as_str().map(str::to_owned);
            self.incident(screen, peers, story, incident)?;
        }
        Self::objective(screen, peers, story)?;
        self.clients(screen, peers, story);
        if self.alerts_asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(1)) {
            self.alerts_asked = Some(Instant::now());
            Self::alerts(screen, peers, story)?;
        }
        Ok(())
    }

    /// Takes the samples that the agent has sent meanwhile.
    pub(super) fn sample(&mut self) -> anyhow::Result<()> {
        for event in self.events.take()? {
            if event.kind == "sample" {
                if self.first.is_null() {
                    self.first = event.data.clone();
                }
                self.latest = event.data;
            }
        }
        Ok(())
    }

    fn incident(&self, screen: &Screen, peers: &Peers, story: &mut Story, incident: &Value) -> anyhow::Result<()> {
        let now = wall_clock();
        let named = claims::named(incident);
        if named.is_some() {
            story.named_at.get_or_insert(now);
        }
        // The code's names are looked up after the verdict; that is given a moment.
        let is_told = !claims::frames(incident).is_empty() || story.named_at.is_some_and(|at| now > at + NAMES);
        if story.named.is_none()
            && let Some(kind) = named
            && is_told
        {
            let cause = claims::cause(incident);
            let confidence = cause["confidence"].as_f64().unwrap_or(0.0);
            screen.seen("named", &format!("{kind}, confidence {confidence:.2}"), Tone::Bad);
            screen.fact("", cause["title"].as_str().unwrap_or_default());
            for frame in claims::own_frames(incident).iter().take(3) {
                screen.fact("at", &claims::brief(frame));
            }
            let traces = claims::trace_ids(incident);
            for trace in traces.iter().take(3) {
                screen.fact("trace", trace);
            }
            if traces.len() > 3 {
                screen.fact("", &format!("and {} more", traces.len() - 3));
            }
            story.named = Some((now, incident.clone()));
        }
        if story.forecast.is_none()
            && let Some(forecast) = claims::forecast(incident)
        {
            let orphaned = peers.agent.fds(peers.service.pid())?["orphaned"].as_u64().unwrap_or(0);
            let text = format!(
                "{orphaned} fds held by requests that ended, limit of {} reached in {:.0} to {:.0} s",
                forecast.limit, forecast.earliest, forecast.latest
            );
            screen.seen("forecast", &text, Tone::Bad);
            let told = claims::seconds(&incident["updated_at"]).unwrap_or(now);
            story.forecast = Some((told, forecast));
        }
        if story.limited.is_none()
            && let Some((change, reason)) = claims::action(incident)
            && let Some(limit) = self.limit_in_force(peers.service.pid())
        {
            screen.seen("limited", &format!("{change} ({reason})"), Tone::Plain);
            story.limited = Some((now, limit));
        }
        if story.off > 0.0 && story.closed.is_none() && !incident["closed_at"].is_null() {
            screen.seen("closed", "the incident is over", Tone::Good);
            story.closed = Some((now, incident.clone()));
        }
        if story.off > 0.0
            && story.limited.is_some()
            && story.released.is_none()
            && self.limit_in_force(peers.service.pid()).is_none()
        {
            screen.seen("given back", "no limit is in force any more", Tone::Good);
            story.released = Some(now);
        }
        Ok(())
    }

    /// The limit that the service itself says it enforces, as of the agent's last sample.
    fn limit_in_force(&self, pid: u32) -> Option<u64> {
        let targets = self.latest["targets"].as_array()?;
        targets.iter().find(|target| target["pid"] == pid)?["limit"].as_u64()
    }

    fn objective(screen: &Screen, peers: &Peers, story: &mut Story) -> anyhow::Result<()> {
        if story.burning.is_some() {
            return Ok(());
        }
        let objectives = peers.agent.items("/api/v1/slo")?;
        if let Some(burning) = objectives.iter().find(|slo| slo["state"] == "burning") {
            let ratio = burning["ratio"].as_f64().unwrap_or(0.0) * 100.0;
            let target = burning["target"].as_f64().unwrap_or(0.0) * 100.0;
            let name = burning["name"].as_str().unwrap_or_default();
            let text = format!("{name}: {ratio:.0} % good where {target:.0} % are promised, 3 windows in a row");
            screen.seen("SLO burning", &text, Tone::Bad);
            story.burning = Some(wall_clock());
        }
        Ok(())
    }

    /// What the load generator saw: requests refused, and later good ones again.
    fn clients(&mut self, screen: &Screen, peers: &Peers, story: &mut Story) {
        let Some(load) = &peers.load else { return };
        let news = load.log().ended_since(self.records);
        self.records += news.len();
        for record in news {
            if story.refused.is_none() && record.status == Some(429) {
                screen.seen("shed", "a client got 429 with Retry-After", Tone::Plain);
                story.refused = Some(record.ended);
            }
            let prompt = record.first_byte_ms.is_some_and(|time| time <= 1000.0);
            if story.off > 0.0 && story.first_good.is_none() && record.started > story.off && record.is_good() && prompt
            {
                screen.seen("clients", "a new request is answered well within the objective", Tone::Good);
                story.first_good = Some(record.ended);
            }
        }
    }

    fn alerts(screen: &Screen, peers: &Peers, story: &mut Story) -> anyhow::Result<()> {
        let alerts = peers.alertmanager.alerts()?;
        if story.alert.is_none()
            && let Some((_, incident)) = &story.named
            && let Some(alert) = alerts.iter().find(|alert| alert["labels"]["cause"] == claims::cause(incident)["kind"])
        {
            screen.seen("alert", "as Alertmanager received it:", Tone::Plain);
            screen.verbatim(&serde_json::to_string_pretty(alert).context("alert")?);
            story.alert = Some((wall_clock(), alert.clone()));
        }
        if story.off > 0.0 && story.alert.is_some() && story.resolved.is_none() && alerts.is_empty() {
            screen.seen("resolved", "Alertmanager holds no alert any more", Tone::Good);
            story.resolved = Some(wall_clock());
        }
        Ok(())
    }
}
