//! A sink's queue: the newest record of each incident, bounded.

use crate::render::Numbered;
use prometheus::IntCounter;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// Incidents that wait.
const LENGTH: usize = 64;

/// Shared by the engine's task, which pushes, and the sink, which pops.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<VecDeque<Arc<Numbered>>>>,
    filled: Arc<Notify>,
    dropped: IntCounter,
}

impl Queue {
    /// An empty queue; what is dropped is counted.
    pub(crate) fn new(dropped: IntCounter) -> Self {
        Self { waiting: Arc::default(), filled: Arc::default(), dropped }
    }

    /// Adds a change. It takes the place of an older one of the same incident that still waits.
    pub(crate) fn push(&self, numbered: Arc<Numbered>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = waiting.iter_mut().find(|older| older.incident.id == numbered.incident.id) {
            *older = numbered;
        } else {
            if waiting.len() >= LENGTH {
                waiting.pop_front();
                self.dropped.inc();
            }
            waiting.push_back(numbered);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// The next change; waits for one.
    pub(crate) async fn pop(&self) -> Arc<Numbered> {
        loop {
            if let Some(numbered) = self.try_pop() {
                return numbered;
            }
            self.filled.notified().await;
        }
    }

    /// The next change, if one waits.
    pub(crate) fn try_pop(&self) -> Option<Arc<Numbered>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// A change that could not be delivered goes back to the front, unless a newer one has come.
    pub(crate) fn put_back(&self, numbered: Arc<Numbered>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.iter().all(|other| other.incident.id != numbered.incident.id) {
            waiting.push_front(numbered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;

    fn change(id: u64, updated: u64) -> Arc<Numbered> {
        let (mut numbered, ..) = sample();
        numbered.incident.id = id;
        numbered.incident.updated = updated;
        Arc::new(numbered)
    }

    #[tokio::test]
    async fn newer_replaces_older_and_the_oldest_is_dropped() {
        let dropped = IntCounter::new("dropped", "Dropped.").expect("a valid name");
        let queue = Queue::new(dropped.clone());
        queue.push(change(1, 1));
        queue.push(change(1, 2));
        assert_eq!(queue.pop().await.incident.updated, 2);
        assert!(queue.try_pop().is_none());
        (0..=LENGTH as u64).for_each(|id| queue.push(change(id, 1)));
        assert_eq!(dropped.get(), 1);
        assert_eq!(queue.pop().await.incident.id, 1);
    }

    #[test]
    fn what_was_put_back_does_not_overtake_what_is_newer() {
        let queue = Queue::new(IntCounter::new("dropped", "Dropped.").expect("a valid name"));
        queue.push(change(1, 1));
        let failed = queue.try_pop().expect("pushed");
        queue.push(change(1, 2));
        queue.put_back(failed);
        assert_eq!(queue.try_pop().expect("the newer").incident.updated, 2);
        assert!(queue.try_pop().is_none());
    }
}
