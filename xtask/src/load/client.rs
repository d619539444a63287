//! One simulated client: a connection that its requests share, and what happens to a request on it.

use super::{
    body::{Paced, Watcher},
    plan::Plan,
    record::Record,
};
use anyhow::{Context as _, anyhow, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, sync::Mutex, time::Instant};

/// A client that waits longer for a connection has none.
const CONNECT: Duration = Duration::from_secs(3);
/// What a slow reader waits after each piece.
const SLOW_PAUSE: Duration = Duration::from_millis(150);
/// The longest answer that is kept for verification.
const KEPT: usize = 8 << 20;

/// A client with at most one connection, made when it is first needed and again when it broke.
#[derive(Default)]
pub(super) struct Client {
    connection: Mutex<Option<http2::SendRequest<Paced>>>,
}

impl Client {
    async fn connection(&self, address: SocketAddr) -> anyhow::Result<http2::SendRequest<Paced>> {
        let mut held = self.connection.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // Room for every stream of the connection: a slow reader must not hold up the others.
            let handshake = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(256 << 10)
                .initial_connection_window_size(32 << 20)
                .handshake(TokioIo::new(stream))
                .await?;
            anyhow::Ok(handshake)
        };
        let (sender, driver) =
            tokio::time::timeout(CONNECT, connect).await.map_err(|_| anyhow!("connect: timeout"))??;
        tokio::spawn(async move {
            // Each request on it learns of its own failure.
            driver.await.ok();
        });
        *held = Some(sender.clone());
        Ok(sender)
    }
}

/// What a request is to be.
pub(super) struct Order {
    pub(super) due: Instant,
    pub(super) trace_id: String,
    pub(super) span_id: String,
    /// Go away after this long.
    pub(super) abort_after: Option<Duration>,
    pub(super) slow: bool,
    pub(super) keep: bool,
}

/// Sends one request, with its retries, and fills in its record; gives the answer's body if it is to be kept.
pub(super) async fn exchange(
    client: &Client,
    plan: &Plan,
    video: &Bytes,
    order: &Order,
    record: &mut Record,
) -> Option<Bytes> {
    let whole = async {
        loop {
            record.attempts += 1;
            let (retry_after, kept) = attempt(client, plan, video, order, record).await?;
            match retry_after {
                Some(wait) if record.attempts <= plan.retries => tokio::time::sleep(wait).await,
                _ => return anyhow::Ok(kept),
            }
        }
    };
    let bound = order.abort_after.unwrap_or(plan.timeout);
    let kept = match tokio::time::timeout(bound, whole).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            record.error = Some(format!("{error:#}"));
            None
        }
        Err(_) if order.abort_after.is_some() => {
            record.aborted = true;
            None
        }
        Err(_) => {
            record.error = Some(format!("timeout after {:.0} s", bound.as_secs_f64()));
            None
        }
    };
    record.total_ms = milliseconds_since(order.due);
    kept
}

async fn attempt(
    client: &Client,
    plan: &Plan,
    video: &Bytes,
    order: &Order,
    record: &mut Record,
) -> anyhow::Result<(Option<Duration>, Option<Bytes>)> {
    let mut sender = client.connection(plan.address).await?;
    sender.ready().await.context("connection")?;
    let watcher = Watcher::default();
    let length = crate::video::Clip::LENGTH.div_f64(plan.pace);
    let request = Request::post(format!("http://{}/api/v1/transcode", plan.address))
        .header("content-type", plan.clip.content_type())
        .header("x-output-format", &plan.format)
        .header("traceparent", format!("00-{}-{}-01", order.trace_id, order.span_id))
        .body(Paced::new(video.clone(), length, &watcher))
        .context("request")?;
    let response = sender.send_request(request).await.context("request")?;
    record.status = Some(response.status().as_u16());
    let retry_after = retry_after(&response);
    let kept = receive(response, order, record).await?;
    Ok((retry_after, kept))
}

async fn receive(response: Response<Incoming>, order: &Order, record: &mut Record) -> anyhow::Result<Option<Bytes>> {
    let good = response.status().is_success();
    let mut kept = (order.keep && good).then(BytesMut::new);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("answer")?.into_data() else { continue };
        if good && record.first_byte_ms.is_none() && !data.is_empty() {
            record.first_byte_ms = Some(milliseconds_since(order.due));
        }
        record.bytes += data.len() as u64;
        match &mut kept {
            Some(so_far) if so_far.len() + data.len() <= KEPT => so_far.extend_from_slice(&data),
            full => *full = None,
        }
        if order.slow {
            tokio::time::sleep(SLOW_PAUSE).await;
        }
    }
    if good && record.bytes == 0 {
        bail!("answer: empty");
    }
    Ok(kept.map(BytesMut::freeze))
}

/// How long a 429 asks to wait; at most a minute is honoured.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    if response.status() != hyper::StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let told = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Some(Duration::from_secs(told.unwrap_or(1).min(60)))
}

fn milliseconds_since(due: Instant) -> f64 {
    due.elapsed().as_secs_f64() * 1e3
}
