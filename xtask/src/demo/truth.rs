//! What really happens, measured without Snowshed: `/proc` five times a second, and a liveness probe each second.
//!
//! Bounded: a demo's length of samples. Cost: a directory of a few hundred entries, five times a second.

use crate::{
    load::{Record, wall_clock},
    process,
    rig::Transcoder,
};
use anyhow::Context as _;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Five a second for an hour.
const MOST: usize = 18_000;
/// As an orchestrator decides: so many failed probes in a row mean dead.
const DEAD_AFTER: u32 = 3;

/// As a load balancer decides: no request was good for so many seconds, and so many failed in a row.
const USELESS: (f64, usize) = (15.0, 8);

/// When a service served nobody any more, whatever its liveness probe said, and how that showed; from requests in the
/// order of their ends, and the time of the first to count, seconds since 1970.
pub(super) fn serves_nobody(records: &[Record], since: f64) -> Option<(f64, String)> {
    let (mut good, mut failed) = (since, 0);
    for record in records {
        if record.is_good() {
            (good, failed) = (record.ended, 0);
            continue;
        }
        failed += 1;
        let long = record.ended - good;
        if long >= USELESS.0 && failed >= USELESS.1 {
            return Some((record.ended, format!("serves nobody: {failed} requests in a row failed in {long:.0} s")));
        }
    }
    None
}

/// One look at the service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds since 1970.
    pub(super) at: f64,
    /// Open descriptors.
    pub(super) fds: usize,
}

/// How the service has been.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// Probes so far.
    pub(super) probes: u32,
    /// Of these, failed.
    pub(super) failed: u32,
    /// Failed in a row, up to now.
    pub(super) in_a_row: u32,
    /// When it was first found dead, and how.
    pub(super) dead: Option<(f64, String)>,
}

#[derive(Default)]
struct Shared {
    samples: Mutex<Vec<Sample>>,
    health: Mutex<Health>,
    stop: AtomicBool,
}

/// The observers of one service; dropping it ends them.
pub(super) struct Truth {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Truth {
    pub(super) fn watch(service: &Transcoder) -> anyhow::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (pid, address) = (service.pid(), service.address());
        let (for_samples, for_health) = (Arc::clone(&shared), Arc::clone(&shared));
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(work).context("observe the service")
        };
        let threads = vec![
            start("truth", Box::new(move || sample(pid, &for_samples)))?,
            start("liveness", Box::new(move || probe(pid, address, &for_health)))?,
        ];
        Ok(Self { shared, threads })
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn latest(&self) -> Sample {
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).last().copied().unwrap_or_default()
    }

    pub(super) fn health(&self) -> Health {
        self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}

fn sample(pid: u32, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        // Once the process is gone there is nothing more to see; the liveness probe tells.
        let Ok(open) = process::descriptors(pid) else { return };
        let mut samples = shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < MOST {
            samples.push(Sample { at: wall_clock(), fds: open.len() });
        }
        drop(samples);
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn probe(pid: u32, address: SocketAddr, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answered = crate::rig::is_live(address);
        let exists = process::is_alive(pid);
        let mut health = shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.probes += 1;
        health.failed += u32::from(!answered);
        health.in_a_row = if answered { 0 } else { health.in_a_row + 1 };
        let cause = if !exists {
            Some("the process ended".to_owned())
        } else if health.in_a_row >= DEAD_AFTER {
            Some(format!("{DEAD_AFTER} liveness probes in a row failed"))
        } else {
            None
        };
        if let (Some(cause), None) = (cause, &health.dead) {
            health.dead = Some((wall_clock(), cause));
        }
        drop(health);
        let left = Duration::from_secs(1).saturating_sub(begun.elapsed());
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_answers_nobody_is_dead_whatever_its_probe_says() {
        let run = |records: &[(f64, u16)]| {
            let record = |(ended, status)| Record { ended, status: Some(status), ..Record::default() };
            let records: Vec<_> = records.iter().copied().map(record).collect();
            serves_nobody(&records, 100.0).map(|(at, _)| at)
        };
        let failing: Vec<_> = (0..30_u8).map(|second| (100.0 + f64::from(second), 503)).collect();
        assert_eq!(run(&failing), Some(115.0));
        let mut mended = failing.clone();
        mended[10].1 = 200;
        assert_eq!(run(&mended), Some(125.0), "counted anew from a good one");
        assert_eq!(run(&[(101.0, 503), (190.0, 503)]), None, "two are not enough");
    }
}
