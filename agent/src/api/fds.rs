//! `GET /api/v1/fds`: what each target holds open, by place. `GET /api/v1/fds/{pid}`: one target's descriptors, each
//! with its path or peer.
//!
//! Invariant: the second looks at the process when it is asked, for one page of descriptors; it waits for the
//! kernel's thread no longer than a second.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::{
    problem::Problem,
    render::{fds::Record, open::Fd},
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use snowshed_ebpf::OpenFd;
use snowshed_engine::model::Pid;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Longest wait for the kernel's thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// Part of what a process holds.
#[derive(Debug)]
pub(crate) struct Part {
    /// Descriptors, by number.
    pub(crate) items: Vec<OpenFd>,
    /// The number after which to go on; `None` at the end.
    pub(crate) next: Option<i32>,
}

/// Asks for a process's descriptors above a number, so many at most. `None`: too many are asking.
pub(crate) type Opener = Arc<dyn Fn(Pid, Option<i32>, usize) -> Option<oneshot::Receiver<Option<Part>>> + Send + Sync>;

/// The targets by pid, each with its sites.
pub(super) async fn get(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let (picture, names) = (sources.picture.borrow().clone(), sources.sites.borrow().clone());
    let at = sources.clock.wall(picture.view.at);
    page.of(picture.view.targets.iter().map(|target| (target.pid.to_string(), at, target)), |target| {
        Record::new(target, &names)
    })
}

/// A target's descriptors.
pub(super) async fn one(
    State(sources): State<Sources>,
    pid: Result<Path<Pid>, PathRejection>,
    params: Params,
) -> Result<Json<List<Fd>>, Problem> {
    let Path(pid) = pid.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let (after, most) = Page::read(params)?.numbers()?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, format!("pid {pid}: not a target, or gone"));
    if !sources.picture.borrow().view.targets.iter().any(|target| target.pid == pid) {
        return Err(unknown());
    }
    let busy = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the kernel's thread is busy; ask again");
    let answer = (sources.open)(pid, after, most).ok_or_else(busy)?;
    let part = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| busy())?.map_err(|_| busy())?;
    let part = part.ok_or_else(unknown)?;
    let (names, now) = (sources.sites.borrow().clone(), sources.clock.now());
    let items = part.items.iter().map(|open| Fd::new(open, &names, now)).collect();
    Ok(Json(List::new(items, part.next.map(|number| number.to_string()))))
}
