//! `GET /api/v1/incidents` and `/api/v1/incidents/{id}`.
//!
//! What the engine still holds is told from there, everything older from the disk. A record that the disk does not
//! give within a second is left out; the status then says what is wrong with it.

use super::{
    Sources,
    list::{List, Page, Params},
};
use crate::{
    problem::Problem,
    render::{Picture, incident::Record},
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use std::collections::HashSet;
use uuid::Uuid;

/// Where an incident is told from.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The engine's list, by its position.
    Engine(usize),
    /// The disk.
    Disk(u128),
}

/// The incidents, newest first; `since` and `until` are about when they opened.
pub(super) async fn list(State(sources): State<Sources>, params: Params) -> Result<Json<List<Record>>, Problem> {
    let page = Page::read(params)?;
    let picture = sources.picture.borrow().clone();
    let (mut places, mut next) = page.part(all(&sources, &picture))?;
    let ids = places.iter().filter_map(|place| if let Place::Disk(id) = place { Some(*id) } else { None }).collect();
    let (stored, is_cut) = sources.store.read(ids).await;
    let held: Vec<_> = picture.incidents().collect();
    if is_cut && let Some((last, _)) = stored.last() {
        // The page ends with the last one that was read; the rest is asked for with the cursor.
        let end = places.iter().position(|place| matches!(place, Place::Disk(id) if id == last));
        places.truncate(end.map_or(places.len(), |end| end + 1));
        next = Some(Uuid::from_u128(*last).to_string());
    }
    let names = sources.sites.borrow().clone();
    let record = |place: Place| match place {
        Place::Engine(n) => {
            held.get(n).map(|(passport, incident)| Record::new(passport, incident, &names, &sources.clock))
        }
        Place::Disk(id) => stored.iter().find(|(stored, _)| *stored == id).map(|(_, record)| record.clone()),
    };
    Ok(Json(List::new(places.into_iter().filter_map(record).collect(), next)))
}

/// Every incident that can be told: its id, when it opened, and where it is; newest first.
fn all(sources: &Sources, picture: &Picture) -> Vec<(String, Timestamp, Place)> {
    let mut items: Vec<(String, Timestamp, Place)> = picture
        .incidents()
        .enumerate()
        .map(|(n, (passport, incident))| {
            (passport.id.to_string(), sources.clock.wall(incident.opened), Place::Engine(n))
        })
        .collect();
    let held: HashSet<u128> = picture.incidents().map(|(passport, _)| passport.id.as_u128()).collect();
    let older = sources.store.ids();
    let older = older.iter().rev().filter(|id| !held.contains(id));
    items.extend(older.map(|&id| (Uuid::from_u128(id).to_string(), opened(id), Place::Disk(id))));
    // Stable: what is in order stays so.
    items.sort_by_key(|(_, at, _)| std::cmp::Reverse(*at));
    items
}

/// When an incident opened, to the millisecond: the first 48 bits of its UUIDv7 (RFC 9562, section 5.7).
fn opened(id: u128) -> Timestamp {
    let millis = i64::try_from(id >> 80).unwrap_or(0);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// One incident by its id.
pub(super) async fn one(
    State(sources): State<Sources>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Record>, Problem> {
    let Path(id) = id.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let picture = sources.picture.borrow().clone();
    let wanted = id.parse::<Uuid>().ok();
    if let Some((passport, incident)) = picture.incidents().find(|(passport, _)| Some(passport.id) == wanted) {
        let names = sources.sites.borrow().clone();
        return Ok(Json(Record::new(passport, incident, &names, &sources.clock)));
    }
    let stored = wanted.map(|id| id.as_u128()).filter(|id| sources.store.ids().binary_search(id).is_ok());
    let found = sources.store.read(stored.into_iter().collect()).await.0.pop();
    let (_, record) =
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("incident {id:?}: unknown or forgotten")))?;
    Ok(Json(record))
}
