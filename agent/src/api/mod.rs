//! What people and programs read over HTTP.
//!
//! Invariant: read-only. Nothing here changes what the agent does; the handlers read what the engine's
//! task and the kernel's thread last published and wait for neither; only `fds/{pid}` asks the kernel's thread,
//! `traces/{trace_id}` the engine's task, and old incidents are asked of the store's: each for a second at most. On the main listener a request
//! is refused unless it names this machine's loopback or the bound address, so that a page in a browser
//! cannot read it through a name of its own (DNS rebinding). Cost: rendering, when somebody asks.

mod breaker;
pub(crate) mod fds;
mod health;
mod incidents;
mod list;
mod metrics;
mod openapi;
mod origin;
pub(crate) mod sample;
mod slo;
mod status;
pub(crate) mod stream;
pub(crate) mod traces;
mod web;

use crate::{
    clock::Clock,
    metrics::Tally,
    problem::Problem,
    render::{Picture, SharedSites, scrape},
    store::Store,
};
use axum::{
    Router,
    http::{HeaderValue, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use snowshed_ebpf::{ContextStatus, Overhead, ProbeStatus};
use snowshed_engine::model::Nanos;
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::watch;

/// What the handlers read.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The engine's last view.
    pub(crate) picture: watch::Receiver<Arc<Picture>>,
    /// Names of code.
    pub(crate) sites: SharedSites,
    /// State of the probes.
    pub(crate) probes: watch::Receiver<Arc<Vec<ProbeStatus>>>,
    /// What observing costs, and what it may cost.
    pub(crate) overhead: watch::Receiver<Option<Overhead>>,
    /// How the traces of threads are known.
    pub(crate) contexts: watch::Receiver<Arc<ContextStatus>>,
    /// Looks at a target's descriptors.
    pub(crate) open: fds::Opener,
    /// Asks the engine for a trace.
    pub(crate) trace: traces::Asker,
    /// Incidents on disk.
    pub(crate) store: Store,
    /// The event stream.
    pub(crate) hub: Arc<stream::Hub>,
    /// The time.
    pub(crate) clock: Clock,
    /// Counters.
    pub(crate) tally: Tally,
    /// How the pages that targets publish are getting on.
    pub(crate) scrapes: watch::Receiver<Arc<Vec<scrape::Record>>>,
    /// When the agent started.
    pub(crate) started: Nanos,
    /// Names of the actuators that may act.
    pub(crate) enforce: Arc<Vec<String>>,
}

/// Everything, for the main listener. `extra` is answered there too (the guard's reports).
pub(crate) fn router(sources: Sources, bound: SocketAddr, extra: Router) -> Router {
    let api = Router::new()
        .route("/api/v1/status", get(status::get))
        .route("/api/v1/fds", get(fds::get))
        .route("/api/v1/fds/{pid}", get(fds::one))
        .route("/api/v1/incidents", get(incidents::list))
        .route("/api/v1/incidents/{id}", get(incidents::one))
        .route("/api/v1/traces/{trace_id}", get(traces::one))
        .route("/api/v1/slo", get(slo::get))
        .route("/api/v1/breaker", get(breaker::get))
        .route("/api/v1/stream", get(stream::get))
        .route("/api/v1/openapi.json", get(openapi::get));
    health_routes(api)
        .merge(web::router())
        .fallback(missing)
        .method_not_allowed_fallback(not_allowed)
        .with_state(sources)
        .merge(extra)
        .layer(middleware::map_response(headers))
        .layer(middleware::from_fn_with_state(bound, origin::check))
}

/// Health and metrics alone, for a listener that others may reach.
pub(crate) fn health_router(sources: Sources) -> Router {
    health_routes(Router::new()).fallback(missing).method_not_allowed_fallback(not_allowed).with_state(sources)
}

fn health_routes(router: Router<Sources>) -> Router<Sources> {
    router
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::get))
}

async fn missing(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{}: there is nothing here", uri.path()))
}

async fn not_allowed(uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{}: not with this method", uri.path()))
}

/// Nothing may be framed, guessed at or loaded from elsewhere; what is live is not cached.
async fn headers(response: Response) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    let policy = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
