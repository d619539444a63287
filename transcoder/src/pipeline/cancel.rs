//! Ending a pipeline from outside: at once where it waits, with the next frame where it computes.
//!
//! Invariant: the first reason stays. Cost: one load where it is asked, nothing is allocated.

use super::rota::{Rota, Turn};
use super::stage;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Why a stream was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    /// Nobody wants the result any more.
    #[error("the client is gone")]
    Gone,
    /// The upload broke off, and with it most likely the client.
    #[error("the upload broke off")]
    Broken,
    /// The service ends.
    #[error("the service is stopping")]
    Stopping,
    /// The upload stands still, or nearly.
    #[error("the upload stood still for {0:?}, or came slower than 1 KiB/s for longer (--idle-timeout)")]
    UploadIdle(Duration),
    /// The result is not read, or hardly.
    #[error("the result was not read for {0:?}, or slower than 1 KiB/s for longer (--idle-timeout)")]
    ReaderIdle(Duration),
    /// The result has not begun in time.
    #[error("there was no first byte of the result within {0:?} (--first-byte-timeout)")]
    FirstByte(Duration),
    /// The stream has not ended in time.
    #[error("the stream was not done within {0:?} (--total-timeout)")]
    Total(Duration),
}

/// Tells a pipeline to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<State>);

#[derive(Debug, Default)]
struct State {
    why: OnceLock<Why>,
    set: Notify,
    turn: Option<Turn>,
}

impl Cancel {
    /// Of a pipeline that takes turns with others; without, it computes whenever it can.
    pub(crate) fn taking_turns(rota: Rota, runtime: Handle) -> Self {
        Self(Arc::new(State { turn: Some(Turn::new(rota, runtime)), ..State::default() }))
    }

    /// Ends the pipeline, if it has not been ended yet.
    pub(crate) fn set(&self, why: Why) {
        if self.0.why.set(why).is_ok() {
            self.0.set.notify_waiters();
        }
    }

    /// Whether the pipeline should end. For the pipeline's thread, between two frames: a turn that has lasted long
    /// enough goes to the next here.
    pub(super) fn is_set(&self) -> bool {
        if let Some(turn) = &self.0.turn {
            turn.hand_on(self);
        }
        self.why().is_some()
    }

    /// Runs the pipeline in turns with others.
    pub(super) fn in_turns<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when it panics.
        struct Given<'a>(Option<&'a Turn>);
        impl Drop for Given<'_> {
            fn drop(&mut self) {
                self.0.map(Turn::give);
            }
        }
        if let Some(turn) = &self.0.turn {
            turn.take(self);
        }
        let _given = Given(self.0.turn.as_ref());
        work()
    }

    /// Why it should end, if it should.
    pub(crate) fn why(&self) -> Option<Why> {
        self.0.why.get().copied()
    }

    /// Waits until it should end.
    pub(crate) async fn cancelled(&self) -> Why {
        loop {
            // Registered before the look, so that nothing is missed between the two.
            let mut set = std::pin::pin!(self.0.set.notified());
            set.as_mut().enable();
            if let Some(why) = self.why() {
                return why;
            }
            set.await;
        }
    }

    /// Blocks this thread on `future`, without a turn; `None` if the pipeline should end before that is ready.
    pub(super) fn wait<T>(&self, runtime: &Handle, future: impl Future<Output = T>) -> Option<T> {
        let turn = self.0.turn.as_ref().filter(|turn| turn.give());
        let ready = self.until_set(runtime, future);
        if let Some(turn) = turn {
            turn.take(self);
        }
        ready
    }

    /// Blocks this thread on `future`; `None` if the pipeline should end before that is ready.
    pub(super) fn until_set<T>(&self, runtime: &Handle, future: impl Future<Output = T>) -> Option<T> {
        let _waiting = stage::wait();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.cancelled() => None,
                ready = future => Some(ready),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_cancelled_and_the_first_reason_stays() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let cancel = Cancel::default();
        assert_eq!(cancel.wait(runtime.handle(), std::future::ready(7)), Some(7));
        let (other, handle) = (cancel.clone(), runtime.handle().clone());
        let waiting = std::thread::spawn(move || other.wait(&handle, std::future::pending::<()>()));
        cancel.set(Why::Gone);
        cancel.set(Why::Stopping);
        assert_eq!(waiting.join().expect("not panicked"), None);
        assert_eq!(cancel.why(), Some(Why::Gone));
        assert_eq!(cancel.wait(runtime.handle(), std::future::ready(7)), None, "also if the answer would be there");
    }
}
