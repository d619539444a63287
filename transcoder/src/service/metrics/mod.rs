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

use super::App;
use super::hls::Sessions;
use crate::pipeline::Why;
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

impl From<Why> for Cancellation {
    fn from(why: Why) -> Self {
        match why {
            Why::Gone => Self::Disconnect,
            Why::Stopping => Self::Shutdown,
            Why::UploadIdle(_) | Why::ReaderIdle(_) => Self::Idle,
            Why::FirstByte(_) => Self::FirstByte,
            Why::Total(_) => Self::Total,
        }
    }
}

/// On a response: the request was not admitted, because of this limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(pub(super) &'static str);

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
    codec_idle: Gauge,
    streams: Gauge,
    streams_max: Gauge,
    memory_reserved: Gauge,
    queues: Arc<Queues>,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new(sessions: Sessions) -> Self {
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
            memory_reserved: Gauge::default(),
            queues: Arc::default(),
        };
        for cancellation in Cancellation::ALL {
            metrics.cancellations.get_or_create(&Reason { reason: cancellation.name() }).inc_by(0);
        }
        let mut registry = Registry::with_prefix("transcoder");
        metrics.register(&mut registry);
        registry.register("codec_threads", "Codec threads, by what they do", threads);
        registry.register_collector(Box::new(metrics.queues.clone()));
        registry.register_collector(Box::new(sessions));
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
        to.register("memory_reserved_bytes", "Memory reserved for streams", self.memory_reserved.clone());
    }

    /// A request was answered with this status.
    pub(super) fn answered(&self, route: &str, status: u16) {
        self.requests.get_or_create(&Answer { status, route: route.to_owned() }).inc();
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

    /// A stream was ended before it had finished. The request's span counts it, whatever the reason.
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
    fn render(&self, app: &App) -> Result<String, std::fmt::Error> {
        let gauge = |gauge: &Gauge, value: u64| gauge.set(value.try_into().unwrap_or(i64::MAX));
        gauge(&self.streams, app.streams.taken() as u64);
        gauge(&self.streams_max, app.streams.most().into());
        gauge(&self.memory_reserved, app.streams.reserved());
        let (threads, busy) = app.pool.threads();
        gauge(&self.codec_busy, busy as u64);
        gauge(&self.codec_idle, threads.saturating_sub(busy) as u64);
        let mut page = String::with_capacity(16 << 10);
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn histogram() -> HistogramWithExemplars<Ids> {
    HistogramWithExemplars::new(BOUNDS.into_iter())
}
