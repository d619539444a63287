//! A task that works for a request, but may outlive its span.
//!
//! Instrumented with the span it would keep that from ending: the span's end is the last time that it is left, and a
//! request whose upload is still being read off would look slow. So only the ids are carried over. Cost: a few stores
//! for each poll and for the drop.

use crate::context::{self, TraceContext};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// Polls and drops a future with a trace published.
    #[derive(Debug)]
    pub struct Scoped<F> {
        #[pin]
        inner: Option<F>,
        context: Option<TraceContext>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = context::enter_or_clear(*this.context);
            this.inner.set(None);
        }
    }
}

/// Runs `future` with the trace that this thread publishes now, wherever it is polled.
pub fn with_current_trace<F: Future>(future: F) -> Scoped<F> {
    Scoped { inner: Some(future), context: context::current() }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = context::enter_or_clear(*this.context);
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(cx),
            // Only its drop takes it away.
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what is published when it goes.
    struct Gone(std::sync::mpsc::SyncSender<Option<TraceContext>>);

    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.send(context::current()).unwrap_or_default();
        }
    }

    #[tokio::test]
    async fn polls_and_the_drop_are_in_the_trace_and_others_are_not() {
        let (went, gone) = std::sync::mpsc::sync_channel(1);
        let (task, trace) = {
            let _span = context::enter([7; 16], [8; 8], 1);
            let held = Gone(went);
            let work = with_current_trace(async move {
                let first = context::current();
                tokio::task::yield_now().await;
                let second = context::current();
                drop(held);
                (first, second)
            });
            (work, context::current())
        };
        assert!(trace.is_some());
        let (first, second) = task.await;
        assert_eq!((first, second, context::current()), (trace, trace, None));
        assert_eq!(gone.recv(), Ok(trace));
        let (went, gone) = std::sync::mpsc::sync_channel(1);
        let held = Gone(went);
        let never = {
            let _span = context::enter([7; 16], [8; 8], 1);
            with_current_trace(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
        };
        drop(never);
        assert_eq!(gone.recv(), Ok(trace), "also if it was never polled");
    }
}
