//! The end of the service, in its stages.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has not begun.
    Serving,
    /// Nothing new is taken; streams go on.
    Draining,
    /// Streams are over or are ended now; connections close.
    Ending,
}

/// Tells everybody; clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Sender<Stage>);

impl Stop {
    /// Nothing ends yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }

    /// The end has come so far; it never goes back.
    pub(super) fn reach(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let further = stage > *now;
            *now = stage.max(*now);
            further
        });
    }

    /// Whether new streams are refused.
    pub(super) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    /// Whether what is open is cut off.
    pub(super) fn is_ending(&self) -> bool {
        *self.0.borrow() >= Stage::Ending
    }

    /// Waits until the end has come so far.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender is kept by `self`: the channel cannot be closed meanwhile.
        self.0.subscribe().wait_for(|now| *now >= stage).await.map(drop).unwrap_or_default();
    }
}
