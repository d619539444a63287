//! `GET /api/v1/breaker`: breakers that have acted, or would have.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::{clock::Clock, problem::Problem};
use axum::{Json, extract::State};
use serde::Serialize;
use snowshed_engine::model::{BreakerView, Pid};

/// A breaker on the wire.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pid: Pid,
    state: String,
    limit: Option<u32>,
    reason: String,
    dry_run: bool,
    expires_at: Option<String>,
}

impl Record {
    /// The public record.
    pub(super) fn new(breaker: &BreakerView, clock: &Clock) -> Self {
        Self {
            pid: breaker.pid,
            state: breaker.state.clone(),
            limit: breaker.limit,
            reason: breaker.reason.clone(),
            dry_run: breaker.dry_run,
            expires_at: breaker.expires.map(|at| clock.rfc3339(at)),
        }
    }
}

/// The breakers by pid.
pub(super) async fn get(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let picture = sources.picture.borrow().clone();
    let at = sources.clock.wall(picture.view.at);
    let items = picture.view.breakers.iter().map(|breaker| (breaker.pid.to_string(), at, breaker));
    page.of(items, |breaker| Record::new(breaker, &sources.clock))
}
