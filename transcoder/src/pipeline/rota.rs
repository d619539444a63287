//! The rota: only as many pipelines compute at a time as the machine has cores, and one more so that none stands still.
//!
//! With all of them ready to run, each would wait for the rest of them after every few milliseconds, and so would one
//! that only wants to end. Here they queue, first come, first served; who has been cancelled does not queue at all.
//! Invariant: nobody has a turn while it waits for its client. Cost: nothing but a clock between two turns.

use super::Cancel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a turn lasts while others wait: some pictures.
const TURN: Duration = Duration::from_millis(5);

/// Whose turn it is, of all pipelines.
#[derive(Clone, Debug)]
pub(crate) struct Rota(Arc<Semaphore>);

impl Rota {
    /// For this machine.
    pub(crate) fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(cores + 1)))
    }
}

/// One pipeline's part in them.
#[derive(Debug)]
pub(super) struct Turn {
    rota: Rota,
    runtime: Handle,
    /// Only the pipeline's own thread looks at it.
    held: Mutex<Option<(OwnedSemaphorePermit, Instant)>>,
}

impl Turn {
    /// None yet.
    pub(super) fn new(rota: Rota, runtime: Handle) -> Self {
        Self { rota, runtime, held: Mutex::new(None) }
    }

    fn held(&self) -> MutexGuard<'_, Option<(OwnedSemaphorePermit, Instant)>> {
        // Nothing under this lock can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; goes without one once cancelled.
    pub(super) fn take(&self, cancel: &Cancel) {
        let queue = self.rota.0.clone();
        let turn = match queue.clone().try_acquire_owned() {
            Ok(turn) => Some(turn),
            Err(_) => cancel.until_set(&self.runtime, queue.acquire_owned()).and_then(Result::ok),
        };
        *self.held() = turn.map(|turn| (turn, Instant::now()));
    }

    /// Gives it to the next; whether there was one.
    pub(super) fn give(&self) -> bool {
        self.held().take().is_some()
    }

    /// Gives it to the next and queues again, if it has lasted long enough.
    pub(super) fn hand_on(&self, cancel: &Cancel) {
        let is_over = self.held().as_ref().is_some_and(|(_, since)| since.elapsed() >= TURN);
        if is_over && self.give() {
            self.take(cancel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Why;
    use super::*;

    #[test]
    fn turns_go_round_and_the_cancelled_do_not_queue() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let rota = Rota(Arc::new(Semaphore::new(1)));
        let new = || Arc::new(Turn::new(rota.clone(), runtime.handle().clone()));
        let (first, second, third) = (new(), new(), new());
        let cancel = Cancel::default();
        first.take(&cancel);
        first.hand_on(&cancel);
        assert!(first.held().is_some(), "a turn lasts for a while");
        let (waits, its_cancel) = (second.clone(), cancel.clone());
        let waiting = std::thread::spawn(move || waits.take(&its_cancel));
        let cancelled = Cancel::default();
        let (leaves, its_cancel) = (third.clone(), cancelled.clone());
        let leaving = std::thread::spawn(move || leaves.take(&its_cancel));
        cancelled.set(Why::Gone);
        leaving.join().expect("not panicked");
        assert!(third.held().is_none() && second.held().is_none());
        assert!(first.give());
        waiting.join().expect("not panicked");
        assert!(second.held().is_some());
        assert!(second.give() && !second.give());
        assert_eq!(rota.0.available_permits(), 1);
    }
}
