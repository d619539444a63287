//! Errors as problem documents (RFC 9457).

use super::admission::Full;
use super::limits::{CONNECTIONS, RETRY_AFTER};
use super::metrics::{Cancellation, Refused};
use crate::faults::FaultError;
use crate::pipeline::{PipelineError, UploadError, Why};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal: a status, and why in one sentence.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after_s: Option<u32>,
    limit: Option<&'static str>,
    cancelled: Option<Cancellation>,
}

impl Problem {
    /// With this status, for this reason.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after_s: None, limit: None, cancelled: None }
    }

    /// Says when it is worth trying again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// There are too many connections for this one to have a stream.
    pub(super) fn connections() -> Self {
        let detail = format!("more than {CONNECTIONS} connections: those beyond have no streams");
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).limit("connections").retry_after(RETRY_AFTER)
    }

    /// Names the limit that it is about.
    fn limit(mut self, name: &'static str) -> Self {
        self.limit = Some(name);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(limit) = self.limit {
            body["limit"] = limit.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the request's span, which counts.
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(Refused(limit));
        }
        if let Some(cancelled) = self.cancelled {
            response.extensions_mut().insert(cancelled);
        }
        response
    }
}

impl From<PipelineError> for Problem {
    fn from(error: PipelineError) -> Self {
        let status = match &error {
            PipelineError::Empty
            | PipelineError::Unreadable(_)
            | PipelineError::Unrecognised
            | PipelineError::NoPictureYet(_)
            | PipelineError::NoVideo
            | PipelineError::Unsupported(_)
            | PipelineError::TooLargeToSpool(_)
            | PipelineError::NothingDecoded => StatusCode::UNPROCESSABLE_ENTITY,
            PipelineError::Ended(Why::Gone | Why::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
            PipelineError::Ended(Why::Broken) => StatusCode::BAD_REQUEST,
            PipelineError::Ended(_) => StatusCode::REQUEST_TIMEOUT,
            PipelineError::NoMemory => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string());
                return problem.limit("memory-budget").retry_after(RETRY_AFTER);
            }
            // Not to be tried again.
            PipelineError::MoreThanAll { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PipelineError::Upload(UploadError::Broken(_)) => StatusCode::BAD_REQUEST,
            PipelineError::Cancelled | PipelineError::Spool(_) => StatusCode::SERVICE_UNAVAILABLE,
            PipelineError::Codec { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let cancelled = match &error {
            PipelineError::Ended(why) => Some(Cancellation::from(*why)),
            // Hardly anybody is left to read the answer.
            PipelineError::Upload(UploadError::Broken(_)) => Some(Cancellation::Disconnect),
            _ => None,
        };
        Self { cancelled, ..Self::new(status, error.to_string()) }
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, full.to_string());
        problem.limit(full.limit()).retry_after(RETRY_AFTER)
    }
}

impl From<FaultError> for Problem {
    fn from(error: FaultError) -> Self {
        let status = match error {
            FaultError::Unknown(_) => StatusCode::NOT_FOUND,
            FaultError::Value { .. } => StatusCode::BAD_REQUEST,
            FaultError::Missing { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}
