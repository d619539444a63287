//! The refusal, and the answer that it becomes.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// The concurrency limit is reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at the concurrency limit of {limit}")]
pub struct Overloaded {
    limit: u32,
    retry_after_s: u32,
    reason: String,
}

impl Overloaded {
    pub(super) fn new(limit: u32, retry_after_s: u32, reason: &str) -> Self {
        Self { limit, retry_after_s, reason: reason.to_owned() }
    }

    /// The limit that was reached.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// When it is worth trying again: seconds.
    #[must_use]
    pub fn retry_after_s(&self) -> u32 {
        self.retry_after_s
    }

    /// `429` with `Retry-After` and a problem document (RFC 9457). The agent's reason stays inside: it names lines of
    /// code, and clients are strangers. The refusal is an extension of the response, for layers around that count.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let problem = json!({
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "detail": format!("{self}; try again in {} s", self.retry_after_s),
        });
        let mut response = Response::new(Bytes::from(problem.to_string()));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s));
        response.extensions_mut().insert(self.clone());
        response
    }

    /// Why the limit is there, in the agent's words (for logs, not for clients).
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
