//! One incident from its opening to its end, and the record of closed ones.
//!
//! A target has at most one open incident: later triggers merge into it. It has recovered when no
//! trigger has held for a while, and closes some seconds later, once the breaker has given everything
//! back. Invariant: at most 8 causes, 64 actions and 64 closed incidents are kept.

use crate::{
    causes::{self, Scene},
    correlate::rank::{Explained, rank},
    detect::Finding,
    model::{
        ActionTaken, Cause, CauseKind, Incident, IncidentId, Nanos, Pid, Severity, SiteId, Times, Trigger, Verdict,
    },
    window::SECOND,
};
use std::collections::VecDeque;

/// So long without a trigger is recovery; so long after that the incident closes.
const QUIET: Nanos = 10 * SECOND;
const CLOSE_AFTER: Nanos = 5 * SECOND;
/// Changes are told at most this often.
const TELL_EVERY: Nanos = SECOND;
/// A shortage that was not proposed for so long is over; what is left of the confidence in it if the trouble goes on.
const OVER: (Nanos, f64) = (20 * SECOND, 0.6);
/// So long what changed is looked for anew.
const YOUNG: Nanos = 60 * SECOND;
/// Most actions on an incident.
const ACTIONS: usize = 64;

/// Numbers incidents and keeps the closed ones.
#[derive(Debug)]
pub(crate) struct Ledger {
    last: IncidentId,
    cap: usize,
    closed: VecDeque<Incident>,
}

impl Ledger {
    /// Empty; keeps so many closed incidents.
    pub(crate) fn new(cap: usize) -> Self {
        Self { last: 0, cap, closed: VecDeque::new() }
    }

    /// Closed incidents, oldest first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Incident> {
        self.closed.iter()
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> IncidentId {
        self.last += 1;
        self.last
    }

    /// Keeps a closed incident; the oldest makes room.
    pub(crate) fn file(&mut self, incident: Incident) {
        self.closed.push_back(incident);
        while self.closed.len() > self.cap {
            self.closed.pop_front();
        }
    }
}

/// What must differ before an incident is told again: small changes of figures do not.
#[derive(Debug, Default, PartialEq)]
struct Gist {
    verdict: Option<Verdict>,
    severity: Option<Severity>,
    causes: Vec<(causes::Identity, u32, Option<u32>)>,
    times: Times,
    actions: usize,
    changed: usize,
    also: usize,
    closed: bool,
}

/// An open incident.
#[derive(Debug)]
pub(crate) struct Episode {
    pub(crate) incident: Incident,
    /// What the anomaly is of that opened it.
    of: Option<CauseKind>,
    /// The causes as proposed, before symptoms were explained away, and when each last was.
    proposed: Vec<(Cause, Nanos)>,
    explained: Explained,
    quiet_since: Option<Nanos>,
    /// Requests usually in progress before the onset; kept, because a limit changes what is usual.
    pub(crate) usual: Option<u32>,
    told: Gist,
    told_at: Option<Nanos>,
    /// Another incident of its family speaks for it.
    yields: bool,
    /// Which cause was suspected before it opened, and since when.
    pub(crate) suspected: Option<(CauseKind, Nanos)>,
}

impl Episode {
    /// Opens the incident of this number for the first of some findings.
    pub(crate) fn open(id: IncidentId, pid: Pid, name: &str, first: &Finding, now: Nanos) -> Self {
        let trigger = Trigger { kind: first.kind, slo: first.slo.clone(), detail: first.detail.clone() };
        let incident = Incident {
            id,
            pid,
            name: name.to_owned(),
            also: Vec::new(),
            severity: first.severity,
            trigger,
            opened: now,
            updated: now,
            closed: None,
            times: Times { onset: first.onset, detected: now, ..Times::default() },
            what_changed: Vec::new(),
            verdict: Verdict::Unknown,
            causes: Vec::new(),
            actions: Vec::new(),
        };
        Self {
            incident,
            of: first.of,
            proposed: Vec::new(),
            explained: Explained::new(),
            quiet_since: None,
            usual: None,
            told: Gist::default(),
            told_at: None,
            yields: false,
            suspected: None,
        }
    }

