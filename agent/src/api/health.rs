//! Is the agent there, and is it looking?

use super::Sources;
use crate::problem::Problem;
use axum::{extract::State, http::StatusCode};

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The kernel's thread and the engine's task run. A lower tier is ready too: `/api/v1/status` tells it.
pub(super) async fn ready(State(sources): State<Sources>) -> Result<&'static str, Problem> {
    let unavailable = |detail: &str| Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    if sources.probes.has_changed().is_err() {
        return unavailable("the kernel source has ended");
    }
    if sources.picture.has_changed().is_err() {
        return unavailable("the engine has ended");
    }
    if sources.probes.borrow().is_empty() {
        return unavailable("the probes are still being attached");
    }
    Ok("ready\n")
}
