//! Processes that died: what was last known of them stays as an incident of its own, trigger `process_exit`.
//!
//! Told of a process that ended while it had an open incident; of those that the kernel killed for lack of memory
//! `departed` tells. Whether a signal ended it otherwise is not told by the kernel's event, so an end without either is
//! taken for a normal one.
//! Invariant: bounded; the incident stays open for a minute, so that an alert is sent, and then closes without having
//! recovered.

use crate::{
    incident::Ledger,
    model::{Incident, Nanos, Times, Trigger, TriggerKind, Verdict},
    target::Target,
    window::SECOND,
};
use std::collections::VecDeque;

/// How long such an incident stays open.
const OPEN: Nanos = 60 * SECOND;
/// Open ones at once; the oldest closes early.
const MOST: usize = 32;

/// The dead.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    open: VecDeque<Incident>,
}

impl Fallen {
    /// The open ones, oldest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter()
    }

    /// A process has ended; `last` is the incident that was open then. Appends what is told.
    pub(crate) fn exit(
        &mut self,
        target: &Target,
        last: &Incident,
        now: Nanos,
        ledger: &mut Ledger,
        told: &mut Vec<Incident>,
    ) {
        let detail = format!(
            "it ended while an incident was open ({}); how it ended is unknown; {}",
            last.trigger.detail,
            last_known(target)
        );
        let named = (last.verdict == Verdict::Named).then_some(now);
        let incident = Incident {
            id: ledger.number(),
            pid: target.pid,
            name: target.name.clone(),
            // Of a death nobody speaks for another.
            also: Vec::new(),
            severity: last.severity,
            trigger: Trigger { kind: TriggerKind::ProcessExit, slo: None, detail },
            opened: now,
            updated: now,
            closed: None,
            times: Times { onset: last.times.onset, detected: now, named, ..Times::default() },
            what_changed: last.what_changed.clone(),
            verdict: last.verdict,
            causes: last.causes.clone(),
            actions: Vec::new(),
        };
        told.push(incident.clone());
        self.open.push_back(incident);
        if self.open.len() > MOST {
            self.close_oldest(now, ledger, told);
        }
    }

    /// Closes what has been open for long enough.
    pub(crate) fn turn(&mut self, now: Nanos, ledger: &mut Ledger, told: &mut Vec<Incident>) {
        while self.open.front().is_some_and(|oldest| now.saturating_sub(oldest.opened) >= OPEN) {
            self.close_oldest(now, ledger, told);
        }
    }

    fn close_oldest(&mut self, now: Nanos, ledger: &mut Ledger, told: &mut Vec<Incident>) {
        if let Some(mut oldest) = self.open.pop_front() {
            (oldest.closed, oldest.updated) = (Some(now), now);
            told.push(oldest.clone());
            ledger.file(oldest);
        }
    }
}

/// The last look at it, in words.
fn last_known(target: &Target) -> String {
    let mut words = Vec::new();
    let live = target.fds.level().unwrap_or(0);
    if live > 0 {
        let limit = target.fd_limit().map_or(String::new(), |limit| format!(" of {limit}"));
        words.push(format!("{live} descriptors{limit}, {} of them orphaned", target.own.orphaned));
    }
    if let Some(bytes) = target.rss_anon {
        words.push(format!("{} MiB of anonymous memory", bytes >> 20));
    }
    if let Some(threads) = target.threads {
        words.push(format!("{threads} threads"));
    }
    if let Some(report) = target.report {
        words.push(format!("{} requests in progress", report.in_flight));
    }
    if words.is_empty() { "nothing was known of it".to_owned() } else { format!("last seen with {}", words.join(", ")) }
}