    /// Whether it may speak for another process of its family: nothing was told or done of that one's incident, it is no
    /// more urgent, and its trouble is the same: the same first cause where both are believed, else what opened them.
    pub(crate) fn may_speak_for(&self, other: &Self) -> bool {
        let named = |one: &Self| {
            let first = one.incident.causes.first().filter(|_| one.incident.verdict == Verdict::Named)?;
            // What is kept is another trouble if it is made elsewhere; what is short is short wherever it is waited for.
            let place = if causes::is_shortage(first.kind) { SiteId(0) } else { first.site };
            Some((first.kind, place))
        };
        let (own, others) = (&self.incident, &other.incident);
        let is_free = !other.is_told() && others.actions.is_empty() && others.severity <= own.severity;
        is_free
            && own.name == others.name
            && match (named(self), named(other)) {
                (Some(one), Some(another)) => one == another,
                _ => own.trigger.kind == others.trigger.kind && self.of == other.of,
            }
    }

    /// Whether anybody was told of it.
    pub(crate) fn is_told(&self) -> bool {
        self.told_at.is_some()
    }

    /// Whether nothing is to be told of it, because another speaks for it.
    pub(crate) fn is_silent(&self) -> bool {
        self.yields && !self.is_told()
    }

    /// It speaks for itself, and for the same in these processes.
    pub(crate) fn stand(&mut self, also: Vec<Pid>) {
        (self.yields, self.incident.also) = (false, also);
    }

    /// Another one speaks for it.
    pub(crate) fn yield_to_kin(&mut self) {
        (self.yields, self.incident.also) = (true, Vec::new());
    }

    /// Takes in what is found now.
    pub(crate) fn update(&mut self, scene: &Scene<'_>, findings: &[Finding]) {
        let (now, incident) = (scene.now, &mut self.incident);
        if findings.is_empty() {
            let since = *self.quiet_since.get_or_insert(now);
            if now.saturating_sub(since) >= QUIET && incident.times.recovered.is_none() {
                (incident.times.recovered, incident.updated) = (Some(since), now);
            }
            return;
        }
        (self.quiet_since, incident.times.recovered, incident.updated) = (None, None, now);
        incident.severity = findings.iter().map(|found| found.severity).fold(incident.severity, Severity::max);
        let held = findings.iter().find(|found| found.kind == incident.trigger.kind).map(|held| held.kind);
        let is_same = |found: &&Finding| found.kind == incident.trigger.kind && found.of == self.of;
        if let Some(same) = findings.iter().find(is_same) {
            incident.trigger.detail.clone_from(&same.detail);
            // A second look may see further back, never later.
            incident.times.onset = incident.times.onset.min(same.onset);
        }
        for unit in causes::ALL.iter().filter(|unit| findings.iter().any(|found| unit.needs.contains(&found.kind))) {
            let mut proposed = (unit.propose)(scene);
            proposed.iter_mut().for_each(|cause| keep_worst(cause, &self.proposed));
            if !proposed.is_empty() {
                self.proposed.retain(|(cause, _)| cause.kind != unit.kind);
                self.proposed.extend(proposed.into_iter().map(|cause| (cause, now)));
            }
        }
        incident.causes = causes_as_of(now, &self.proposed);
        incident.verdict =
            rank(scene, held.map(|held| (held, self.of)), findings, &mut incident.causes, &mut self.explained);
        if incident.verdict == Verdict::Named && incident.times.named.is_none() {
            incident.times.named = Some(now);
            let first = incident.causes.first().map(|cause| cause.kind);
            let same = self.suspected.filter(|(kind, _)| Some(*kind) == first);
            incident.times.suspected = same.map(|(_, since)| since);
        }
    }

    /// Whether what changed is still to be looked for: later the time since the onset is a past of its own.
    pub(crate) fn is_young(&self, now: Nanos) -> bool {
        now.saturating_sub(self.incident.opened) <= YOUNG
    }

    /// Records an action; the oldest makes room.
    pub(crate) fn act(&mut self, action: ActionTaken) {
        if self.incident.actions.len() >= ACTIONS {
            self.incident.actions.remove(0);
        }
        self.incident.updated = self.incident.updated.max(action.at);
        self.incident.actions.push(action);
    }

