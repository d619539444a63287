//! How long a stream is still there after its client went away, while others go on: read off the service's own gauge.
//!
//! The gauge is asked without a pause, so the figure is late by one answer of `/metrics`, about a millisecond.

use super::{
    Subject,
    job::Job,
    service::{Service, begin, body, in_time, next, runtime, while_sending},
    table::{Row, Target},
};
use crate::{
    load::{
        Percentiles,
        connection::{self, Connection},
    },
    video::Clip,
};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};

/// Streams that go on meanwhile.
const OTHERS: usize = 4;
/// A stream that is still there so long after its client is not freed.
const STUCK: Duration = Duration::from_secs(10);
/// What the others send, and how often.
const PIECE: usize = 4 << 10;
const EVERY: Duration = Duration::from_millis(100);

/// Percentiles over so many clients that go away, half by a reset of their stream and half by closing the connection.
///
/// # Errors
/// A stream is not freed at all, or one of the others ends.
pub(crate) fn rows(subject: &Subject, aborts: usize) -> anyhow::Result<Vec<Row>> {
    let service = Service::start(subject, &[])?;
    let freed = runtime()?.block_on(all(service.address(), aborts))?;
    let mut sorted = freed;
    sorted.sort_by(f64::total_cmp);
    let Percentiles { p50, p99, max, .. } = percentiles(&sorted);
    Ok(vec![
        Row::value(format!("stream freed, p50 of {aborts} disconnects"), p50, "ms", Target::None),
        Row::value(format!("stream freed, p99 of {aborts} disconnects"), p99, "ms", Target::AtMost(50.0)),
        Row::value("stream freed, slowest", max, "ms", Target::None),
    ])
}

/// Nearest ranks of sorted values.
fn percentiles(sorted: &[f64]) -> Percentiles {
    let at = |share: f64| {
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    };
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
}

async fn all(address: SocketAddr, aborts: usize) -> anyhow::Result<Vec<f64>> {
    let mut gauge = Gauge::open(address).await?;
    let mut others = JoinSet::new();
    let long = Clip::Long.bytes()?;
    let job = Job { clip: Clip::Long, height: 240, preset: "ultrafast", format: "fmp4" };
    for _ in 0..OTHERS {
        others.spawn(go_on(address, job, long.clone()));
    }
    gauge.reaches(OTHERS as f64, |streams, wanted| streams >= wanted).await?;
    let jobs = [
        Job { clip: Clip::Sd, height: 240, preset: "ultrafast", format: "fmp4" },
        Job { clip: Clip::Hd, height: 720, preset: "ultrafast", format: "fmp4" },
    ];
    let mut freed = Vec::with_capacity(aborts);
    for number in 0..aborts {
        if let Some(ended) = others.try_join_next() {
            bail!("a stream that was to go on ended: {:?}", ended.context("one of the others")?);
        }
        let (job, cut) = (jobs[number % 2], number % 4 >= 2);
        freed.push(in_time(one(address, job, number, cut, &mut gauge)).await.context("a disconnect")?);
    }
    Ok(freed)
}

/// A client that goes away some moments after the first byte; milliseconds until its stream is gone.
async fn one(address: SocketAddr, job: Job, number: usize, cut: bool, gauge: &mut Gauge) -> anyhow::Result<f64> {
    let video = job.clip.bytes()?;
    let connection = Connection::open(address).await?;
    let (response, mut stream) = begin(&connection, address, job).await?;
    // The upload stays open, so the stream cannot have ended by itself.
    let most = video.slice(..video.len() - 1);
    let answering = async {
        let mut body = body(response).await?;
        next(&mut body).await?.context("the answer is empty")?;
        tokio::time::sleep(Duration::from_millis(number as u64 * 7 % 50)).await;
        anyhow::Ok(body)
    };
    let body = while_sending(connection::send(&mut stream, most, false), answering).await?;
    if gauge.streams().await? < OTHERS as f64 + 1.0 {
        bail!("the stream ended before its client went away");
    }
    let gone = Instant::now();
    if cut {
        connection.cut();
    }
    drop((stream, body, connection));
    gauge.reaches(OTHERS as f64, |streams, wanted| streams <= wanted).await?;
    Ok(gone.elapsed().as_secs_f64() * 1e3)
}

/// A client that sends slowly and reads what comes. Never ends well while it is wanted.
async fn go_on(address: SocketAddr, job: Job, mut video: Bytes) -> anyhow::Result<()> {
    let connection = Connection::open(address).await?;
    let (response, mut stream) = begin(&connection, address, job).await?;
    let sending = async {
        while !video.is_empty() {
            let piece = video.split_to(PIECE.min(video.len()));
            if connection::send(&mut stream, piece, false).await.is_err() {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
        std::future::pending::<()>().await;
    };
    let answering = async {
        let mut body = body(response).await?;
        while next(&mut body).await?.is_some() {}
        anyhow::Ok(())
    };
    while_sending(sending, answering).await
}

/// The service's count of streams, over one connection that is kept.
struct Gauge {
    sender: http1::SendRequest<Empty<Bytes>>,
    address: SocketAddr,
}

impl Gauge {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("metrics")?;
        stream.set_nodelay(true).context("metrics")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("metrics")?;
        // Whoever asks learns of its end.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self { sender, address })
    }

    async fn streams(&mut self) -> anyhow::Result<f64> {
        self.sender.ready().await.context("metrics")?;
        let request = Request::get("/metrics").header("host", self.address.to_string());
        let request = request.body(Empty::new()).context("metrics")?;
        let page = self.sender.send_request(request).await.context("metrics")?.into_body();
        let page = page.collect().await.context("metrics")?.to_bytes();
        let page = std::str::from_utf8(&page).context("metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix("transcoder_streams ")).context("no such metric")?;
        value.trim().parse().context("transcoder_streams")
    }

    async fn reaches(&mut self, wanted: f64, is_there: fn(f64, f64) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let streams = self.streams().await?;
            if is_there(streams, wanted) {
                return Ok(());
            }
            if begun.elapsed() > STUCK {
                bail!("{streams} streams for {} s where {wanted} are wanted", STUCK.as_secs());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let Percentiles { p50, p99, max, .. } = percentiles(&sorted);
        assert_eq!((p50, p99, max), (100.0, 198.0, 200.0));
        assert!(percentiles(&[]).p99.is_nan());
    }
}
