//! `/metrics`: what the service knows about itself, in Prometheus' text format.
//!
//! Gauges of the process are read when they are asked for.

use super::admission::Streams;
use super::memory;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::time::Duration;

/// Bounds of the first-byte histogram, seconds.
const FIRST_BYTE_BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Everything that is counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests by status.
    requests: IntCounterVec,
    /// Pictures encoded.
    pub(crate) frames: IntCounter,
    /// Bytes of uploads.
    pub(crate) received: IntCounter,
    /// Bytes of results.
    pub(crate) sent: IntCounter,
    first_byte: Histogram,
    streams: IntGauge,
    streams_max: IntGauge,
    open_fds: Gauge,
    heap: Gauge,
    tasks: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two of a name: a mistake in this file.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("transcoder".to_owned()), None)?;
        let requests = Opts::new("requests_total", "Transcode requests answered, by status");
        let first_byte =
            HistogramOpts::new("first_byte_seconds", "From a request's head to the first byte of its result")
                .buckets(FIRST_BYTE_BOUNDS.to_vec());
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["status"])?,
            frames: IntCounter::new("frames_total", "Pictures encoded")?,
            received: IntCounter::new("received_bytes_total", "Bytes of uploads")?,
            sent: IntCounter::new("sent_bytes_total", "Bytes of results")?,
            first_byte: Histogram::with_opts(first_byte)?,
            streams: IntGauge::new("streams", "Streams in progress")?,
            streams_max: IntGauge::new("streams_max", "Streams that may be in progress at once")?,
            open_fds: Gauge::new("open_fds", "Open file descriptors; NaN while there is none left to count them with")?,
            heap: Gauge::new("heap_in_use_bytes", "Heap that is allocated and not freed (mallinfo2)")?,
            tasks: IntGauge::new("tasks", "Tasks of the event loop that are alive")?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        self.registry.register(Box::new(self.requests.clone()))?;
        self.registry.register(Box::new(self.first_byte.clone()))?;
        for counter in [&self.frames, &self.received, &self.sent] {
            self.registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.streams, &self.streams_max, &self.tasks] {
            self.registry.register(Box::new(gauge.clone()))?;
        }
        for gauge in [&self.open_fds, &self.heap] {
            self.registry.register(Box::new(gauge.clone()))?;
        }
        Ok(())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, status: u16) {
        self.requests.with_label_values(&[&status.to_string()]).inc();
    }

    /// The first byte of a result is there.
    pub(crate) fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after.as_secs_f64());
    }

    /// The whole page. Call it on the runtime whose tasks are to be counted.
    ///
    /// # Errors
    /// The text could not be made.
    pub(crate) fn render(&self, streams: &Streams) -> prometheus::Result<Vec<u8>> {
        self.streams.set(streams.taken().try_into().unwrap_or(i64::MAX));
        self.streams_max.set(streams.most().into());
        self.open_fds.set(open_fds().unwrap_or(f64::NAN));
        self.heap.set(memory::in_use());
        let tasks = tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        self.tasks.set(tasks.try_into().unwrap_or(i64::MAX));
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }
}

/// Counts the directory, less the descriptor that this takes.
fn open_fds() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}
