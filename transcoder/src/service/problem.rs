//! Errors as problem documents (RFC 9457).

use crate::faults::FaultError;
use crate::pipeline::{PipelineError, UploadError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal: a status, and why in one sentence.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// With this status, for this reason.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after_s: None }
    }

    /// Says when it is worth trying again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
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
            PipelineError::Upload(UploadError::Idle(_)) => StatusCode::REQUEST_TIMEOUT,
            PipelineError::Upload(UploadError::Broken(_)) => StatusCode::BAD_REQUEST,
            PipelineError::Cancelled | PipelineError::Spool(_) => StatusCode::SERVICE_UNAVAILABLE,
            PipelineError::Unread(_) | PipelineError::Codec { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
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
