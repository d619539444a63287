//! What the service knows about itself: counters here, values of the process in [`process`], the page in [`page`].
//!
//! Invariants: every label's values come from a fixed set (routes, statuses, reasons), so the page does not grow with
//! traffic; a histogram keeps one exemplar per bucket. Cost: a counter is one atomic addition, an observation one
//! short lock; gauges of the process are read when the page is asked for.
//!
//! A new metric is a field, and a line in [`Metrics::new`]. Names get the prefix `transcoder_`, counters the suffix
//! `_total`, and help texts a full stop.

mod exemplar;
pub(crate) mod page;
mod process;
mod queues;

pub(crate) use queues::Watched;

use super::limits::Streams;
use exemplar::Ids;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use queues::Queues;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bounds of both histograms, seconds: from a playlist that is there to a film that takes an hour.
const BOUNDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 300.0, 3600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    status: u16,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// Why a stream was ended before it had finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a deadline is counted where it is kept")]
pub(crate) enum Cancellation {
    /// The client is gone, or reset the stream.
    Disconnect,
    /// The client neither sent nor read for too long.
    Idle,
    /// No byte of the result was there in time.
    FirstByte,
    /// It took too long altogether.
    Total,
    /// The service is stopping.
    Shutdown,
}

impl Cancellation {
    /// All of them, so that each is on the page from the beginning.
    const ALL: [Self; 5] = [Self::Disconnect, Self::Idle, Self::FirstByte, Self::Total, Self::Shutdown];

    /// As labels and spans have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Idle => "idle",
            Self::FirstByte => "first_byte",
            Self::Total => "total",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Everything that is counted. A clone counts the same.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Answer, Counter>,
    durations: Family<Route, HistogramWithExemplars<Ids>>,
    first_byte: HistogramWithExemplars<Ids>,
    refusals: Family<Reason, Counter>,
    cancellations: Family<Reason, Counter>,
    /// Pictures encoded.
    pub(crate) frames: Counter,
    /// Bytes of uploads.
    pub(crate) received: Counter,
    /// Bytes of results.
    pub(crate) sent: Counter,
    codec_busy: Gauge,
    /// Codec threads that wait for one.
    #[allow(dead_code, reason = "a thread that is made for one stream is never idle")]
    pub(crate) codec_idle: Gauge,
    streams: Gauge,
    streams_max: Gauge,
    stopping: Arc<AtomicBool>,
    queues: Arc<Queues>,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new() -> Self {
        let threads = Family::<State, Gauge>::default();
        let thread = |state| threads.get_or_create_owned(&State { state });
        let mut metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            first_byte: histogram(),
            refusals: Family::default(),
            cancellations: Family::default(),
            frames: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            codec_busy: thread("busy"),
            codec_idle: thread("idle"),
            streams: Gauge::default(),
            streams_max: Gauge::default(),
            stopping: Arc::default(),
            queues: Arc::default(),
        };
        for cancellation in Cancellation::ALL {
            metrics.cancellations.get_or_create(&Reason { reason: cancellation.name() }).inc_by(0);
        }
        let mut registry = Registry::with_prefix("transcoder");
        metrics.register(&mut registry);
        registry.register("codec_threads", "Codec threads, by what they do", threads);
        registry.register_collector(Box::new(metrics.queues.clone()));
        registry.register_collector(Box::new(process::Process::open()));
        metrics.registry = Arc::new(registry);
        metrics
    }

    fn register(&self, to: &mut Registry) {
        to.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        to.register("requests", "Requests answered, by route and status", self.requests.clone());
        let help = "From a request's head to the end of its response's body, by route";
        to.register("request_duration_seconds", help, self.durations.clone());
        let help = "From a request's head to the first byte of its result";
        to.register("first_byte_seconds", help, self.first_byte.clone());
        to.register("refusals", "Requests that were not admitted, by reason", self.refusals.clone());
        let help = "Streams ended before they had finished, by reason";
        to.register("cancellations", help, self.cancellations.clone());
        to.register("frames", "Pictures encoded", self.frames.clone());
        to.register("received_bytes", "Bytes of uploads", self.received.clone());
        to.register("sent_bytes", "Bytes of results", self.sent.clone());
        to.register("streams", "Streams in progress", self.streams.clone());
        to.register("streams_max", "Streams that may be in progress at once", self.streams_max.clone());
    }

    /// A request was answered with this status.
    pub(super) fn answered(&self, route: &str, status: u16) {
        self.requests.get_or_create(&Answer { status, route: route.to_owned() }).inc();
    }

    /// A codec thread works on a stream until the answer is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.codec_busy.inc();
        Busy(self.codec_busy.clone())
    }

    /// A request's response has ended. Call it inside the request's span: the exemplar is what the thread publishes.
    pub(super) fn ended(&self, route: &str, after: Duration) {
        let (ids, now) = exemplar::of_this_thread();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(after.as_secs_f64(), ids, now);
    }

    /// The first byte of a result is there. Call it inside the request's span.
    pub(super) fn first_byte(&self, after: Duration) {
        let (ids, now) = exemplar::of_this_thread();
        self.first_byte.observe(after.as_secs_f64(), ids, now);
    }

    /// A request was not admitted, for one of a handful of reasons.
    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }

    /// From now on what is cut off is cut off by the service's end.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why nobody takes the rest of a response, as far as that can be known from here.
    pub(super) fn gone(&self) -> Cancellation {
        let stopping = self.stopping.load(Ordering::Relaxed);
        if stopping { Cancellation::Shutdown } else { Cancellation::Disconnect }
    }

    /// A stream was ended before it had finished. The request's span counts clients that left and the service's end
    /// by itself; deadlines are counted where they are kept.
    pub(super) fn cancelled(&self, why: Cancellation) {
        self.cancellations.get_or_create(&Reason { reason: why.name() }).inc();
    }

    /// Counts what waits in these two channels until the answer is dropped.
    pub(super) fn watch<U, R>(&self, upload: &mpsc::Sender<U>, result: &mpsc::Sender<R>) -> Watched
    where
        U: Send + 'static,
        R: Send + 'static,
    {
        self.queues.watch(upload, result)
    }

    /// The whole page, in OpenMetrics. Call it on the runtime whose tasks are to be counted.
    fn render(&self, streams: &Streams) -> Result<String, std::fmt::Error> {
        self.streams.set(streams.taken().try_into().unwrap_or(i64::MAX));
        self.streams_max.set(streams.most().into());
        let mut page = String::with_capacity(16 << 10);
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Counts a codec thread as busy.
pub(crate) struct Busy(Gauge);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn histogram() -> HistogramWithExemplars<Ids> {
    HistogramWithExemplars::new(BOUNDS.into_iter())
}
