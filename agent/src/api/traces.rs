//! `GET /api/v1/traces/{trace_id}`: what is known of one trace.
//!
//! The engine's task is asked and answers between two facts; a handler waits for it for a second at most, and half a
//! second more for names of code that were not looked up before.

use super::Sources;
use crate::{problem::Problem, render::trace};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use snowshed_engine::model::{Nanos, TraceId, TraceView, TracesKept};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long the engine's task may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How long names of code may take.
const NAMES: Duration = Duration::from_millis(500);

/// What the engine says of a trace; if that is nothing, of those it keeps.
pub(crate) type Answer = Result<Box<TraceView>, TracesKept>;
/// Asks for a trace; `None` if too many others ask.
pub(crate) type Asker = Arc<dyn Fn(TraceId) -> Option<oneshot::Receiver<Answer>> + Send + Sync>;

/// One trace.
pub(super) async fn one(
    State(sources): State<Sources>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<trace::Record>, Problem> {
    let Path(id) = id.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let wrong = |why: String| Problem::new(StatusCode::BAD_REQUEST, format!("trace_id: {why}"));
    let short: String = id.chars().take(64).collect();
    let wanted: TraceId = id.parse().map_err(|_| wrong(format!("{short:?} is not 32 hexadecimal digits")))?;
    if wanted.is_none() {
        return Err(wrong("all zeros are no trace".to_owned()));
    }
    let busy = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the engine did not answer; ask again");
    let answer = (sources.trace)(wanted).ok_or_else(busy)?;
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, answer).await else { return Err(busy()) };
    let view = answer.map_err(|kept| unknown(&kept, sources.clock.now()))?;
    let mut names = sources.sites.clone();
    // A timeout leaves the names unknown, which the record shows.
    drop(
        tokio::time::timeout(NAMES, names.wait_for(|known| trace::sites(&view).all(|site| known.contains_key(&site))))
            .await,
    );
    let known = sources.sites.borrow().clone();
    Ok(Json(trace::Record::new(&view, &known, &sources.clock)))
}

fn unknown(kept: &TracesKept, now: Nanos) -> Problem {
    let age = kept.oldest.map(|oldest| now.saturating_sub(oldest) / 1_000_000_000);
    let since = age.map_or(String::new(), |seconds| format!("; the oldest of them began {seconds} s ago"));
    let detail = format!(
        "unknown: nothing was seen of this trace, or it was forgotten. The newest {} traces with kernel events are kept \
         (engine.caps.traces), now {}{since}; {} were forgotten for newer ones so far",
        kept.most, kept.kept, kept.evicted
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}
