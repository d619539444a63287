//! The public record of an incident, version 1 of the contract.
//!
//! Invariant: field names and nesting are the contract's; an unknown value is `null` or empty, never
//! left out. The record reads back (`explain` renders what an agent elsewhere answered).

use super::{Numbered, Passport, Sites, allocators::beyond_allocator, frames, own_numbers};
use crate::clock::Clock;
use serde::{Deserialize, Serialize};
use snowshed_engine::model::{
    self, ActuatorKind, CauseKind, Join, Layer, Pid, Resource, Severity, TraceId, TriggerKind, Verdict,
};

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) target: Target,
    pub(crate) severity: Severity,
    pub(crate) opened_at: String,
    pub(crate) updated_at: String,
    pub(crate) closed_at: Option<String>,
    /// How its end is known; `None` while it is open.
    #[serde(default)]
    pub(crate) end: Option<End>,
    pub(crate) trigger: Trigger,
    pub(crate) times: Times,
    pub(crate) what_changed: Vec<String>,
    pub(crate) verdict: Verdict,
    pub(crate) causes: Vec<Cause>,
    pub(crate) actions: Vec<Action>,
}

/// How the end of an incident is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The agent saw it end.
    Seen,
    /// The agent ended first: `closed_at` is when it was last known to be open.
    Unknown,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) pid: Pid,
    pub(crate) started_at: Option<String>,
    pub(crate) service_instance_id: Option<String>,
    pub(crate) pod: Option<String>,
    /// Other processes of the same service in which the same goes on.
    #[serde(default)]
    pub(crate) also_pids: Vec<Pid>,
}

/// What opened it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) kind: TriggerKind,
    pub(crate) slo: Option<String>,
    pub(crate) detail: String,
}

/// The clock of the response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) onset: (String, String),
    /// Since when the cause that was named first had been suspected.
    #[serde(default)]
    pub(crate) suspected: Option<String>,
    pub(crate) detected: String,
    pub(crate) named: Option<String>,
    pub(crate) mitigated: Option<String>,
    pub(crate) recovered: Option<String>,
}

/// A possible culprit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) kind: CauseKind,
    pub(crate) confidence: f64,
    pub(crate) title: String,
    pub(crate) site: Site,
    pub(crate) thread: Option<model::ThreadRef>,
    pub(crate) connection: Option<model::Connection>,
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) forecast: Option<Forecast>,
}

/// A place in the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) frames: Vec<String>,
    /// Which of them are likely the program's own: where to begin to read comes first.
    #[serde(default)]
    pub(crate) own: Vec<usize>,
}

impl Site {
    fn new(frames: Vec<String>) -> Self {
        Self { own: own_numbers(&frames), frames }
    }
}

/// What may be wrong with a target, if it lasts; no incident has named it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Suspicion {
    pub(crate) since: String,
    pub(crate) causes: Vec<Cause>,
}

impl Suspicion {
    /// As it is now.
    pub(crate) fn new(suspected: &model::SuspicionView, sites: &Sites, clock: &Clock) -> Self {
        let causes = suspected.causes.iter().map(|found| cause(found, sites, clock)).collect();
        Self { since: clock.rfc3339(suspected.since), causes }
    }
}

/// One measured difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    pub(crate) layer: Layer,
    pub(crate) signal: String,
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) unit: String,
    pub(crate) n: u64,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) join: Join,
    pub(crate) ambiguity: u32,
}

/// When a resource is used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecast {
    pub(crate) resource: Resource,
    pub(crate) level: u64,
    pub(crate) limit: u64,
    pub(crate) eta_seconds: (f64, f64),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) at: String,
    pub(crate) actuator: ActuatorKind,
    pub(crate) change: String,
    pub(crate) reason: String,
    pub(crate) dry_run: bool,
    pub(crate) expires_at: Option<String>,
}

impl Record {
    /// The public record of an incident as it is now.
    pub(crate) fn new(passport: &Passport, incident: &model::Incident, sites: &Sites, clock: &Clock) -> Self {
        let at = |nanos| clock.rfc3339(nanos);
        let times = &incident.times;
        Self {
            id: passport.id.to_string(),
            target: Target {
                name: incident.name.clone(),
                pid: incident.pid,
                started_at: passport.target_started.map(at),
                service_instance_id: passport.instance.clone(),
                pod: None,
                also_pids: incident.also.clone(),
            },
            severity: incident.severity,
            opened_at: at(incident.opened),
            updated_at: at(incident.updated),
            closed_at: incident.closed.map(at),
            end: incident.closed.map(|_| End::Seen),
            trigger: Trigger {
                kind: incident.trigger.kind,
                slo: incident.trigger.slo.clone(),
                detail: incident.trigger.detail.clone(),
            },
            times: Times {
                onset: (at(times.onset.0), at(times.onset.1)),
                suspected: times.suspected.map(at),
                detected: at(times.detected),
                named: times.named.map(at),
                mitigated: times.mitigated.map(at),
                recovered: times.recovered.map(at),
            },
            what_changed: incident.what_changed.clone(),
            verdict: incident.verdict,
            causes: incident.causes.iter().map(|found| cause(found, sites, clock)).collect(),
            actions: incident.actions.iter().map(|taken| action(taken, clock)).collect(),
        }
    }

