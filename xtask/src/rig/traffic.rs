//! A plain client that asks the same question again and again, each time on a new connection.

use super::http;
use anyhow::Context as _;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A running client; dropping it ends it.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Asks `GET path` with this pause between two questions.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(address: SocketAddr, path: &str, pause: Duration) -> anyhow::Result<Self> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (own_stop, own_answered, path) = (Arc::clone(&stop), Arc::clone(&answered), path.to_owned());
        let work = move || {
            while !own_stop.load(Ordering::Relaxed) {
                if http::get(address, &path).is_ok_and(|reply| reply.status == 200) {
                    own_answered.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(pause);
            }
        };
        let thread = std::thread::Builder::new().name("traffic".into()).spawn(work).context("traffic")?;
        Ok(Self { stop, answered, thread: Some(thread) })
    }

    /// How many questions were answered with 200.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}
