//! What the agent learns from: each source turns its own format into observations.
//!
//! Invariant: a source never waits for the engine. Its queue is bounded; what does not fit is dropped
//! and counted, because a slow agent must not slow down the kernel, a service or its spans.

pub(crate) mod guard;
pub(crate) mod kernel;
pub(crate) mod otlp;
pub(crate) mod procfs;
pub(crate) mod scrape;

use prometheus::IntCounter;
use snowshed_engine::model::Observation;
use tokio::sync::mpsc;

/// Observations waiting for the engine, for each queue.
pub(crate) const QUEUE: usize = 4096;

/// The sending end of a queue to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    queue: mpsc::Sender<Observation>,
    dropped: IntCounter,
}

impl Intake {
    /// A queue; what does not fit is counted in `dropped`.
    pub(crate) fn new(dropped: IntCounter) -> (Self, mpsc::Receiver<Observation>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, dropped }, receiver)
    }

    /// Hands an observation over, or counts it as dropped and says `false`.
    pub(crate) fn offer(&self, observation: Observation) -> bool {
        let taken = self.queue.try_send(observation).is_ok();
        if !taken {
            self.dropped.inc();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_engine::model::ProcessExit;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dropped = IntCounter::new("dropped", "Dropped.").expect("a valid name");
        let (intake, _receiver) = Intake::new(dropped.clone());
        let exit = || Observation::Exit(ProcessExit { pid: 1, at: 1 });
        assert!((0..QUEUE).all(|_| intake.offer(exit())));
        assert!(!intake.offer(exit()));
        assert_eq!(dropped.get(), 1);
    }
}
