//! One simulated client: a connection that its requests share, and what happens to a request on it.

use super::{
    connection::{Connection, head},
    plan::Plan,
    record::Record,
    upload::{Course, upload},
};
use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode};
use std::{net::SocketAddr, pin::pin, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// The longest answer that is kept for verification.
const KEPT: usize = 8 << 20;

/// A client with at most one connection, made when it is first needed and again when it broke.
#[derive(Default)]
pub(super) struct Client {
    connection: Mutex<Option<Connection>>,
}

impl Client {
    async fn connection(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        Ok(held.insert(Connection::open(address).await?).clone())
    }
}

/// What a request is to be.
pub(super) struct Order {
    pub(super) due: Instant,
    pub(super) trace_id: String,
    pub(super) span_id: String,
    /// Go away after this long.
    pub(super) abort_after: Option<Duration>,
    /// Stop sending after this share of the upload.
    pub(super) stalls_at: Option<f64>,
    pub(super) slow: bool,
    pub(super) keep: bool,
}

/// What came of a request, apart from its record.
#[derive(Default)]
pub(super) struct Outcome {
    /// The answer's media type and body, if it is to be kept.
    pub(super) kept: Option<(String, Bytes)>,
    /// How long the service asked to wait when it refused the last attempt.
    pub(super) retry_after: Option<Duration>,
}

/// Sends one request, with its retries, and fills in its record. `refused` is told of every 429 and how long it took.
pub(super) async fn exchange(
    client: &Client,
    plan: &Plan,
    video: &Bytes,
    order: &Order,
    record: &mut Record,
    refused: impl Fn(f64),
) -> Outcome {
    let whole = async {
        let mut due = order.due;
        loop {
            record.attempts += 1;
            let outcome = attempt(client, plan, video, order, due, record).await?;
            let Some(wait) = outcome.retry_after else { return anyhow::Ok(outcome) };
            refused(record.head_ms.unwrap_or_default());
            if record.attempts > plan.retries {
                return Ok(outcome);
            }
            tokio::time::sleep(wait).await;
            due = Instant::now();
        }
    };
    let bound = order.abort_after.unwrap_or(plan.timeout).saturating_sub(order.due.elapsed());
    let outcome = match tokio::time::timeout(bound, whole).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            record.error = Some(format!("{error:#}"));
            Outcome::default()
        }
        Err(_) if order.abort_after.is_some() => {
            record.aborted = true;
            Outcome::default()
        }
        Err(_) => {
            record.error = Some(format!("timeout after {:.0} s", plan.timeout.as_secs_f64()));
            Outcome::default()
        }
    };
    record.stalled = order.stalls_at.is_some() && outcome.retry_after.is_none() && !record.aborted;
    record.total_ms = milliseconds_since(order.due);
    if record.is_good() {
        record.frames = plan.clip.shape().frames();
    }
    outcome
}

async fn attempt(
    client: &Client,
    plan: &Plan,
    video: &Bytes,
    order: &Order,
    due: Instant,
    record: &mut Record,
) -> anyhow::Result<Outcome> {
    let connection = client.connection(plan.address).await?;
    let parent = format!("00-{}-{}-01", order.trace_id, order.span_id);
    let mut headers = vec![
        ("content-type", plan.clip.content_type()),
        ("x-output-format", plan.format.as_str()),
        ("traceparent", parent.as_str()),
    ];
    let height = plan.height.map(|height| height.to_string());
    headers.extend(height.as_deref().map(|height| ("x-height", height)));
    headers.extend(plan.preset.as_deref().map(|preset| ("x-preset", preset)));
    let head = head(plan.address, &headers).context("request")?;
    let (response, mut stream) = connection.begin(head).await.context("connection")?;
    if record.attempts == 1 {
        record.lag_ms = milliseconds_since(order.due);
    }
    let course = Course { length: plan.clip.shape().length().div_f64(plan.pace), stalls_at: order.stalls_at };
    let mut sending = pin!(upload(&mut stream, video.clone(), course));
    let answering = async {
        let response = response.await.context("request")?;
        record.status = Some(response.status().as_u16());
        record.head_ms = Some(milliseconds_since(due));
        let retry_after = retry_after(response.status(), response.headers())?;
        let kept = receive(response, plan, order, record).await?;
        Ok(Outcome { kept, retry_after })
    };
    let mut answering = pin!(answering);
    // An upload that the service wants no more of is explained by the answer.
    tokio::select! {
        outcome = &mut answering => return outcome,
        _ = &mut sending => {}
    }
    answering.await
}

async fn receive(
    response: Response<RecvStream>,
    plan: &Plan,
    order: &Order,
    record: &mut Record,
) -> anyhow::Result<Option<(String, Bytes)>> {
    let good = response.status().is_success();
    let mut kept = (order.keep && good).then(BytesMut::new);
    let (head, mut body) = response.into_parts();
    while let Some(data) = body.data().await {
        let data = data.context("answer")?;
        if good && record.first_byte_ms.is_none() && !data.is_empty() {
            record.first_byte_ms = Some(milliseconds_since(order.due));
        }
        record.bytes += data.len() as u64;
        match &mut kept {
            Some(so_far) if so_far.len() + data.len() <= KEPT => so_far.extend_from_slice(&data),
            full => *full = None,
        }
        if order.slow {
            tokio::time::sleep(Duration::from_secs_f64(data.len() as f64 / plan.slow_rate)).await;
        }
        // Only now may the service send as much again.
        body.flow_control().release_capacity(data.len()).context("answer")?;
    }
    if good && record.bytes == 0 {
        bail!("answer: empty");
    }
    let media_type = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(kept.map(|body| (media_type.to_owned(), body.freeze())))
}

/// How long a 429 asks to wait; at most a minute is honoured.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> anyhow::Result<Option<Duration>> {
    if status != StatusCode::TOO_MANY_REQUESTS {
        return Ok(None);
    }
    let told = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let seconds = told.context("429 without Retry-After")?;
    Ok(Some(Duration::from_secs(seconds.min(60))))
}

fn milliseconds_since(due: Instant) -> f64 {
    due.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_must_say_when_to_come_again() {
        let asked = |status, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            retry_after(status, &headers.collect()).map_err(|error| error.to_string())
        };
        let refused = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(asked(StatusCode::OK, &[]), Ok(None));
        assert_eq!(asked(refused, &[("retry-after", "2")]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(asked(refused, &[("retry-after", "86400")]), Ok(Some(Duration::from_secs(60))));
        for wrong in [vec![], vec![("retry-after", "soon")]] {
            assert!(asked(refused, &wrong).unwrap_err().contains("Retry-After"));
        }
    }
}
