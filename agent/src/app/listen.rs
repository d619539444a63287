//! The listeners: bound before anything is watched, served until the end.
//!
//! Invariant: the API's own port is needed, the receivers' are not: a busy OTLP port is a warning, since
//! another collector may own it. Each listener takes a bounded number of connections.

use crate::{
    api,
    config::Config,
    failure::Failure,
    sources::otlp::{self, grpc},
};
use axum::{Router, serve::Listener};
use serde_json::json;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

/// Connections of one listener at the same time.
const CONNECTIONS: usize = 256;

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
                if let Err(error) = grpc::serve(listener, spans, end).await {
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
    let listener = Bounded { listener, seats: Arc::new(Semaphore::new(CONNECTIONS)) };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
        tracing::error!("a listener has ended: {error}");
    }
}

/// A listener with a bounded number of connections: further ones wait in the kernel's backlog.
struct Bounded {
    listener: TcpListener,
    seats: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Seated;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Seated, SocketAddr) {
        // The semaphore is never closed; without a seat the connection would merely not be counted.
        let seat = Arc::clone(&self.seats).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Seated { stream, _seat: seat }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its seat back when it ends.
struct Seated {
    stream: TcpStream,
    _seat: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Seated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
