//! Exporters of several processes, each with a connection of its own, as SDKs do it: batches of 512 spans or what a
//! second brought, and none before the last one was answered.
//!
//! Invariant: it falls behind rather than sending more at once; how much was taken is counted by answers. One in a hundred
//! batches is sent twice, as if its answer had been lost. Cost: a thread.

use super::otlp::Batch;
use crate::load::connection::{Connection, send};
use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const BATCH: u32 = 512;
const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Counters of all exporters.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Spans that were answered.
    pub(super) spans: AtomicU64,
    /// Of these, requests, each once.
    pub(super) requests: AtomicU64,
}

/// Running exporters; they end when this is dropped.
pub(super) struct Exporters {
    sent: Arc<Sent>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Exporters {
    /// Starts one for each process, which send so many spans a second together.
    pub(super) fn start(to: SocketAddr, pids: &[u32], rate: u32) -> anyhow::Result<Self> {
        let (sent, end) = (Arc::<Sent>::default(), Arc::<AtomicBool>::default());
        let (counts, ends, pids) = (Arc::clone(&sent), Arc::clone(&end), pids.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let each = rate / pids.len() as u32;
                let one = |(number, pid)| export(to, number, pid, each, Arc::clone(&counts), Arc::clone(&ends));
                let all: Vec<_> = (0_u64..).zip(pids).map(one).map(tokio::spawn).collect();
                for exporter in all {
                    exporter.await.context("an exporter")??;
                }
                anyhow::Ok(())
            })
        });
        Ok(Self { sent, end, thread: Some(thread) })
    }

    /// Spans that were answered so far.
    pub(super) fn spans(&self) -> u64 {
        self.sent.spans.load(Relaxed)
    }

    /// Ends them; the requests that were told, each once.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.end.store(true, Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome?,
            _ => bail!("the exporters' thread has failed"),
        }
        Ok(self.sent.requests.load(Relaxed))
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

async fn export(
    to: SocketAddr,
    number: u64,
    pid: u32,
    rate: u32,
    sent: Arc<Sent>,
    end: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let connection = Connection::open(to).await?;
    // Not the same again: that would be repetitions.
    let mut random = StdRng::from_os_rng();
    let size = rate.clamp(1, BATCH);
    let service = format!("mill-{number}");
    let mut due = Instant::now() + Duration::from_secs_f64(random.random_range(0.0..1.0));
    while !end.load(Relaxed) {
        tokio::time::sleep_until(due.into()).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the time")?.as_nanos() as u64;
        let mut batch = Batch::new();
        while batch.spans < size {
            let age = random.random_range(0..200_000_000);
            batch.request(&mut random, now - age);
        }
        let frame = Bytes::from(batch.frame(&service, pid));
        let times = 1 + u32::from(random.random_ratio(1, 100));
        for _ in 0..times {
            call(&connection, to, frame.clone()).await?;
        }
        sent.spans.fetch_add(u64::from(batch.spans * times), Relaxed);
        sent.requests.fetch_add(batch.requests.into(), Relaxed);
        due += Duration::from_secs_f64(f64::from(batch.spans * times) / f64::from(rate.max(1)));
    }
    Ok(())
}

/// One call, which the agent must take whole.
async fn call(connection: &Connection, to: SocketAddr, frame: Bytes) -> anyhow::Result<()> {
    let head = Request::post(format!("http://{to}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .context("a call")?;
    let (answer, mut stream) = connection.begin(head).await?;
    send(&mut stream, frame, true).await?;
    let mut body = answer.await?.into_body();
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        length += piece.len();
    }
    let trailers = body.trailers().await?;
    let status = trailers.as_ref().and_then(|all| all.get("grpc-status")).map(|status| status.as_bytes().to_vec());
    ensure!(status.as_deref() == Some(b"0"), "the agent refused a call: {trailers:?}");
    // More than gRPC's own five bytes says what it rejected; that is counted by its metrics.
    ensure!(length >= 5, "no answer in a call's body");
    Ok(())
}
