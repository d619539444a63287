//! Drives the transcoder as a service's clients do: real video, streamed up over HTTP/2 at the pace of a camera.
//!
//! Arrivals are open loop (Poisson, from a seed) unless only a concurrency is given; every request carries a W3C
//! trace id that the log keeps, so that later claims can be held against it.
//! Cost: one thread with one event loop; a request costs a timer every 50 ms while it uploads.

mod arrivals;
mod body;
mod client;
mod plan;
mod record;
mod summary;

pub use plan::Plan;
pub use record::{Log, Record, wall_clock};
pub use summary::{Percentiles, Summary};

use crate::{
    process,
    video::{self, Clip},
};
use anyhow::{Context as _, anyhow, bail};
use arrivals::Poisson;
use bytes::Bytes;
use client::{Client, Order, exchange};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// Requests at once, where no concurrency is given: a bound, not a goal.
const MOST_AT_ONCE: usize = 1024;

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The transcoder
    #[arg(long, default_value = "127.0.0.1:8080")]
    target: SocketAddr,
    /// Requests a second, arriving at random whatever becomes of the earlier ones
    #[arg(long)]
    rate: Option<f64>,
    /// Requests at once (without --rate: always this many)
    #[arg(long)]
    concurrency: Option<usize>,
    /// Seconds for which requests are begun
    #[arg(long = "for", default_value_t = 10.0)]
    length: f64,
    /// Upload speed as a multiple of the speed at which the video plays
    #[arg(long, default_value_t = 1.0)]
    pace: f64,
    /// Simulated clients, one HTTP/2 connection each
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// What is asked for
    #[arg(long, default_value = "fmp4", value_parser = ["fmp4", "ts"])]
    format: String,
    /// Share of requests whose client goes away in the middle of the upload
    #[arg(long, default_value_t = 0.0)]
    aborting: f64,
    /// Share of requests whose client reads the answer slowly
    #[arg(long, default_value_t = 0.0)]
    slow: f64,
    /// Tries again after a 429, when it says
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Repeats a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Answers to decode at the end
    #[arg(long, default_value_t = 3)]
    verify: usize,
    /// Writes each request to this file, one JSON document a line
    #[arg(long)]
    log: Option<PathBuf>,
    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// The options make no sense, `ffmpeg` is missing, no request was answered, or an answer is not a video.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(args.length).context("--for")?;
    let plan = Plan {
        clip: Clip::Fragmented,
        format: args.format.clone(),
        pace: args.pace,
        rate: args.rate,
        concurrency: args.concurrency,
        length,
        clients: args.clients,
        aborting: args.aborting,
        slow: args.slow,
        retries: args.retries,
        seed: args.seed,
        verify: args.verify,
        log: args.log.clone(),
        drain: Duration::from_secs(30),
        ..Plan::new(args.target)
    };
    let load = Load::start(plan)?;
    // Ctrl-C ends the load, not the report.
    process::end_on_interrupt();
    while !load.is_over() {
        if process::pause(Duration::from_millis(100)).is_err() {
            load.give_up();
            break;
        }
    }
    let report = load.finish()?;
    if args.json {
        println!("{}", serde_json::to_string(&report.summary).context("summary")?);
    } else {
        print!("{}", report.summary);
        println!("verified    {} answers decoded, {} broken", report.verified, report.broken.len());
    }
    if let Some(broken) = report.broken.first() {
        bail!("an answer is not a video: {broken}");
    }
    if report.summary.statuses.is_empty() {
        bail!("no request was answered");
    }
    Ok(())
}

/// A run in progress, on a thread of its own. Dropping it ends it at once.
#[derive(Debug)]
pub struct Load {
    log: Arc<Log>,
    begun: Instant,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<anyhow::Result<Vec<Bytes>>>>,
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
    /// Answers that were decoded.
    pub verified: usize,
    /// What was wrong with those that could not be.
    pub broken: Vec<String>,
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
        let (own_log, own_flags) = (Arc::clone(&log), Arc::clone(&flags));
        let work = move || runtime.block_on(drive(plan, video, own_log, own_flags));
        let thread = std::thread::Builder::new().name("load".into()).spawn(work).context("load")?;
        Ok(Self { log, begun: Instant::now(), flags, thread: Some(thread) })
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
        let kept = thread.join().map_err(|_| anyhow!("load: its thread panicked"))??;
        self.log.finish()?;
        let records = self.log.ended_since(0);
        let summary = Summary::of(&records, self.begun.elapsed().as_secs_f64());
        let mut broken = Vec::new();
        for answer in &kept {
            let file = tempfile::NamedTempFile::new().context("keep an answer")?;
            std::fs::write(file.path(), answer).context("keep an answer")?;
            match video::probe(file.path()) {
                Ok(probed) if probed.frames > 0 => {}
                Ok(probed) => broken.push(format!("{probed:?}")),
                Err(error) => broken.push(format!("{error:#}")),
            }
        }
        Ok(Report { summary, records, verified: kept.len() - broken.len(), broken })
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

async fn drive(plan: Plan, video: Bytes, log: Arc<Log>, flags: Arc<Flags>) -> anyhow::Result<Vec<Bytes>> {
    let start = Instant::now();
    let room = Arc::new(Semaphore::new(plan.concurrency.unwrap_or(MOST_AT_ONCE)));
    let clients: Vec<Arc<Client>> = (0..plan.clients).map(|_| Arc::default()).collect();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut arrivals = plan.rate.map(|rate| Poisson::new(rate, plan.seed));
    let mut requests = JoinSet::new();
    let plan = Arc::new(plan);
    let end = start + plan.length;
    let stopped = || flags.no_more.load(Ordering::Relaxed);
    for number in 0usize.. {
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
        let order = order(&plan, &mut random, due, number);
        let (client, plan) = (Arc::clone(&clients[number % clients.len()]), Arc::clone(&plan));
        let (video, log, kept) = (video.clone(), Arc::clone(&log), Arc::clone(&kept));
        requests.spawn(async move {
            let started = wall_clock() - due.elapsed().as_secs_f64();
            log.begin(&order.trace_id, started);
            let trace_id = order.trace_id.clone();
            let mut record = Record { trace_id, started, slow: order.slow, ..Record::default() };
            let answer = exchange(&client, &plan, &video, &order, &mut record).await;
            record.ended = wall_clock();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < plan.verify {
                kept.extend(answer);
            }
            log.end(record);
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
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *kept))
}

fn order(plan: &Plan, random: &mut StdRng, due: Instant, number: usize) -> Order {
    let upload = Clip::LENGTH.div_f64(plan.pace);
    let aborts = random.random_bool(plan.aborting);
    let share = random.random_range(0.1..0.9);
    Order {
        due,
        // Never zero: the W3C forbids it.
        trace_id: format!("{:032x}", random.random_range(1..=u128::MAX)),
        span_id: format!("{:016x}", random.random_range(1..=u64::MAX)),
        abort_after: aborts.then(|| upload.mul_f64(share)),
        slow: random.random_bool(plan.slow),
        // The first is often slower than the rest; a sample of all is better than the first few.
        keep: plan.verify > 0 && number % 7 == 3,
    }
}
