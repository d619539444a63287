//! Who this process is, and where its spans go.
//!
//! Spans are exported from a runtime of their own, so that they leave also while the service's event loop is stalled.
//! Without `--otlp` there are spans nevertheless: their ids are what the thread context publishes.

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use snowshed_guard::{ContextLayer, process};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::runtime::Runtime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How long a span may wait for others before they are sent.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// For the last batch, at the end.
const LAST_BATCH: Duration = Duration::from_millis(500);
/// Spans and logs of this program; of libraries only warnings.
const FILTER: &str = "warn,snowshed_transcoder=info,snowshed_guard=info,opentelemetry=off";

/// `service.name` and `service.instance.id`.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// From `OTEL_SERVICE_NAME`, else `transcoder`.
    pub(crate) service: String,
    /// New at every start.
    pub(crate) instance_id: String,
}

impl Identity {
    /// Of this process.
    pub(crate) fn of_this_process() -> Self {
        let service = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
        Self {
            service: service.unwrap_or_else(|| "transcoder".to_owned()),
            instance_id: uuid::Uuid::now_v7().to_string(),
        }
    }
}

/// Keeps telemetry running; [`Telemetry::finish`] sends what is left.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
    exporter: Option<Runtime>,
    _context: Option<process::Published>,
}

impl Telemetry {
    /// Installs the subscriber of this process: spans to OTLP and to the thread context, logs to standard error.
    ///
    /// # Errors
    /// The URL cannot be used, or no thread could be started.
    pub(crate) fn start(identity: &Identity, otlp: Option<&str>) -> anyhow::Result<Self> {
        let mut provider = SdkTracerProvider::builder().with_resource(resource(identity));
        let mut exporter = None;
        if let Some(url) = otlp {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("otlp")
                .enable_all()
                .build()
                .context("OTLP thread")?;
            provider = provider.with_span_processor(processor(&runtime, url).with_context(|| format!("--otlp {url}"))?);
            exporter = Some(runtime);
        }
        let provider = provider.build();
        let tracer = provider.tracer("snowshed-transcoder");
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        let logs = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(log_filter());
        tracing_subscriber::registry()
            .with(EnvFilter::new(FILTER))
            .with(spans)
            .with(ContextLayer::default())
            .with(logs)
            .try_init()
            .context("logging")?;
        let context = process::publish(&identity.service, &identity.instance_id);
        if let Err(error) = &context {
            tracing::warn!(%error, "readers outside cannot learn who this process is");
        }
        Ok(Self { provider, exporter, _context: context.ok() })
    }

    /// Sends the last spans, within half a second.
    pub(crate) fn finish(self) {
        if let Some(exporter) = self.exporter {
            if let Err(error) = self.provider.shutdown_with_timeout(LAST_BATCH) {
                tracing::warn!(%error, "the last spans were not sent");
            }
            exporter.shutdown_background();
        }
    }
}

fn resource(identity: &Identity) -> Resource {
    Resource::builder()
        .with_service_name(identity.service.clone())
        .with_attributes([
            KeyValue::new("service.instance.id", identity.instance_id.clone()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

fn processor(runtime: &Runtime, url: &str) -> anyhow::Result<BatchSpanProcessor> {
    // The channel's tasks are spawned on the runtime that is entered while it is built.
    let _entered = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url)
        .with_timeout(Duration::from_secs(2))
        .build()
        .context("expected http://HOST:PORT")?;
    let batch = BatchConfigBuilder::default().with_scheduled_delay(BATCH_DELAY).with_max_queue_size(8192).build();
    Ok(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
}

/// Events inside spans are for the trace; the log is for people.
fn log_filter() -> tracing_subscriber::filter::FilterFn {
    tracing_subscriber::filter::filter_fn(|metadata| *metadata.level() <= tracing::Level::WARN)
}
