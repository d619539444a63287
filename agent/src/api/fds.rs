//! `GET /api/v1/fds`: what each target holds open.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::{problem::Problem, render::fds::Record};
use axum::{Json, extract::State};

/// The targets by pid, each with its sites.
pub(super) async fn get(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let (picture, names) = (sources.picture.borrow().clone(), sources.sites.borrow().clone());
    let at = sources.clock.wall(picture.view.at);
    page.of(picture.view.targets.iter().map(|target| (target.pid.to_string(), at, target)), |target| {
        Record::new(target, &names)
    })
}
