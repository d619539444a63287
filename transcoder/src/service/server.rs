//! Connections: accepting them, serving HTTP/1.1 and HTTP/2 on one port, and ending them.
//!
//! Invariant: running out of file descriptors neither ends the service nor makes it spin; it accepts again as soon as
//! there are some.

use super::limits::{
    CONNECTIONS, GRACE, HEAD, NO_FDS_PAUSE, SEND_BUFFER, STREAM_WINDOW, STREAMS_PER_CONNECTION, connection_window,
};
use super::{App, Peer};
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Between two complaints about accepting.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// For codec threads to notice that nobody listens any more.
const CODECS_END: Duration = Duration::from_millis(300);

/// Serves until `stop` is ready; then lets streams end for a moment and cuts the rest.
pub(crate) async fn serve(listener: TcpListener, router: Router, app: App, stop: impl Future<Output = ()>) {
    let http = Arc::new(protocol(app.streams.most()));
    let (stopping, stopped) = watch::channel(());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut complained: Option<Instant> = None;
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = connection(http.clone(), stream, peer, router.clone(), stopped.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
                    tracing::warn!(%error, "accept");
                    complained = Some(Instant::now());
                }
                // The connection stays in the kernel's queue; trying at once would only spin.
                tokio::select! {
                    () = &mut stop => break,
                    () = tokio::time::sleep(NO_FDS_PAUSE) => {}
                }
            }
        }
    }
    app.metrics.stopping();
    drop((listener, stopping));
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
    if tokio::time::timeout(CODECS_END, app.streams.all_given_back()).await.is_err() {
        tracing::warn!(streams = app.streams.taken(), "codec threads left behind");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

fn protocol(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(max_streams))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(HEAD)
        .keep_alive_timeout(HEAD);
    builder
}

async fn connection(
    http: Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<()>,
) {
    // Without it small pieces of video wait for acknowledgements; a socket that refuses still works.
    stream.set_nodelay(true).unwrap_or_default();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender is dropped when the service stops.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
