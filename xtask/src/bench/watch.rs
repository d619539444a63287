//! Watches the service from outside while it is loaded: memory ten times a second, health once a second.
//!
//! Cost: a thread, a look into `/proc` every 100 ms, and a request a second.

use super::service::Service;
use crate::{load::take_precedence, process, rig::http};
use hyper::Method;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_millis(100);
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const HEALTHY: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Most resident memory, bytes.
    pub resident: u64,
    /// Most descriptors.
    pub fds: usize,
    /// Most threads.
    pub threads: usize,
    /// How often `/healthz` was asked.
    pub asked: usize,
    /// How often it did not answer 200 within a second.
    pub unhealthy: usize,
}

/// The watching thread; it ends when this goes.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Watched>>,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn begin(service: &Service) -> std::io::Result<Self> {
        let over = Arc::<AtomicBool>::default();
        let (own, pid, address) = (Arc::clone(&over), service.pid(), service.address());
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            // As the generator: whoever asks for health is on another machine.
            take_precedence();
            watch(pid, address, &own)
        })?;
        Ok(Self { over, thread: Some(thread) })
    }

    /// Ends it; what it saw.
    pub(crate) fn end(mut self) -> Watched {
        self.over.store(true, Ordering::Relaxed);
        // A panic in it has been told on standard error; then it has seen nothing healthy.
        let seen = self.thread.take().and_then(|thread| thread.join().ok());
        seen.unwrap_or(Watched { resident: u64::MAX, unhealthy: 1, ..Watched::default() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn watch(pid: u32, address: SocketAddr, over: &AtomicBool) -> Watched {
    let mut seen = Watched::default();
    let mut asked: Option<Instant> = None;
    while !over.load(Ordering::Relaxed) {
        seen.resident = seen.resident.max(process::resident(pid).unwrap_or(0));
        seen.fds = seen.fds.max(process::descriptors(pid).map_or(0, |all| all.len()));
        seen.threads = seen.threads.max(process::threads(pid).len());
        if asked.is_none_or(|last| last.elapsed() >= HEALTH_EVERY) {
            asked = Some(Instant::now());
            seen.asked += 1;
            let reply = http::send(address, Method::GET, "/healthz", &[], "", HEALTHY);
            seen.unhealthy += usize::from(!reply.is_ok_and(|reply| reply.status == 200));
        }
        std::thread::sleep(EVERY);
    }
    seen
}
