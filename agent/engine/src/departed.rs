//! Incidents that outlive their process: the kernel ended it, and somebody must be told.
//!
//! Such an incident stays open for a minute after the last death, so that alerts fire; a process of the same name is
//! taken for its successor, and if that dies too it is the same incident. Invariant: at most [`MOST`] are open; one too
//! many closes the oldest.

use crate::{
    incident::Ledger,
    model::{Incident, Nanos, Output},
    window::SECOND,
};
use std::collections::VecDeque;

/// Most that are open.
const MOST: usize = 32;
/// So long after the last death it closes.
const OPEN_FOR: Nanos = 60 * SECOND;

#[derive(Debug)]
struct One {
    incident: Incident,
    deaths: u32,
    last: Nanos,
}

/// Incidents of processes that are gone.
#[derive(Debug, Default)]
pub(crate) struct Departed(VecDeque<One>);

impl Departed {
    /// Takes the incident of a process that was ended now.
    pub(crate) fn add(&mut self, incident: Incident, now: Nanos, ledger: &mut Ledger, out: &mut Vec<Output>) {
        if self.0.len() >= MOST {
            self.close(now, ledger, out, |place, _| place == 0);
        }
        self.0.push_back(One { incident, deaths: 1, last: now });
    }

    /// Whether it is the successor of one that is here that was ended now; that incident then tells of it.
    pub(crate) fn again(&mut self, name: &str, now: Nanos, out: &mut Vec<Output>) -> bool {
        let Some(known) = self.0.iter_mut().find(|known| known.incident.name == name) else { return false };
        (known.deaths, known.last) = (known.deaths.saturating_add(1), now);
        known.incident.trigger.detail = format!(
            "the process and its successors ended {} times: the kernel killed them for lack of memory",
            known.deaths
        );
        (known.incident.updated, known.incident.times.recovered) = (now, None);
        out.push(Output::Incident(Box::new(known.incident.clone())));
        true
    }

    /// A process of this name that began then is there. One that was there before is no successor.
    pub(crate) fn succeeded(&mut self, name: &str, started: Nanos, now: Nanos, out: &mut Vec<Output>) {
        let waits = |known: &&mut One| {
            let incident = &known.incident;
            incident.name == name && incident.times.recovered.is_none() && started.saturating_add(SECOND) >= known.last
        };
        if let Some(known) = self.0.iter_mut().find(waits) {
            (known.incident.times.recovered, known.incident.updated) = (Some(now), now);
            out.push(Output::Incident(Box::new(known.incident.clone())));
        }
    }

    /// Closes what is over.
    pub(crate) fn end(&mut self, now: Nanos, ledger: &mut Ledger, out: &mut Vec<Output>) {
        self.close(now, ledger, out, |_, one| now.saturating_sub(one.last) >= OPEN_FOR);
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Incident> {
        self.0.iter().map(|one| &one.incident)
    }

    fn close(&mut self, now: Nanos, ledger: &mut Ledger, out: &mut Vec<Output>, is_over: impl Fn(usize, &One) -> bool) {
        let mut place = 0;
        self.0.retain_mut(|one| {
            let over = is_over(place, one);
            place += 1;
            if over {
                (one.incident.closed, one.incident.updated) = (Some(now), now);
                out.push(Output::Incident(Box::new(one.incident.clone())));
                ledger.file(one.incident.clone());
            }
            !over
        });
    }
}
