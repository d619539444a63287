//! What probes left out during a run, because of their budget: what was not seen cannot be named.

use std::collections::BTreeSet;

/// All of it so far, as `probe what`.
#[derive(Debug, Default)]
pub(super) struct LeftOut(BTreeSet<String>);

impl LeftOut {
    /// Takes the agent's status.
    pub(super) fn take(&mut self, status: &serde_json::Value) {
        for probe in status["probes"].as_array().into_iter().flatten() {
            let name = probe["name"].as_str().unwrap_or_default();
            let shed = probe["shed"].as_array().into_iter().flatten().filter_map(|what| what.as_str());
            self.0.extend(shed.map(|what| format!("{name} {what}")));
        }
    }

    pub(super) fn all(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_left_out_at_any_time_is_told_once() {
        let mut left = LeftOut::default();
        let probe = |name: &str, shed: &[&str]| json!({"name": name, "shed": shed});
        left.take(&json!({"probes": [probe("fd", &["stacks"]), probe("tcp", &[])]}));
        left.take(&json!({"probes": [probe("fd", &["owners", "stacks"])]}));
        left.take(&json!({"probes": []}));
        assert_eq!(left.all(), ["fd owners", "fd stacks"]);
    }
}
