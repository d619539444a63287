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

/// Who asks one question after the other, over one connection.
pub(super) trait Client {
    /// Whether question `n` was answered, and well.
    fn ask(&mut self, n: u64) -> bool;
    /// The next question is asked on a new connection.
    fn part(&mut self);
}

impl Client for Steady {
    fn ask(&mut self, n: u64) -> bool {
        matches!(Self::ask(self, &format!("/item/{}", n % 7)), Ok(200))
    }

    fn part(&mut self) {
        Self::part(self);
    }
}

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
    /// What they ask by: HTTP, if nothing else is said.
    pub(super) client: fn(SocketAddr) -> Box<dyn Client>,
    /// The pause shrinks to a quarter and grows again within this time.
    pub(super) wave: Option<Duration>,
}

impl Plan {
    /// Eight with kept connections, some seventy questions a second if the answers come at once.
    pub(super) fn new(address: SocketAddr) -> Self {
        let client = |address| Box::new(Steady::new(address)) as Box<dyn Client>;
        Self { address, callers: 6, pause: Duration::from_millis(100), part_after: 0, client, wave: None }
    }

    /// Sometimes they ask more, sometimes less, again and again; and connect anew now and then.
    pub(super) fn in_waves(self) -> Self {
        Self { wave: Some(WAVE), part_after: 20, ..self }
    }

    /// The same several times a minute.
    pub(super) fn in_quick_waves(self) -> Self {
        Self { wave: Some(QUICK), ..self.in_waves() }
    }

    /// A connection for each question.
    pub(super) fn unkept(self) -> Self {
        Self { part_after: 1, ..self }
    }
}

/// From one wave to the next, unless something else is said.
const WAVE: Duration = Duration::from_secs(40);
const QUICK: Duration = Duration::from_secs(15);

/// An answer that takes longer is bad.
const LATE: Duration = Duration::from_millis(300);

/// Running callers.
#[derive(Debug)]
pub(super) struct Callers {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Starts them, in this network namespace if one is given.
    pub(super) fn start(plan: Plan, namespace: Option<&File>) -> anyhow::Result<Self> {
        let mut all = Self { over: Arc::default(), answered: Arc::default(), bad: Arc::default(), threads: Vec::new() };
        for number in 0..plan.callers {
            let (over, answered, bad) = (Arc::clone(&all.over), Arc::clone(&all.answered), Arc::clone(&all.bad));
            let namespace = namespace.map(File::try_clone).transpose().context("namespace")?;
            let work = move || {
                if let Some(Err(error)) = namespace.as_ref().map(enter) {
                    eprintln!("caller: {error:#}");
                    return;
                }
                call(plan, number as u64, &over, (&answered, &bad));
            };
            all.threads.push(std::thread::Builder::new().name("caller".into()).spawn(work).context("caller")?);
        }
        Ok(all)
    }

    /// How many questions were answered with 200.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many were answered late, with anything else, or not at all.
    pub(super) fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }
}

fn call(plan: Plan, number: u64, over: &AtomicBool, (answered, bad): (&AtomicU64, &AtomicU64)) {
    let (mut connection, begun) = ((plan.client)(plan.address), Instant::now());
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        let begun_at = Instant::now();
        let good = connection.ask(asked + number);
        answered.fetch_add(u64::from(good), Ordering::Relaxed);
        bad.fetch_add(u64::from(!good || begun_at.elapsed() > LATE), Ordering::Relaxed);
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
