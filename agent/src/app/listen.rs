//! The listeners: bound before anything is watched, served until the end.
//!
//! Invariant: the API's own port is needed, the receivers' are not: a busy OTLP port is a warning, since
//! another collector may own it. Each listener takes a bounded number of connections.

use super::bounded::Bounded;
use crate::{
    api,
    config::Config,
    failure::Failure,
    sources::otlp::{self, grpc},
};
use axum::Router;
use serde_json::json;
use std::{future::Future, io, net::SocketAddr};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// What is bound.
pub(super) struct Listeners {
    main: (TcpListener, SocketAddr),
    health: Option<(TcpListener, SocketAddr)>,
    otlp_grpc: Option<(TcpListener, SocketAddr)>,
    otlp_http: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Binds everything.
    ///
    /// # Errors
    /// The API's or the health address cannot be had.
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        let needed = |name, address, error| Failure::new(format!("{name} {address}: {error}"));
        let main = bind(config.listen).await.map_err(|error| needed("--listen", config.listen, error))?;
        let health = match config.health_listen {
            Some(address) => Some(bind(address).await.map_err(|error| needed("--health-listen", address, error))?),
            None => None,
        };
        Ok(Self {
            main,
            health,
            otlp_grpc: optional("--otlp-grpc", config.otlp_grpc).await,
            otlp_http: optional("--otlp-http", config.otlp_http).await,
        })
    }

    /// Where people find the agent.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.main.1)
    }

    /// One line of JSON for whoever started the agent: what was bound.
    pub(super) fn ready_line(&self) -> String {
        let address =
            |listener: &Option<(TcpListener, SocketAddr)>| listener.as_ref().map(|(_, address)| address.to_string());
        json!({
            "listen": self.main.1.to_string(),
            "health_listen": address(&self.health),
            "otlp_grpc": address(&self.otlp_grpc),
            "otlp_http": address(&self.otlp_http),
        })
        .to_string()
    }

    /// Serves everything until `ended` turns true.
    pub(super) fn serve(
        self,
        sources: &api::Sources,
        reports: Router,
        spans: &otlp::Desk,
        ended: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let (listener, address) = self.main;
        tasks.spawn(http(listener, api::router(sources.clone(), address, reports), end(ended)));
        if let Some((listener, _)) = self.health {
            tasks.spawn(http(listener, api::health_router(sources.clone()), end(ended)));
        }
        if let Some((listener, _)) = self.otlp_http {
            tasks.spawn(http(listener, otlp::http::router(spans.clone()), end(ended)));
        }
        if let Some((listener, _)) = self.otlp_grpc {
            let (spans, end) = (spans.clone(), end(ended));
            tasks.spawn(async move {
                if let Err(error) = grpc::serve(Bounded::new(listener).connections(), spans, end).await {
                    tracing::error!("OTLP over gRPC has ended: {error}");
                }
            });
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn optional(name: &str, address: SocketAddr) -> Option<(TcpListener, SocketAddr)> {
    bind(address).await.inspect_err(|error| tracing::warn!("{name} {address}: {error}; going on without it")).ok()
}

fn end(ended: &watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
    let mut ended = ended.clone();
    // An error says that the agent's main task is gone, which is an end as well.
    async move { drop(ended.wait_for(|end| *end).await) }
}

async fn http(listener: TcpListener, router: Router, end: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = axum::serve(Bounded::new(listener), router).with_graceful_shutdown(end).await {
        tracing::error!("a listener has ended: {error}");
    }
}
