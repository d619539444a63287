//! When a service is dead, as its clients and its supervisor would say.
//!
//! Dead is whichever comes first: the process is gone; `/livez`, asked about every quarter of a second, has not been
//! answered for [`SILENCE`]; or more than half of the requests that ended within [`WINDOW`] have failed, of at least
//! [`FEWEST`]. Clients that went away on purpose do not count. The time of death is when that first held.

use crate::load::Record;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// How long `/livez` may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// How long ago a request may have ended to count.
pub(super) const WINDOW: Duration = Duration::from_secs(4);
/// Of fewer requests nothing is concluded.
const FEWEST: usize = 6;

/// A death.
#[derive(Clone, Debug, Serialize)]
pub struct Death {
    /// Seconds since the fault was switched on.
    pub after: f64,
    /// What the clients saw.
    pub how: How,
    /// What the service said last, if it said anything of use.
    pub last_words: Option<String>,
}

/// How a service died.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum How {
    /// The process ended.
    Gone {
        /// With this status or signal.
        status: String,
    },
    /// `/livez` said nothing.
    Silent,
    /// Most requests failed.
    Failing {
        /// So many.
        failed: usize,
        /// Of so many.
        of: usize,
        /// And mostly so.
        mostly: String,
    },
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { status } => write!(f, "the process is gone: {status}"),
            Self::Silent => write!(f, "/livez silent for {} s", SILENCE.as_secs()),
            Self::Failing { failed, of, mostly } => write!(f, "{failed} of {of} requests fail: {mostly}"),
        }
    }
}

/// Whether most of the requests that ended since `from` (seconds since 1970) failed.
pub(super) fn failing(records: &[Record], from: f64) -> Option<How> {
    let counted: Vec<&Record> =
        records.iter().rev().take_while(|record| record.ended >= from).filter(|record| !record.aborted).collect();
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for record in counted.iter().filter(|record| !record.is_good()) {
        *failures.entry(reason(record)).or_default() += 1;
    }
    let failed: usize = failures.values().sum();
    if counted.len() < FEWEST || failed * 2 <= counted.len() {
        return None;
    }
    let mostly = failures.into_iter().max_by_key(|(_, times)| *times).map(|(reason, _)| reason).unwrap_or_default();
    Some(How::Failing { failed, of: counted.len(), mostly })
}

fn reason(record: &Record) -> String {
    match (record.status, &record.error) {
        (_, Some(error)) => error.clone(),
        (Some(status), None) => format!("status {status}"),
        (None, None) => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(statuses: &[u16]) -> Vec<Record> {
        let ends = statuses.iter().zip(100..);
        ends.map(|(status, end)| Record { status: Some(*status), ended: f64::from(end), ..Record::default() }).collect()
    }

    #[test]
    fn more_than_half_of_enough_requests_must_fail() {
        assert_eq!(failing(&records(&[200, 500, 200, 500, 200, 500]), 0.0), None);
        assert_eq!(failing(&records(&[500; 5]), 0.0), None);
        let how = failing(&records(&[200, 500, 500, 429, 500, 500]), 0.0).unwrap();
        assert_eq!(how.to_string(), "5 of 6 requests fail: status 500");
    }

    #[test]
    fn what_is_long_ago_or_on_purpose_does_not_count() {
        let mut all = records(&[500, 500, 500, 500, 500, 500, 200, 200, 200]);
        assert_eq!(failing(&all, 106.0), None);
        all.iter_mut().take(6).for_each(|record| record.aborted = true);
        assert_eq!(failing(&all, 0.0), None);
    }
}
