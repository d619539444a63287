//! What the process publishes of itself, while `why` looks: only where `--scrape` names the page.

use crate::{
    metrics::Tally,
    render::{Sites, scrape::Record},
    sources::{
        Intake,
        scrape::{self, Desk, Endpoint},
    },
};
use snowshed_engine::model::{Observation, Pid};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};

/// How often each page is asked: more often than the agent does, because a look is short.
const EVERY: Duration = Duration::from_secs(2);

/// The source, on a thread of its own; it ends with this.
pub(super) struct Scraping {
    told: mpsc::Receiver<Observation>,
    targets: watch::Sender<Arc<Vec<Pid>>>,
    names: Arc<Mutex<Sites>>,
    states: watch::Receiver<Arc<Vec<Record>>>,
    runtime: Option<Runtime>,
}

impl Scraping {
    /// Begins to ask; with no page it does nothing.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn start(endpoints: Vec<Endpoint>) -> Result<Self, String> {
        let tally = Tally::new().map_err(|error| error.to_string())?;
        let (intake, told) = Intake::new(tally.queue_dropped.with_label_values(&["told"]));
        let (targets, watched) = watch::channel(Arc::default());
        let (published, states) = watch::channel(Arc::default());
        let names = Arc::new(Mutex::new(Sites::new()));
        let mut runtime = None;
        if !endpoints.is_empty() {
            let known = Arc::clone(&names);
            let name = Box::new(move |named: scrape::Named| {
                known.lock().unwrap_or_else(PoisonError::into_inner).extend(named);
            });
            let desk = Desk { endpoints, every: EVERY, intake, targets: watched, name, states: published, tally };
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let built = builder.worker_threads(1).enable_all().build().map_err(|error| error.to_string())?;
            built.spawn(scrape::run(desk));
            runtime = Some(built);
        }
        Ok(Self { told, targets, names, states, runtime })
    }

    /// What was told since it was last asked.
    pub(super) fn poll(&mut self, targets: impl FnOnce() -> Vec<Pid>) -> Vec<Observation> {
        if self.runtime.is_none() {
            return Vec::new();
        }
        self.targets.send_replace(Arc::new(targets()));
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    /// The names that were told of places.
    pub(super) fn names(&self) -> Sites {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the pages are getting on.
    pub(super) fn states(&self) -> Vec<Record> {
        self.states.borrow().to_vec()
    }
}

impl Drop for Scraping {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
