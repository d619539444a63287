//! What arrives is passed on, byte for byte, to the next collector: so the agent can sit in the path of telemetry that
//! is there already.
//!
//! Invariant: nobody waits for the next collector. The queue is bounded in number and weight; what does not fit, or is
//! not taken for half a minute, is dropped and counted. What came by gRPC goes on as protobuf over HTTP, the message's
//! own bytes unchanged. Only what this receiver could read is passed on: a broken call is refused, not spread.

use crate::metrics::Tally;
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, header},
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Calls that wait.
const QUEUE: usize = 256;
/// What they may weigh, bytes.
const WEIGHT: usize = 8 * 1024 * 1024;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a call is tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first wait before it is.
const PAUSE: Duration = Duration::from_millis(250);

/// What can be set of the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The next collector, OTLP over HTTP, as in `http://collector:4318`; nowhere if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forward: Option<String>,
}

impl Config {
    /// Checks that there is a collector to be reached that is not one of the agent's own receivers.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(crate) fn check(&self, own: &[SocketAddr]) -> Result<(), String> {
        let Some(text) = &self.forward else { return Ok(()) };
        let wrong = |why: &str| Err(format!("sources.otlp.forward: {text:?}: {why}"));
        let Ok(url) = text.parse::<reqwest::Url>() else { return wrong("not a URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("only http and https are spoken");
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if loopback && own.iter().any(|own| Some(own.port()) == url.port_or_known_default()) {
            return wrong("that is this agent's own receiver");
        }
        Ok(())
    }
}

/// The kinds of telemetry, by the last part of their path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// `v1/traces`.
    Traces,
    /// `v1/metrics`.
    Metrics,
    /// `v1/logs`.
    Logs,
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }
}

#[derive(Debug)]
struct Parcel {
    signal: Signal,
    headers: HeaderMap,
    body: Bytes,
}

/// The way to the next collector, or to none.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    queue: Option<mpsc::Sender<Parcel>>,
    weight: Arc<AtomicUsize>,
    tally: Tally,
}

impl Forward {
    /// To nobody.
    pub(crate) fn off(tally: Tally) -> Self {
        Self { queue: None, weight: Arc::default(), tally }
    }

    /// Whether there is a next collector.
    pub(crate) fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Passes a call on, with the headers that say how to read it.
    pub(crate) fn pass(&self, signal: Signal, headers: &HeaderMap, body: &Bytes) {
        let Some(queue) = &self.queue else { return };
        let kept: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
        let headers = kept.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect();
        let fits = self.weight.load(Ordering::Relaxed).saturating_add(body.len()) <= WEIGHT;
        let (weight, parcel) = (body.len(), Parcel { signal, headers, body: body.clone() });
        // Before it can be taken out again.
        self.weight.fetch_add(weight, Ordering::Relaxed);
        if !fits || queue.try_send(parcel).is_err() {
            self.weight.fetch_sub(weight, Ordering::Relaxed);
            self.count("dropped");
        }
    }

    /// Passes on the message of a gRPC call.
    pub(crate) fn pass_message(&self, signal: Signal, message: &Bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
        self.pass(signal, &headers, message);
    }

    fn count(&self, outcome: &str) {
        self.tally.otlp_forwarded.with_label_values(&[outcome]).inc();
    }
}

/// The queue's end, to be run as a task; `None` where nothing is passed on.
///
/// # Errors
/// The address cannot be posted to.
pub(crate) fn start(
    config: &Config,
    tally: Tally,
) -> Result<(Forward, Option<impl Future<Output = ()> + Send + use<>>), String> {
    let Some(text) = &config.forward else { return Ok((Forward::off(tally), None)) };
    let wrong = |why: String| format!("sources.otlp.forward: {text:?}: {why}");
    let base = format!("{}/", text.trim_end_matches('/'));
    let base: reqwest::Url = base.parse().map_err(|error| wrong(format!("{error}")))?;
    // No proxy: what is named is meant.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    let client = client.build().map_err(|error| wrong(error.to_string()))?;
    let (queue, inbox) = mpsc::channel(QUEUE);
    let forward = Forward { queue: Some(queue), weight: Arc::default(), tally };
    let task = run(Sender { client, base, told: false }, inbox, Forward { queue: None, ..forward.clone() });
    Ok((forward, Some(task)))
}

async fn run(mut sender: Sender, mut inbox: mpsc::Receiver<Parcel>, state: Forward) {
    while let Some(parcel) = inbox.recv().await {
        let sent = sender.deliver(&parcel).await;
        state.weight.fetch_sub(parcel.body.len(), Ordering::Relaxed);
        state.count(if sent { "sent" } else { "failed" });
    }
}

struct Sender {
    client: reqwest::Client,
    base: reqwest::Url,
    /// That it fails was logged.
    told: bool,
}