    /// The same from an incident that carries its passport.
    pub(crate) fn of(numbered: &Numbered, sites: &Sites, clock: &Clock) -> Self {
        Self::new(&numbered.passport, &numbered.incident, sites, clock)
    }
}

fn cause(cause: &model::Cause, sites: &Sites, clock: &Clock) -> Cause {
    Cause {
        kind: cause.kind,
        confidence: cause.confidence,
        title: cause.title.clone(),
        site: Site::new(place(cause, sites)),
        thread: cause.thread.clone(),
        connection: cause.connection,
        trace_ids: cause.traces.clone(),
        evidence: cause.evidence.iter().map(|item| evidence(item, clock)).collect(),
        forecast: cause.forecast.map(|forecast| Forecast {
            resource: forecast.resource,
            level: forecast.level,
            limit: forecast.limit,
            eta_seconds: forecast.eta_seconds,
        }),
    }
}

/// Where memory comes in, every stack begins in the allocator: that is not the place.
fn place(cause: &model::Cause, sites: &Sites) -> Vec<String> {
    let all = frames(sites, cause.site);
    let by_pages = matches!(cause.kind, CauseKind::MemoryGrowth | CauseKind::TaskLeak);
    if by_pages { beyond_allocator(all) } else { all }
}

fn evidence(evidence: &model::Evidence, clock: &Clock) -> Evidence {
    Evidence {
        layer: evidence.layer,
        signal: evidence.signal.clone(),
        before: evidence.before,
        after: evidence.after,
        unit: evidence.unit.clone(),
        n: evidence.n,
        since: clock.rfc3339(evidence.since),
        until: clock.rfc3339(evidence.until),
        join: evidence.join,
        ambiguity: evidence.ambiguity,
    }
}

fn action(taken: &model::ActionTaken, clock: &Clock) -> Action {
    Action {
        at: clock.rfc3339(taken.at),
        actuator: taken.actuator,
        change: taken.change.clone(),
        reason: taken.reason.clone(),
        dry_run: taken.dry_run,
        expires_at: taken.expires.map(|at| clock.rfc3339(at)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use snowshed_ebpf::Frame;
    use snowshed_engine::model::SiteId;
    use uuid::Uuid;

    const SECOND: u64 = 1_000_000_000;

    /// An incident with every field filled, for the tests of all who print one.
    pub(crate) fn sample() -> (Numbered, Sites, Clock) {
        let trace: TraceId = "0af7651916cd43dd8448eb211c80319c".parse().expect("a trace id");
        let incident = model::Incident {
            id: 7,
            pid: 4242,
            name: "transcoder".into(),
            also: vec![4243, 4244],
            severity: Severity::Page,
            trigger: model::Trigger {
                kind: TriggerKind::Orphans,
                slo: None,
                detail: "5 files outlived their requests".into(),
            },
            opened: 20 * SECOND,
            updated: 30 * SECOND,
            closed: None,
            times: model::Times {
                onset: (10 * SECOND, 12 * SECOND),
                detected: 20 * SECOND,
                suspected: Some(19 * SECOND),
                named: Some(21 * SECOND),
                mitigated: None,
                recovered: None,
            },
            what_changed: vec!["start: the process started 9 s before the onset".into()],
            verdict: Verdict::Named,
            causes: vec![model::Cause {
                kind: CauseKind::FdLeak,
                confidence: 0.93,
                title: "37 temporary files held by requests that ended".into(),
                site: SiteId(9),
                thread: Some(model::ThreadRef { tid: 4243, name: "worker-1".into() }),
                connection: None,
                traces: vec![trace],
                evidence: vec![model::Evidence {
                    layer: Layer::Application,
                    signal: "fd.orphaned".into(),
                    before: 0.0,
                    after: 37.0,
                    unit: "fds".into(),
                    n: 37,
                    since: 10 * SECOND,
                    until: 30 * SECOND,
                    join: Join::ThreadContext,
                    ambiguity: 1,
                }],
                forecast: Some(model::Forecast {
                    resource: Resource::Fds,
                    level: 100,
                    limit: 512,
                    eta_seconds: (48.0, 61.0),
                }),
            }],
            actions: vec![model::ActionTaken {
                at: 22 * SECOND,
                actuator: ActuatorKind::Guard,
                change: "limit none -> 4".into(),
                reason: "fd_leak".into(),
                dry_run: true,
                expires: Some(52 * SECOND),
            }],
        };
        let passport = Passport {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            target_started: Some(SECOND),
            instance: None,
        };
        let sites = Sites::from([(
            SiteId(9),
            vec![
                Frame { function: "spool_upload".into(), location: Some(("spool.rs".into(), 41)) },
                Frame { function: "handle".into(), location: None },
            ],
        )]);
        (Numbered { passport, incident }, sites, Clock::with_offset(1_700_000_000_000_000_000))
    }

    #[test]
    fn the_json_is_the_contracts() {
        let (numbered, sites, clock) = sample();
        let record = Record::of(&numbered, &sites, &clock);
        let json = serde_json::to_string_pretty(&record).expect("serialises");
        assert_eq!(json.trim(), include_str!("golden/incident.json").trim());
        let back: Record = serde_json::from_str(&json).expect("reads back");
        assert_eq!(back, record);
    }
}
