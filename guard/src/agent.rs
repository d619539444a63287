//! The conversation with the agent: a report every 250 ms, a lease for an answer (`docs/guard-protocol.md`).
//!
//! It lives on a thread of its own with its own single-threaded runtime, because the service's event loop may be the
//! patient: a loop that is stalled must still be reported. Invariant: no request ever waits for it. Cost: one thread,
//! one connection, and while the agent is away one failed connect a second.

use crate::limit::{LimitLayer, Limiter, Snapshot};
use crate::{Lease, clock};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two reports while the agent answers.
const PERIOD: Duration = Duration::from_millis(250);
/// The longest pause while it does not.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For one exchange, connecting included.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Open requests in one report.
const REPORTED: usize = 1024;
/// An answer longer than this is refused.
const ANSWER_BYTES: usize = 64 << 10;

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// The agent's base URL, as in `http://127.0.0.1:9470`.
    pub agent_url: String,
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance_id: String,
}

/// Why a guard could not start.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The agent's URL is not one.
    #[error("agent URL {0:?}: {1}")]
    Url(String, String),
    /// The thread or its runtime could not be made.
    #[error("guard thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running guard; dropping it ends the reports and leaves no limit behind.
#[derive(Debug)]
pub struct Guard {
    limiter: Limiter,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Starts reporting. The agent need not be there.
    ///
    /// # Errors
    /// The URL cannot be used, or no thread could be started.
    pub fn start(config: GuardConfig) -> Result<Self, GuardError> {
        let endpoint = endpoint(&config.agent_url)?;
        let limiter = Limiter::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let reporter = Reporter { client: client(), endpoint, config, limiter: limiter.clone(), told: None };
        let thread = std::thread::Builder::new().name("guard-report".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = reporter.run() => {}
                    // A sender that is gone means the same as a signal.
                    _ = stopped => {}
                }
            });
            // A name being resolved must not hold the service's exit up.
            runtime.shutdown_background();
        })?;
        Ok(Self { limiter, stop: Some(stop), thread: Some(thread) })
    }

    /// The middleware that obeys this guard.
    #[must_use]
    pub fn layer(&self) -> LimitLayer {
        LimitLayer::new(self.limiter.clone())
    }

    /// The limit and the requests, for the service's own metrics.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked or it ended; there is nothing left to do either way.
            thread.join().unwrap_or_default();
        }
        self.limiter.renew(Lease::open());
    }
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http()
}

/// `{agent}/api/v1/guard`.
fn endpoint(agent_url: &str) -> Result<Uri, GuardError> {
    let wrong = |why: String| GuardError::Url(agent_url.to_owned(), why);
    let base: Uri = agent_url.trim_end_matches('/').parse().map_err(|error| wrong(format!("{error}")))?;
    if base.scheme_str() != Some("http") || base.authority().is_none() {
        return Err(wrong("expected http://HOST:PORT".into()));
    }
    format!("{}/api/v1/guard", base.to_string().trim_end_matches('/'))
        .parse()
        .map_err(|error| wrong(format!("{error}")))
}

/// What the service tells.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    pid: u32,
    service: &'a str,
    service_instance_id: &'a str,
    at_ns: u64,
    in_flight: u32,
    limit: Option<u32>,
    rejected_total: u64,
    complete: bool,
    open: Vec<Open<'a>>,
}

#[derive(Serialize)]
struct Open<'a> {
    trace_id: String,
    span_id: String,
    route: &'a str,
    since_ns: u64,
}

/// What the agent answers; fields it may add later are ignored.
#[derive(Deserialize)]
struct Answer {
    schema: u32,
    lease_ms: u64,
    limit: Option<u32>,
    #[serde(default)]
    retry_after_s: u32,
    #[serde(default)]
    reason: String,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("no answer within {} ms", TIMEOUT.as_millis())]
    Timeout,
    #[error("{0}")]
    Transport(String),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("answer: {0}")]
    Answer(String),
}

struct Reporter {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: Uri,
    config: GuardConfig,
    limiter: Limiter,
    /// The last state that was logged, so that only changes are.
    told: Option<String>,
}

