//! What viewers ask for: `GET` and `HEAD` of a session's playlist, header, segments and parts, and `DELETE` of it.
//!
//! Invariants: a request that waits does so for at most three target durations, then it is 503. What is not there, or no
//! longer, is a 404 that no cache keeps. Players on pages of any origin may read all of it: the URL is the secret.

use super::super::problem::Problem;
use super::super::{App, span};
use super::media::Media;
use super::playlist::{MEDIA_TYPE, Named, PLAYLIST_TYPE};
use super::reload;
use super::session::{Reason, Session, Waited};
use super::window::Window;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use bytes::Bytes;

/// A session's own path.
const SESSION: &str = "/api/v1/sessions/{id}";
/// The path of what it offers.
const FILE: &str = "/api/v1/sessions/{id}/{file}";
/// Headers, segments and parts never change under their names.
const FOR_EVER: &str = "public, max-age=3600, immutable";
/// How long a browser may remember what pages of other origins may do.
const PREFLIGHT_SECONDS: &str = "600";

/// The URL's path of a session.
pub(super) fn url(id: &str) -> String {
    SESSION.replace("{id}", id)
}

/// The routes of sessions, each request in a span of its own.
pub(in super::super) fn routes(app: &App) -> Router<App> {
    let spanned = axum::middleware::from_fn_with_state(app.clone(), span::layer);
    Router::new()
        .route(SESSION, delete(end).route_layer(spanned.clone()).options(preflight))
        .route(FILE, get(file).route_layer(spanned).options(preflight))
        .layer(axum::middleware::map_response(for_any_page))
}

async fn for_any_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn preflight() -> impl IntoResponse {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers)
}

async fn end(State(app): State<App>, path: Result<Path<String>, PathRejection>) -> Result<StatusCode, Problem> {
    let Path(id) = path.map_err(|_| nothing())?;
    if app.sessions.close(&id, Reason::Deleted) { Ok(StatusCode::NO_CONTENT) } else { Err(nothing()) }
}

async fn file(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    method: Method,
) -> Result<Response, Problem> {
    let Path((id, name)) = path.map_err(|_| nothing())?;
    let named = Named::read(&name);
    let session = app.sessions.find(&id).ok_or_else(nothing)?;
    match named.ok_or_else(nothing)? {
        Named::Playlist => playlist(&session, query.as_deref()).await,
        Named::Init => {
            let init = session.look(|window| window.init());
            Ok(media(Body::from(init)))
        }
        Named::Segment(number) => {
            let (parts, left) = session.look(|window| window.segment(number)).ok_or_else(nothing)?;
            Ok(media(Body::new(Media { session, number, parts: 0..parts, left, metrics: app.metrics })))
        }
        Named::Part(number, part) => {
            let bytes = hinted(&session, number, part).await?;
            if method == Method::HEAD {
                return Ok(media(Body::from(bytes)));
            }
            let (parts, left) = (part..part + 1, bytes.len());
            Ok(media(Body::new(Media { session, number, parts, left, metrics: app.metrics })))
        }
    }
}

async fn playlist(session: &Session, query: Option<&str>) -> Result<Response, Problem> {
    let awaited = reload::awaited(query).map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
    let text = match awaited {
        None => session.wait(|window| window.is_playable().then(|| Ok(window.playlist()))).await,
        Some((number, part)) => {
            let reached = |window: &mut Window| match window.reaches(number, part) {
                Ok(true) => Some(Ok(window.playlist())),
                Ok(false) => None,
                Err(too_far) => Some(Err(too_far)),
            };
            session.wait(reached).await
        }
    };
    let text = text.map_err(waited)?.map_err(|_| {
        let detail = "_HLS_msn and _HLS_part: further ahead than the stream can be soon";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let headers = [(header::CONTENT_TYPE, PLAYLIST_TYPE), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, text).into_response())
}

/// A part; the one that the playlist hints at is waited for.
async fn hinted(session: &Session, number: u64, part: usize) -> Result<Bytes, Problem> {
    let look = |window: &mut Window| match window.part(number, part) {
        Some(bytes) => Some(Some(bytes)),
        None if window.is_hinted(number, part) => None,
        None => Some(None),
    };
    session.wait(look).await.map_err(waited)?.ok_or_else(nothing)
}

fn media(body: Body) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, FOR_EVER)], body).into_response()
}

fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such session, or it has this no longer")
}

fn waited(why: Waited) -> Problem {
    match why {
        Waited::Gone => nothing(),
        Waited::TooLong => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the stream does not go on; nothing new came").retry_after(1)
        }
        Waited::TooMany => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait for this session").retry_after(1)
        }
    }
}
