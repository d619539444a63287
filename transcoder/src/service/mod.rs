//! The HTTP service: routes and what they share.

pub(crate) mod admission;
mod body;
pub(crate) mod budget;
pub(crate) mod deadlines;
mod faults_api;
pub(crate) mod hls;
pub(crate) mod limits;
pub(crate) mod memory;
mod metrics;
pub(crate) mod pool;
mod problem;
mod request;
pub(crate) mod server;
mod span;
pub(crate) mod stop;
mod stream;
mod transcode;
mod transfer;
mod upload;

pub(crate) use metrics::Metrics;

use admission::Streams;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use deadlines::Deadlines;
use pool::Pool;
use problem::Problem;
use snowshed_guard::LimitLayer;
use std::net::SocketAddr;
use stop::Stop;
use tower::ServiceBuilder;

/// The path of the one thing that this service does.
const PATH: &str = "/api/v1/transcode";
/// Its name in traces and reports.
const ROUTE: &str = "POST /api/v1/transcode";

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Places for streams.
    pub(crate) streams: Streams,
    /// Threads for them.
    pub(crate) pool: Pool,
    /// How long they may take.
    pub(crate) deadlines: Deadlines,
    /// Whether the end has come.
    pub(crate) stop: Stop,
    /// Live playlists and their viewers.
    pub(crate) sessions: hls::Sessions,
    /// The port that is listened on.
    pub(crate) port: u16,
}

/// The client's address, as the socket tells it.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Its connection is one of the few that are kept for health and metrics.
#[derive(Clone, Copy)]
struct Reserved;

/// All routes. The span is outermost, so that refusals of the guard are spans too.
pub(crate) fn router(app: App, guard: LimitLayer, allow_fault_control: bool) -> Router {
    let layers = ServiceBuilder::new()
        .layer(axum::middleware::from_fn_with_state(app.clone(), span::layer))
        .layer(guard.route(ROUTE));
    let mut router = Router::new()
        .route(PATH, post(transcode::transcode).layer(layers))
        .route("/metrics", get(metrics::page::page))
        .merge(hls::routes(&app))
        .route("/healthz", get(health))
        .route("/livez", get(|| async { "ok\n" }));
    if allow_fault_control {
        let faults = get(faults_api::get).put(faults_api::put).delete(faults_api::delete);
        router = router.route("/faults", get(faults_api::list));
        router = router.route("/faults/{name}", faults.layer(DefaultBodyLimit::max(faults_api::VALUE_BYTES)));
    }
    router
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here").into_response() })
        .with_state(app)
}

/// Whether new streams are taken.
async fn health(State(app): State<App>) -> Response {
    if app.stop.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ok\n".into_response()
    }
}
