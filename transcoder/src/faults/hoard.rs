//! What a disease has heaped up.
//!
//! Invariant: it never holds more than its bound, which lies far above what kills a service under any sensible limit
//! and far below what hurts the machine: past it the disease stops growing. Healing empties it.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// A heap of things that nobody takes out again, until it is given back.
pub(super) struct Hoard<T> {
    things: Mutex<Vec<T>>,
    most: usize,
}

impl<T> Hoard<T> {
    /// Room for so many.
    pub(super) const fn new(most: usize) -> Self {
        Self { things: Mutex::new(Vec::new()), most }
    }

    /// Keeps a thing; past the bound it is dropped.
    pub(super) fn keep(&self, thing: T) {
        let mut things = self.lock();
        if things.len() < self.most {
            things.push(thing);
        }
    }

    /// Gives all of it back.
    pub(super) fn give_back(&self) {
        let things = std::mem::take(&mut *self.lock());
        // Outside the lock: what is dropped may take a while.
        drop(things);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // Nothing under this lock can panic.
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// A task that would never end; it ends when this is dropped.
pub(super) struct Endless(AbortHandle);

impl Endless {
    /// Spawns it on the event loop. It does not carry the request's span: the request is over long before.
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_keeps_up_to_its_bound_and_gives_all_back() {
        let (hoard, thing) = (Hoard::new(3), Arc::new(()));
        for _ in 0..5 {
            hoard.keep(thing.clone());
        }
        assert_eq!((hoard.len(), Arc::strong_count(&thing)), (3, 4));
        hoard.give_back();
        assert_eq!((hoard.len(), Arc::strong_count(&thing)), (0, 1));
    }

    #[tokio::test]
    async fn an_endless_task_ends_with_its_owner() {
        let held = Arc::new(());
        let in_task = held.clone();
        let task = Endless::spawn(async move {
            let _held = in_task;
            std::future::pending().await
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(task);
        while Arc::strong_count(&held) == 2 {
            tokio::task::yield_now().await;
        }
    }
}
