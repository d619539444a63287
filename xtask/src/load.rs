//! Drives the transcoder as a service's clients do: real video, streamed up over HTTP/2 at the pace of a camera or at
//! the network's speed.
//!
//! Arrivals are open loop (Poisson, from a seed) unless only a concurrency is given; every request carries a W3C
//! trace id that the log keeps, so that later claims can be held against it.
//! Cost: one thread with one event loop, which measures itself; a request costs a timer every 50 ms while it uploads.

mod arrivals;
mod client;
mod command;
pub(crate) mod connection;
mod generator;
mod multipart;
mod plan;
mod record;
mod sample;
mod summary;
mod upload;

pub use command::{Args, run};
pub use generator::Generator;
pub(crate) use generator::take_precedence;
pub use plan::Plan;
pub use record::{Log, Record, wall_clock};
pub use summary::{Percentiles, Summary};

use anyhow::{Context as _, anyhow};
use arrivals::Poisson;
use bytes::Bytes;
use client::{Client, Order, exchange};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sample::Sample;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// Requests at once, where no concurrency is given: a bound, not a goal (500 a second that all take 30 s).
const MOST_AT_ONCE: usize = 16_384;
/// A client that goes away does so within this time or that of its upload, whichever is longer.
const ABORT_WITHIN: Duration = Duration::from_millis(500);

/// A run in progress, on a thread of its own. Dropping it ends it at once.
#[derive(Debug)]
pub struct Load {
    log: Arc<Log>,
    begun: Instant,
    plan: Plan,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<anyhow::Result<(Sample, Generator)>>>,
}

#[derive(Debug, Default)]
struct Flags {
    no_more: AtomicBool,
    at_once: AtomicBool,
}

