//! `GET /api/v1/incidents` and `/api/v1/incidents/{id}`.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::{problem::Problem, render::incident::Record};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

/// The incidents, newest first; `since` and `until` are about when they opened.
pub(super) async fn list(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let (picture, names) = (sources.picture.borrow().clone(), sources.sites.borrow().clone());
    let clock = &sources.clock;
    let items = picture
        .incidents()
        .map(|(passport, incident)| (passport.id.to_string(), clock.wall(incident.opened), (passport, incident)));
    page.of(items, |(passport, incident)| Record::new(passport, incident, &names, clock))
}

/// One incident by its id.
pub(super) async fn one(
    State(sources): State<Sources>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Record>, Problem> {
    let Path(id) = id.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let (picture, names) = (sources.picture.borrow().clone(), sources.sites.borrow().clone());
    let mut found = picture.incidents().filter(|(passport, _)| passport.id.to_string() == id.to_ascii_lowercase());
    let (passport, incident) = found
        .next()
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("incident {id:?}: unknown or forgotten")))?;
    Ok(Json(Record::new(passport, incident, &names, &sources.clock)))
}
