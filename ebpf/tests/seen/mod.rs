//! Waiting for what a session tells.

use snowshed_ebpf::Session;
use snowshed_engine::model::Observation;
use std::time::{Duration, Instant};

/// Only a hang takes this long, also on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until an observation gives a value.
pub(crate) fn wait<T>(session: &mut Session, what: &str, mut pick: impl FnMut(&Observation) -> Option<T>) -> T {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < PATIENCE {
        seen.clear();
        session.poll(Duration::from_millis(50), &mut seen);
        if let Some(found) = seen.iter().find_map(&mut pick) {
            return found;
        }
    }
    panic!("not seen within {PATIENCE:?}: {what}");
}
