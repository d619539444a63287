//! `GET /api/v1/slo`: what each objective is doing.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::problem::Problem;
use axum::{Json, extract::State};
use serde::Serialize;
use snowshed_engine::model::{SloState, SloView};

/// An objective on the wire.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    name: String,
    service: String,
    target: f64,
    state: SloState,
    ratio: Option<f64>,
    window_requests: u64,
    violations: u32,
    budget_used: Option<f64>,
}

impl From<&SloView> for Record {
    fn from(slo: &SloView) -> Self {
        Self {
            name: slo.name.clone(),
            service: slo.service.clone(),
            target: slo.target,
            state: slo.state,
            ratio: slo.ratio,
            window_requests: slo.window_requests,
            violations: slo.violations,
            budget_used: slo.budget_used,
        }
    }
}

/// The objectives, in the order of the files.
pub(super) async fn get(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let picture = sources.picture.borrow().clone();
    let at = sources.clock.wall(picture.view.at);
    page.of(picture.view.slos.iter().map(|slo| (slo.name.clone(), at, slo)), Record::from)
}