impl Reporter {
    async fn run(mut self) {
        let mut pause = PERIOD;
        loop {
            match tokio::time::timeout(TIMEOUT, self.exchange()).await.unwrap_or(Err(ExchangeError::Timeout)) {
                Ok(lease) => {
                    self.tell(None);
                    self.limiter.renew(lease);
                    pause = PERIOD;
                }
                // The old lease stands until it runs out by itself.
                Err(error) => {
                    self.tell(Some(error.to_string()));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn exchange(&self) -> Result<Lease, ExchangeError> {
        let now_ns = clock::monotonic_ns();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(report(&self.config, now_ns, &self.limiter.snapshot(now_ns, REPORTED))))
            .map_err(|error| ExchangeError::Transport(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            ExchangeError::Transport(format!("{error}{cause}"))
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| ExchangeError::Answer(error.to_string()))?
            .to_bytes();
        if status != StatusCode::OK {
            return Err(ExchangeError::Status(status));
        }
        lease(clock::monotonic_ns(), &body)
    }

    fn tell(&mut self, trouble: Option<String>) {
        if self.told == trouble {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::warn!(agent = %self.endpoint, %trouble, "no lease from the agent: no limit"),
            None => tracing::info!(agent = %self.endpoint, "the agent answers again"),
        }
        self.told = trouble;
    }
}

/// An answer's lease, from the moment it arrived.
fn lease(now_ns: u64, body: &[u8]) -> Result<Lease, ExchangeError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| ExchangeError::Answer(error.to_string()))?;
    if answer.schema != 1 {
        return Err(ExchangeError::Answer(format!("schema {}, expected 1", answer.schema)));
    }
    let duration = Duration::from_millis(answer.lease_ms);
    Ok(Lease::granted(now_ns, duration, answer.limit, answer.retry_after_s, answer.reason))
}

/// Requests without a trace are counted but not listed: the agent could not join them to anything.
fn report(config: &GuardConfig, now_ns: u64, snapshot: &Snapshot) -> Bytes {
    let open: Vec<_> = snapshot
        .open
        .iter()
        .filter_map(|open| {
            let context = open.context?;
            let (trace_id, span_id) = (hex(&context.trace_id), hex(&context.span_id));
            Some(Open { trace_id, span_id, route: &open.route, since_ns: open.since_ns })
        })
        .collect();
    let report = Report {
        schema: 1,
        pid: std::process::id(),
        service: &config.service,
        service_instance_id: &config.instance_id,
        at_ns: now_ns,
        in_flight: snapshot.in_flight,
        limit: snapshot.limit,
        rejected_total: snapshot.rejected_total,
        complete: snapshot.complete,
        open,
    };
    // Numbers and strings only: this cannot fail, and an empty report would be refused with 400 and logged.
    serde_json::to_vec(&report).map(Bytes::from).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceContext;

    #[test]
    fn urls_are_checked_before_anything_starts() {
        assert_eq!(endpoint("http://127.0.0.1:9470").expect("fine").to_string(), "http://127.0.0.1:9470/api/v1/guard");
        assert_eq!(endpoint("http://agent/base/").expect("fine").to_string(), "http://agent/base/api/v1/guard");
        for wrong in ["https://127.0.0.1:1", "127.0.0.1:9470", "", "http://", "http://a b"] {
            assert!(endpoint(wrong).is_err(), "{wrong:?} passed");
        }
    }

    #[test]
    fn an_answer_becomes_a_lease_from_its_arrival() {
        let text = br#"{"schema":1,"lease_ms":2000,"limit":60,"retry_after_s":2,"reason":"fd_leak","later":1}"#;
        let lease = lease(7, text).expect("valid");
        assert_eq!(
            (lease.limit(7), lease.limit(7 + 1_999_999_999), lease.limit(7 + 2_000_000_000)),
            (Some(60), Some(60), None)
        );
    }

    #[test]
    fn wrong_answers_are_refused() {
        for wrong in
            ["", "{}", "[]", r#"{"schema":2,"lease_ms":1,"limit":1}"#, r#"{"schema":1,"lease_ms":-1,"limit":1}"#]
        {
            assert!(lease(0, wrong.as_bytes()).is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn the_largest_report_stays_under_the_agent_s_bound() {
        let limiter = Limiter::default();
        let context = TraceContext { trace_id: [0xff; 16], span_id: [0xff; 8], flags: 1 };
        let _held: Vec<_> = (0..2 * REPORTED)
            .map(|_| limiter.try_enter(u64::MAX / 2, Some(context), &"x".repeat(200)).expect("no limit"))
            .collect();
        let config = GuardConfig { agent_url: String::new(), service: "s".repeat(99), instance_id: "i".repeat(99) };
        let bytes = report(&config, u64::MAX, &limiter.snapshot(u64::MAX, REPORTED));
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("json");
        assert_eq!(value["open"].as_array().map(Vec::len), Some(REPORTED));
        assert_eq!((&value["complete"], &value["in_flight"]), (&false.into(), &(2 * REPORTED).into()));
        assert!(bytes.len() < 256 << 10, "{} bytes", bytes.len());
    }
}
