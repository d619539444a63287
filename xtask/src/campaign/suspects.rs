//! What the agent suspected during a run, before anything had lasted for long enough to be an incident.

use super::score::Truth;
use serde_json::Value;

/// A first cause, from when on it was seen to be suspected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Suspect {
    /// Seconds after the onset.
    pub(super) at: f64,
    pub(super) kind: String,
}

/// Each time that it was another one.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    all: Vec<Suspect>,
    last: Option<String>,
}

impl Suspects {
    /// Takes the agent's status, `at` seconds after the onset.
    pub(super) fn take(&mut self, status: &Value, at: f64) {
        let targets = status["targets"].as_array().into_iter().flatten();
        let first = targets.filter_map(|target| target["suspected"]["causes"][0]["kind"].as_str()).next();
        if first != self.last.as_deref() {
            self.last = first.map(str::to_owned);
            self.all.extend(first.map(|kind| Suspect { at, kind: kind.to_owned() }));
        }
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> &[Suspect] {
        &self.all
    }

    /// Whether what was first suspected after the onset is the truth, if anything was; and how many others were.
    pub(super) fn judge(&self, truth: Option<Truth>) -> (Option<bool>, usize) {
        let is_true = |one: &Suspect| one.at >= 0.0 && truth.is_some_and(|truth| truth.kind == one.kind);
        let first = self.all.iter().find(|one| one.at >= 0.0).filter(|_| truth.is_some());
        (first.map(is_true), self.all.iter().filter(|one| !is_true(one)).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_after_the_onset_counts_and_all_others_are_told() {
        let mut suspects = Suspects::default();
        let status = |kind: Option<&str>| {
            let suspected = kind.map(|kind| json!({"causes": [{"kind": kind}, {"kind": "fd_leak"}]}));
            json!({"targets": [{"suspected": null}, {"suspected": suspected}]})
        };
        for (at, kind) in [(-20.0, Some("dns_failure")), (-19.0, None), (4.0, Some("disk_stall"))] {
            suspects.take(&status(kind), at);
        }
        suspects.take(&status(Some("disk_stall")), 5.0);
        suspects.take(&status(Some("lock_contention")), 6.0);
        assert_eq!(suspects.judge(Truth::of(Some("disk_stall"))), (Some(true), 2));
        assert_eq!(suspects.judge(Truth::of(Some("dns_failure"))), (Some(false), 3));
        assert_eq!(suspects.judge(None), (None, 3));
    }
}