    /// The last action's time limit was moved.
    pub(crate) fn renew(&mut self, expires: Nanos) {
        if let Some(last) = self.incident.actions.last_mut() {
            last.expires = Some(expires);
        }
    }

    /// An action has taken effect.
    pub(crate) fn mitigated(&mut self, at: Nanos) {
        if self.incident.times.mitigated.is_none() {
            (self.incident.times.mitigated, self.incident.updated) = (Some(at), self.incident.updated.max(at));
        }
    }

    /// Whether it is over: recovered, some seconds have passed, and nothing is limited any more.
    pub(crate) fn is_over(&self, now: Nanos, breaker_closed: bool) -> bool {
        let quiet = self.quiet_since.is_some_and(|since| now.saturating_sub(since) >= QUIET + CLOSE_AFTER);
        quiet && breaker_closed && self.incident.times.recovered.is_some()
    }

    /// Closes it.
    pub(crate) fn close(mut self, now: Nanos) -> Incident {
        (self.incident.closed, self.incident.updated) = (Some(now), now);
        self.incident
    }

    /// The incident, if it has changed enough since it was last told and that is a while ago.
    pub(crate) fn news(&mut self, now: Nanos) -> Option<Incident> {
        if self.is_silent() || self.told_at.is_some_and(|at| now.saturating_sub(at) < TELL_EVERY) {
            return None;
        }
        let gist = self.gist();
        if self.told_at.is_some() && gist == self.told {
            return None;
        }
        (self.told, self.told_at) = (gist, Some(now));
        Some(self.incident.clone())
    }

    fn gist(&self) -> Gist {
        let incident = &self.incident;
        let cause = |cause: &Cause| {
            let size = cause.evidence.first().map_or(0.0, |evidence| evidence.after);
            (causes::identity(cause), steps(size), cause.forecast.map(|told| steps(told.eta_seconds.1)))
        };
        Gist {
            verdict: Some(incident.verdict),
            severity: Some(incident.severity),
            causes: incident.causes.iter().map(cause).collect(),
            times: Times { onset: (0, 0), ..incident.times },
            actions: incident.actions.len(),
            changed: incident.what_changed.len(),
            also: incident.also.len(),
            closed: incident.closed.is_some(),
        }
    }
}

/// What was proposed, less what is left of those that are over while the trouble, and another of them, goes on.
fn causes_as_of(now: Nanos, proposed: &[(Cause, Nanos)]) -> Vec<Cause> {
    let is_over = |seen: Nanos| now.saturating_sub(seen) >= OVER.0;
    let another = proposed.iter().any(|(_, seen)| !is_over(*seen));
    let as_of = |(cause, seen): &(Cause, Nanos)| {
        let left = if another && is_over(*seen) && causes::is_shortage(cause.kind) { OVER.1 } else { 1.0 };
        Cause { confidence: cause.confidence * left, ..cause.clone() }
    };
    proposed.iter().map(as_of).collect()
}

/// What fades while it ends is remembered as it was at its worst.
fn keep_worst(cause: &mut Cause, known: &[(Cause, Nanos)]) {
    let size = |cause: &Cause| cause.evidence.first().map_or(0.0, |evidence| evidence.after);
    let same = known.iter().map(|(known, _)| known).find(|known| causes::identity(known) == causes::identity(cause));
    // Leaks and growth tell their own most, beside what is still held.
    let fades = !matches!(cause.kind, CauseKind::FdLeak | CauseKind::TaskLeak | CauseKind::MemoryGrowth);
    // Only what rests on the same figure can be held against it.
    let signal = |cause: &Cause| cause.evidence.first().map(|evidence| evidence.signal.clone());
    let faded = |known: &&Cause| fades && signal(known) == signal(cause) && size(known) > size(cause);
    if let Some(worst) = same.filter(faded) {
        cause.title.clone_from(&worst.title);
        cause.evidence.clone_from(&worst.evidence);
        cause.confidence = cause.confidence.max(worst.confidence);
    }
}

/// A figure in steps of a quarter.
fn steps(value: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a logarithm, clamped")]
    let step = (value.clamp(1.0, 1e12).ln() / 1.25_f64.ln()) as u32;
    step
}
