//! Thousands of requests, most of them given up by their clients: nothing may stay behind, and nothing may grow.

use super::{
    Subject,
    levels::Level,
    service::Service,
    table::{Card, Row, Target},
};
use crate::load::{Load, Plan, Summary};
use std::{fmt, time::Duration};

/// Batches; the first one pays for what is made once.
const BATCHES: usize = 5;
const AT_ONCE: usize = 32;
const ABORTING: f64 = 0.8;

/// What is done.
#[derive(Clone, Debug)]
pub struct Aborts {
    /// The service.
    pub subject: Subject,
    /// Requests in all.
    pub requests: usize,
    /// How long it may take to come back to where it was.
    pub settle: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// After the first batch and after the last.
    pub levels: [Level; 2],
    /// Of each batch.
    pub batches: Vec<Summary>,
    /// It ended by itself with 0 when it was asked to.
    pub clean_end: bool,
}

/// Does it.
///
/// # Errors
/// The service cannot be started, dies, or does not answer.
pub fn aborts(aborts: &Aborts) -> anyhow::Result<Outcome> {
    let mut service = Service::start(&aborts.subject, &[])?;
    let mut before = Level { heap: f64::INFINITY, ..Level::of(&service)? };
    let mut first = None;
    let mut last = before;
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        let plan = Plan {
            requests: Some(aborts.requests.div_ceil(BATCHES)),
            concurrency: Some(AT_ONCE),
            rate: None,
            // The end is the number of requests.
            length: Duration::from_secs(3600),
            drain: Duration::from_secs(31),
            aborting: ABORTING,
            pace: 16.0,
            clients: 8,
            verify: 3,
            seed: batch as u64,
            ..Plan::new(service.address())
        };
        let report = Load::start(plan)?.finish()?;
        eprintln!("{} requests, {} given up", report.summary.requests, report.summary.aborted);
        if let Some(broken) = report.broken.first() {
            anyhow::bail!("not the video that was asked for: {broken}");
        }
        batches.push(report.summary);
        (last, _) = Level::settled(&service, &before, aborts.settle)?;
        eprintln!("{last}");
        if first.is_none() {
            first = Some(last);
            before.heap = last.heap;
        }
    }
    Ok(Outcome { levels: [first.unwrap_or(last), last], batches, clean_end: service.stop(Duration::from_secs(10))? })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.card().fmt(f)
    }
}

impl Outcome {
    /// Each figure beside its target.
    pub(crate) fn card(&self) -> Card {
        let sum = |pick: fn(&Summary) -> usize| self.batches.iter().map(pick).sum::<usize>() as f64;
        let mut card = Card::new("requests that their clients give up");
        let [first, last] = &self.levels;
        card.rows.push(Row::value("requests", sum(|batch| batch.requests), "", Target::None));
        card.rows.push(Row::value("given up", sum(|batch| batch.aborted), "", Target::AtLeast(1.0)));
        card.rows.push(Row::value("failed", sum(|batch| batch.errors.values().sum()), "", Target::AtMost(0.0)));
        card.rows.extend(last.rows(first, "last batch"));
        card.rows.push(Row::value("ended by itself", f64::from(self.clean_end), "", Target::AtLeast(1.0)));
        card.notes.push(format!("after the first batch  {first}\nafter the last         {last}"));
        card
    }
}