/// A run that is over.
#[derive(Debug)]
pub struct Report {
    /// Its figures.
    pub summary: Summary,
    /// Every request.
    pub records: Vec<Record>,
    /// Answers that were decoded and are what was asked for, every picture there.
    pub verified: usize,
    /// What was wrong with the others.
    pub broken: Vec<String>,
    /// What the generator itself used, and whether it kept up.
    pub generator: Generator,
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// The plan makes no sense, or the video or the log cannot be made.
    pub fn start(plan: Plan) -> anyhow::Result<Self> {
        plan.check()?;
        let video = plan.clip.bytes()?;
        let log = Arc::new(plan.log.as_deref().map_or_else(|| Ok(Log::default()), Log::to_file)?);
        let flags = Arc::new(Flags::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("load")?;
        let (own_plan, own_log, own_flags) = (plan.clone(), Arc::clone(&log), Arc::clone(&flags));
        let work = move || {
            let meter = generator::Meter::start();
            let sample = runtime.block_on(drive(own_plan, video, own_log, own_flags))?;
            Ok((sample, meter.read()))
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(work).context("load")?;
        Ok(Self { log, begun: Instant::now(), plan, flags, thread: Some(thread) })
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Begins no more requests; those on their way go on.
    pub fn stop(&self) {
        self.flags.no_more.store(true, Ordering::Relaxed);
    }

    /// Ends it now; requests on their way are given up.
    pub fn give_up(&self) {
        self.flags.at_once.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end and sums up.
    ///
    /// # Errors
    /// The log could not be written, or `ffprobe` is missing.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        let thread = self.thread.take().context("load: already finished")?;
        let (sample, generator) = thread.join().map_err(|_| anyhow!("load: its thread panicked"))??;
        let seconds = self.begun.elapsed().as_secs_f64();
        self.log.finish()?;
        let summary = self.log.summary(seconds);
        let generator = generator.judged(&self.plan, &summary);
        let (looked_at, broken) = sample.look(&self.plan);
        let records = self.log.ended_since(0);
        Ok(Report { summary, records, verified: looked_at - broken.len(), broken, generator })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.give_up();
        if let Some(thread) = self.thread.take() {
            // Its own error was asked for by nobody.
            thread.join().map(drop).ok();
        }
    }
}

async fn drive(plan: Plan, video: Bytes, log: Arc<Log>, flags: Arc<Flags>) -> anyhow::Result<Sample> {
    let start = Instant::now();
    let room = Arc::new(Semaphore::new(plan.concurrency.unwrap_or(MOST_AT_ONCE)));
    let clients: Vec<Arc<Client>> = (0..plan.clients).map(|_| Arc::default()).collect();
    let sample = Arc::new(Mutex::new(Sample::new(plan.verify)));
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut arrivals = plan.rate.map(|rate| Poisson::new(rate, plan.seed));
    let mut requests = JoinSet::new();
    let plan = Arc::new(plan);
    let end = start + plan.length;
    let stopped = || flags.no_more.load(Ordering::Relaxed);
    for number in 0..plan.requests.unwrap_or(usize::MAX) {
        let due = match &mut arrivals {
            Some(arrivals) => start + arrivals.next().unwrap_or(plan.length),
            None => Instant::now(),
        };
        // In steps of at most 50 ms, so that a stop is heard.
        while Instant::now() < due.min(end) && !stopped() {
            tokio::time::sleep_until(due.min(Instant::now() + Duration::from_millis(50))).await;
        }
        if due >= end || stopped() {
            break;
        }
        // What was due before the end is sent even if the client's room comes late: else a stall would go unseen.
        let patience = if arrivals.is_some() { end + plan.drain } else { end };
        let permit = loop {
            let wait = tokio::time::timeout(Duration::from_millis(50), Arc::clone(&room).acquire_owned()).await;
            match wait {
                Ok(permit) => break Some(permit.context("load")?),
                Err(_) if stopped() || Instant::now() >= patience => break None,
                Err(_) => {}
            }
        };
        let Some(permit) = permit else {
            if arrivals.is_some() && !stopped() {
                log.never_sent(wall_clock() - due.elapsed().as_secs_f64());
                continue;
            }
            break;
        };
        // In a closed loop a request is due when there is room for it.
        let due = if arrivals.is_some() { due } else { Instant::now() };
        let keep = sample.lock().unwrap_or_else(PoisonError::into_inner).wants(number);
        let order = order(&plan, &mut random, due, keep);
        let (client, plan) = (Arc::clone(&clients[number % clients.len()]), Arc::clone(&plan));
        let (video, log, sample) = (video.clone(), Arc::clone(&log), Arc::clone(&sample));
        requests.spawn(async move {
            let started = wall_clock() - due.elapsed().as_secs_f64();
            log.begin(&order.trace_id, started);
            let trace_id = order.trace_id.clone();
            let mut record = Record { trace_id, started, slow: order.slow, ..Record::default() };
            let refused = |after| log.refused(after);
            let outcome = exchange(&client, &plan, &video, &order, &mut record, refused).await;
            record.ended = wall_clock();
            if let Some((media_type, body)) = outcome.kept {
                sample.lock().unwrap_or_else(PoisonError::into_inner).keep(number, media_type, body);
            }
            log.end(record);
            if let (None, Some(wait)) = (plan.rate, outcome.retry_after) {
                tokio::time::sleep(wait).await;
            }
            drop(permit);
        });
        // Ended requests leave the set.
        while requests.try_join_next().is_some() {}
    }
    let end = Instant::now() + plan.drain;
    while !requests.is_empty() && Instant::now() < end && !flags.at_once.load(Ordering::Relaxed) {
        tokio::time::timeout(Duration::from_millis(50), requests.join_next()).await.map(drop).ok();
    }
    requests.shutdown().await;
    log.abandon();
    let mut sample = sample.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::replace(&mut *sample, Sample::new(0)))
}

fn order(plan: &Plan, random: &mut StdRng, due: Instant, keep: bool) -> Order {
    let upload = plan.clip.shape().length().div_f64(plan.pace);
    let aborts = random.random_bool(plan.aborting);
    let share = random.random_range(0.1..0.9);
    Order {
        due,
        // Never zero: the W3C forbids it.
        trace_id: format!("{:032x}", random.random_range(1..=u128::MAX)),
        span_id: format!("{:016x}", random.random_range(1..=u64::MAX)),
        abort_after: aborts.then(|| upload.max(ABORT_WITHIN).mul_f64(share)),
        stalls_at: (random.random_bool(plan.stalled) && !aborts).then_some(share),
        slow: random.random_bool(plan.slow),
        keep,
    }
}
