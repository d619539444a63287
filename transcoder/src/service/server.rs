//! Connections: accepting them, serving HTTP/1.1 and HTTP/2 on one port, and ending them.
//!
//! Invariants: running out of file descriptors neither ends the service nor makes it spin; it accepts again as soon as
//! there are some. However many connections are busy, a few more are accepted, so that health and metrics are reached.
//! The end comes in stages ([`Stage`]): while streams drain, open connections are still answered.

use super::limits::{
    BACKLOG, CONNECTIONS, FLUSH, HEAD, HTTP1_BUFFER, NO_FDS_PAUSE, PREFACE_LOOK, RESERVED_CONNECTIONS, RESERVED_HEAD,
    SEND_BUFFER, STREAM_WINDOW, STREAMS_PER_CONNECTION, UNSENT, connection_window,
};
use super::stop::{Stage, Stop};
use super::transfer::{StreamTasks, Transfer};
use super::{App, Peer, Reserved};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Version, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Between two complaints about accepting.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// For codec threads to notice that the service ends.
const CODECS_END: Duration = Duration::from_millis(300);

/// Listens there, with a queue for many that come at once: a client whose first packet finds no room in it tries again
/// only after a second.
///
/// # Errors
/// The address is taken, or not ours.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until it is asked to stop; then lets streams end by themselves for `drain`, or until it is asked again, and
/// cuts the rest.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    app: App,
    drain: Duration,
    mut asked: impl AsyncFnMut(),
) {
    let mut connections = JoinSet::new();
    accept_until(&listener, router, &app, &mut connections, &mut asked).await;
    drop(listener);
    app.stop.reach(Stage::Draining);
    tokio::select! {
        () = app.streams.all_given_back() => {}
        () = tokio::time::sleep(drain) => tracing::warn!(streams = app.streams.taken(), "streams cut: out of time"),
        () = asked() => tracing::warn!(streams = app.streams.taken(), "streams cut: asked again"),
    }
    app.stop.reach(Stage::Ending);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FLUSH, ended).await.is_err() {
        connections.shutdown().await;
    }
    if tokio::time::timeout(CODECS_END, app.streams.all_given_back()).await.is_err() {
        tracing::warn!(streams = app.streams.taken(), "codec threads left behind");
    }
}

/// Accepts until it is asked to stop.
async fn accept_until(
    listener: &TcpListener,
    router: Router,
    app: &App,
    connections: &mut JoinSet<()>,
    asked: &mut impl AsyncFnMut(),
) {
    let server = Server { usual: protocol(app.streams.most()), reserved: reserved(), router, stop: app.stop.clone() };
    let server = Arc::new(server);
    let places = Places::new();
    let mut complained: Option<Instant> = None;
    let mut asked = std::pin::pin!(asked());
    loop {
        let accepted = tokio::select! {
            () = &mut asked => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = places.accept(listener) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                connections.spawn(server.clone().connection(stream, peer, place));
            }
            Err(error) => {
                if complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
                    tracing::warn!(%error, "accept");
                    complained = Some(Instant::now());
                }
                // The connection stays in the kernel's queue; trying at once would only spin.
                tokio::select! {
                    () = &mut asked => return,
                    () = tokio::time::sleep(NO_FDS_PAUSE) => {}
                }
            }
        }
    }
}

/// Places for connections.
struct Places {
    usual: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

/// A connection's place, and whether it is one of the reserved.
struct Place {
    reserved: bool,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new() -> Self {
        Self { usual: Arc::new(Semaphore::new(CONNECTIONS)), reserved: Arc::new(Semaphore::new(RESERVED_CONNECTIONS)) }
    }

    /// A reserved place is taken only while there is no other.
    fn take(&self) -> Option<Place> {
        let place = |reserved| move |permit| Place { reserved, _permit: permit };
        let usual = self.usual.clone().try_acquire_owned().map(place(false));
        usual.or_else(|_| self.reserved.clone().try_acquire_owned().map(place(true))).ok()
    }

