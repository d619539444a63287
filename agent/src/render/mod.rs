//! What is told to people and programs: the public records, made from the engine's own.
//!
//! Invariant: whatever leaves the agent about an incident or a descriptor is one of these records, so
//! the API, the alerts and the command line cannot disagree. Names of code appear here for the first
//! time. Cost: a record allocates; it is built when something asks for it, never in the engine's loop.

mod allocators;
pub(crate) mod fds;
pub(crate) mod incident;
pub(crate) mod markdown;
pub(crate) mod memory;
pub(crate) mod open;
mod own;
pub(crate) mod scrape;
pub(crate) mod tasks;
pub(crate) mod tcp;
pub(crate) mod text;
pub(crate) mod timeline;
pub(crate) mod trace;

pub(crate) use allocators::place_of_pages;
pub(crate) use own::{is_foreign, own_frames, own_numbers};

use crate::clock::Clock;
use serde::Serialize;
use snowshed_ebpf::Frame;
use snowshed_engine::model::{Incident, IncidentId, Nanos, SiteId, TasksView, View};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Frames of sites, innermost first, as far as they have been resolved.
pub(crate) type Sites = HashMap<SiteId, Vec<Frame>>;

/// What the public knows an incident by, and what the engine's record does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passport {
    /// Its public id, made once, when it opened.
    pub(crate) id: Uuid,
    /// When the process started, if it was known at the opening.
    pub(crate) target_started: Option<Nanos>,
    /// The process's `service.instance.id`.
    pub(crate) instance: Option<String>,
}

/// An incident with its passport; the whole record at each change.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// Who it is to the public.
    pub(crate) passport: Passport,
    /// What the engine said.
    pub(crate) incident: Incident,
}

/// The engine's view and the passports of the incidents in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// What the engine knows.
    pub(crate) view: View,
    /// A passport for each incident in the view.
    pub(crate) passports: HashMap<IncidentId, Passport>,
}

impl Picture {
    /// The incidents, newest first, each with its passport.
    pub(crate) fn incidents(&self) -> impl Iterator<Item = (&Passport, &Incident)> {
        self.view.incidents.iter().filter_map(|incident| Some((self.passports.get(&incident.id)?, incident)))
    }

    /// Every site that the picture mentions.
    pub(crate) fn sites(&self) -> impl Iterator<Item = SiteId> {
        let of_targets = self.view.targets.iter().flat_map(|target| target.fds.sites.iter().map(|site| site.site));
        let of_memory = self.view.targets.iter().flat_map(|target| target.memory.sites.iter().map(|site| site.site));
        let of_incidents =
            self.view.incidents.iter().flat_map(|incident| incident.causes.iter().map(|cause| cause.site));
        let of_threads = self.view.tasks.iter().flat_map(TasksView::sites);
        of_targets.chain(of_memory).chain(of_incidents).chain(of_threads).filter(|site| site.0 != 0)
    }
}

/// A frame as the contract writes it: `function (file:line)`; where no line is told, `function (module)`.
pub(crate) fn frame(frame: &Frame) -> String {
    match &frame.location {
        Some((module, 0)) => format!("{} ({module})", frame.function),
        Some((file, line)) => format!("{} ({file}:{line})", frame.function),
        None => frame.function.clone(),
    }
}

/// A site's frames as the contract writes them; empty if unknown.
pub(crate) fn frames(sites: &Sites, site: SiteId) -> Vec<String> {
    sites.get(&site).map(|found| found.iter().map(frame).collect()).unwrap_or_default()
}

/// The name that a field-less variant has on the wire, as in `fd_leak`.
pub(crate) fn wire_name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Sites shared between the thread that resolves them and those who print them.
pub(crate) type SharedSites = tokio::sync::watch::Receiver<Arc<Sites>>;

/// How long a new incident may wait for the names of its code.
const NAMES_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// An incident's public record, with names as far as they are known within half a second.
pub(crate) async fn named_record(numbered: &Numbered, sites: &SharedSites, clock: &Clock) -> incident::Record {
    let mut waiting = sites.clone();
    let named = |sites: &Arc<Sites>| {
        numbered.incident.causes.iter().all(|cause| cause.site.0 == 0 || sites.contains_key(&cause.site))
    };
    // A timeout or an ended source leaves the names unknown, which the record shows.
    drop(tokio::time::timeout(NAMES_WAIT, waiting.wait_for(named)).await);
    let known = sites.borrow().clone();
    incident::Record::of(numbered, &known, clock)
}
