//! Callers of a service: each asks, waits for the answer, and pauses.
//!
//! Invariant: bounded in number, and gone with the value; what a service does not answer is counted, not retried at once.

use crate::rig::{Steady, enter};
use anyhow::Context as _;
use std::{
    fs::File,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How they ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Whom.
    pub(super) address: SocketAddr,
    /// How many at once.
    pub(super) callers: usize,
    /// Between an answer and the next question.
    pub(super) pause: Duration,
    /// A new connection after so many questions; 0: it is kept.
    pub(super) part_after: u64,
    /// The pause shrinks to a quarter and grows again within this time.
    pub(super) wave: Option<Duration>,
}

impl Plan {
    /// Eight with kept connections, some seventy questions a second if the answers come at once.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, callers: 6, pause: Duration::from_millis(100), part_after: 0, wave: None }
    }
}

/// Running callers.
#[derive(Debug)]
pub(super) struct Callers {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Starts them, in this network namespace if one is given.
    pub(super) fn start(plan: Plan, namespace: Option<&File>) -> anyhow::Result<Self> {
        let mut all = Self { over: Arc::default(), answered: Arc::default(), threads: Vec::new() };
        for number in 0..plan.callers {
            let (over, answered) = (Arc::clone(&all.over), Arc::clone(&all.answered));
            let namespace = namespace.map(File::try_clone).transpose().context("namespace")?;
            let work = move || {
                if let Some(Err(error)) = namespace.as_ref().map(enter) {
                    eprintln!("caller: {error:#}");
                    return;
                }
                call(plan, number as u64, &over, &answered);
            };
            all.threads.push(std::thread::Builder::new().name("caller".into()).spawn(work).context("caller")?);
        }
        Ok(all)
    }

    /// How many questions were answered with 200.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

fn call(plan: Plan, number: u64, over: &AtomicBool, answered: &AtomicU64) {
    let (mut connection, begun) = (Steady::new(plan.address), Instant::now());
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = connection.ask(&format!("/item/{}", (asked + number) % 7));
        answered.fetch_add(u64::from(matches!(answer, Ok(200))), Ordering::Relaxed);
        asked += 1;
        if plan.part_after > 0 && asked % plan.part_after == 0 {
            connection.part();
        }
        let share = plan.wave.map_or(1.0, |wave| {
            let phase = begun.elapsed().as_secs_f64() / wave.as_secs_f64();
            0.25 + 0.75 * (0.5 + 0.5 * (phase * std::f64::consts::TAU).cos())
        });
        // Not all at the same moment.
        let uneven = 0.5 + ((asked * 31 + number * 17) % 10) as f64 / 10.0;
        std::thread::sleep(plan.pause.mul_f64(share * uneven));
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed already.
            thread.join().ok();
        }
    }
}