    /// Waits until there is a place. Only the loop that accepts takes any, so it is there when a client comes.
    async fn free(&self) {
        tokio::select! {
            permit = self.usual.acquire() => drop(permit),
            permit = self.reserved.acquire() => drop(permit),
        }
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr, Place)> {
        self.free().await;
        let (stream, peer) = listener.accept().await?;
        let place = self.take().ok_or_else(|| io::Error::other("no place for a connection"))?;
        Ok((stream, peer, place))
    }
}

fn protocol(max_streams: u32) -> auto::Builder<StreamTasks> {
    let mut builder = auto::Builder::new(StreamTasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HTTP1_BUFFER);
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

/// For reserved connections: one short request each.
fn reserved() -> auto::Builder<StreamTasks> {
    let mut builder = auto::Builder::new(StreamTasks).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(RESERVED_HEAD).keep_alive(false);
    builder
}

/// Waits until a client has said enough to tell which protocol it speaks.
async fn says_something(stream: &TcpStream) -> io::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut said = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut said).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length == PREFACE.len() || !PREFACE.starts_with(&said[..length]) {
            return Ok(());
        }
        // What was looked at is still there, so the socket does not tell when more comes.
        tokio::time::sleep(PREFACE_LOOK).await;
    }
}

/// What connections share.
struct Server {
    usual: auto::Builder<StreamTasks>,
    reserved: auto::Builder<StreamTasks>,
    router: Router,
    stop: Stop,
}

impl Server {
    /// A connection's whole life.
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        // Without it small pieces of video wait for acknowledgements; a socket that refuses still works.
        stream.set_nodelay(true).unwrap_or_default();
        keep_little_unsent(&stream);
        let transfer = Transfer::of_connection(stream.as_raw_fd());
        // The protocol's own clock starts once it is known which protocol.
        let patience = if place.reserved { RESERVED_HEAD } else { HEAD };
        tokio::select! {
            said = says_something(&stream) => if said.is_err() { return },
            () = tokio::time::sleep(patience) => return,
            () = self.stop.reached(Stage::Ending) => return,
        }
        let answered = self.answer(stream, peer, transfer.clone(), place.reserved);
        transfer.run(answered).await;
    }

    async fn answer(&self, stream: TcpStream, peer: SocketAddr, transfer: Transfer, is_reserved: bool) {
        // Below hyper, so that each send carries its request's trace.
        let (io, requests) = snowshed_guard::connection::wrap(stream);
        let (router, stop, speaks) = (self.router.clone(), self.stop.clone(), transfer.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let version = request.version();
            let sending = requests.begin(version);
            request.extensions_mut().insert(sending);
            if version == Version::HTTP_2 {
                speaks.speaks_http2();
            }
            request.extensions_mut().insert(Peer(peer));
            if is_reserved {
                request.extensions_mut().insert(Reserved);
            }
            let (answer, stop) = (router.clone().oneshot(request.map(Body::new)), stop.clone());
            async move {
                let mut answer = answer.await?;
                if stop.is_draining() && version < Version::HTTP_2 {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let builder = if is_reserved { &self.reserved } else { &self.usual };
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        // Dropped before the connection.
        let socket = Closing(transfer);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // HTTP/2 can say that nothing new is taken while streams go on; over HTTP/1.1 each answer says it.
            () = self.ending(&socket.0) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    /// Waits until this connection is to take no more requests.
    async fn ending(&self, transfer: &Transfer) {
        self.stop.reached(Stage::Draining).await;
        if !transfer.is_http2() {
            self.stop.reached(Stage::Ending).await;
        }
    }
}

/// Bounds what the kernel takes and cannot send yet (by default megabytes for each connection), so that a reader who
/// stalls costs little. What is on its way is bounded by the connection's own window, so nothing is slower for it.
fn keep_little_unsent(stream: &TcpStream) {
    let bytes = UNSENT;
    // SAFETY: an integer of the length that is given; a kernel that refuses leaves the socket as it was.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// The socket is open as long as this is there.
struct Closing(Transfer);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closing();
    }
}