impl Sender {
    /// Whether the next collector took it, or refused it for good.
    async fn deliver(&mut self, parcel: &Parcel) -> bool {
        let (latest, mut pause) = (Instant::now() + PATIENCE, PAUSE);
        loop {
            let (again, why) = match self.attempt(parcel).await {
                Ok(status) if status.is_success() => {
                    if std::mem::take(&mut self.told) {
                        tracing::info!("{} takes telemetry again", self.base);
                    }
                    return true;
                }
                // As OTLP has it: these are worth another attempt, every other refusal is final.
                Ok(status) => (matches!(status.as_u16(), 429 | 502..=504), format!("answered {status}")),
                Err(error) => (true, error.to_string()),
            };
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!("telemetry is not passed on to {}: {why}", self.base);
            }
            if !again || Instant::now() + pause >= latest {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ATTEMPT);
        }
    }

    async fn attempt(&self, parcel: &Parcel) -> reqwest::Result<reqwest::StatusCode> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), parcel.signal.path()));
        let request = self.client.post(url).headers(parcel.headers.clone()).body(parcel.body.clone());
        Ok(request.timeout(ATTEMPT).send().await?.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::State, http::Uri, response::IntoResponse, routing::post};

    type Seen = mpsc::Sender<(String, HeaderMap, Bytes)>;

    async fn take(State(seen): State<Seen>, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
        seen.send((uri.path().to_owned(), headers, body)).await.expect("somebody looks");
    }

    async fn collector() -> (String, mpsc::Receiver<(String, HeaderMap, Bytes)>) {
        let (seen, arrived) = mpsc::channel(8);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/base", listener.local_addr().expect("bound"));
        let app = Router::new().route("/base/{*rest}", post(take)).with_state(seen);
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, arrived)
    }

    fn forward(url: &str) -> (Forward, impl Future<Output = ()> + Send + use<>) {
        let config = Config { forward: Some(url.to_owned()) };
        let (forward, task) = start(&config, Tally::new().expect("the table is valid")).expect("a good address");
        (forward, task.expect("it is on"))
    }

    #[tokio::test]
    async fn a_call_arrives_byte_for_byte_and_with_its_encoding() {
        let (url, mut arrived) = collector().await;
        let (forward, task) = forward(&url);
        tokio::spawn(task);
        let body = Bytes::from_static(&[0x1f, 0x8b, 0, 255, 7]);
        let headers = [("content-type", "application/json"), ("content-encoding", "gzip"), ("cookie", "secret")];
        let named = |(name, value)| (HeaderName::from_static(name), header::HeaderValue::from_static(value));
        forward.pass(Signal::Metrics, &headers.into_iter().map(named).collect(), &body);
        let (path, headers, taken) = arrived.recv().await.expect("it arrives");
        assert_eq!((&*path, taken), ("/base/v1/metrics", body));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["content-encoding"], "gzip");
        assert!(!headers.contains_key("cookie"));
        forward.pass_message(Signal::Traces, &Bytes::from_static(b"x"));
        let (path, headers, _) = arrived.recv().await.expect("it arrives");
        assert_eq!(path, "/base/v1/traces");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }

    #[tokio::test]
    async fn a_queue_that_nobody_empties_drops_and_counts() {
        let (forward, _never_run) = forward("http://127.0.0.1:1");
        let dropped = || forward.tally.otlp_forwarded.with_label_values(&["dropped"]).get();
        for _ in 0..QUEUE + 10 {
            forward.pass_message(Signal::Traces, &Bytes::from_static(b"x"));
        }
        assert_eq!(dropped(), 10, "by number");
        let (forward, _never_run) = super::tests::forward("http://127.0.0.1:1");
        let large = Bytes::from(vec![0; WEIGHT / 2]);
        (0..5).for_each(|_| forward.pass_message(Signal::Traces, &large));
        let dropped = forward.tally.otlp_forwarded.with_label_values(&["dropped"]).get();
        assert_eq!(dropped, 3, "by weight");
        assert!(forward.weight.load(Ordering::Relaxed) <= WEIGHT);
    }

    #[test]
    fn an_address_that_makes_no_sense_is_refused_with_its_key() {
        let own = [SocketAddr::from(([127, 0, 0, 1], 4318))];
        for (url, word) in
            [("nowhere", "not a URL"), ("file:///x", "http and https"), ("http://localhost:4318", "own receiver")]
        {
            let told = Config { forward: Some(url.into()) }.check(&own).expect_err(url);
            assert!(told.starts_with("sources.otlp.forward") && told.contains(word), "{told}");
        }
        assert_eq!(Config { forward: Some("http://collector:4318".into()) }.check(&own), Ok(()));
        assert_eq!(Config::default().check(&own), Ok(()));
    }
}
