//! Publishes a request's trace around each write of its response to the client's connection.
//!
//! The code of a request runs in its span, but the bytes that it makes are sent by the connection's own task: of
//! hyper's and h2's writes nobody can tell, from the thread that makes them, for whom they are. Here the connection is
//! wrapped below them: over HTTP/1.1 responses leave one after the other; over HTTP/2 the frames say to which stream
//! they belong, and each write is cut so that it belongs to one.
//!
//! Any hyper service can use it, in three places:
//!
//! ```no_run
//! # use {http_body_util::Empty, hyper::{Request, Response, body::{Bytes, Incoming}, service::service_fn}};
//! # use {hyper_util::rt::TokioIo, std::convert::Infallible};
//! # async fn serve(stream: tokio::net::TcpStream) -> hyper::Result<()> {
//! let (io, requests) = snowshed_guard::connection::wrap(stream);
//! let service = service_fn(move |mut request: Request<Incoming>| {
//!     // First of all: requests are told apart by the order of these calls.
//!     let sending = requests.begin(request.version());
//!     request.extensions_mut().insert(sending);
//!     // Where the request's span exists: `sending.bind()` inside of it, and `sending` is kept until the body of the
//!     // response is dropped.
//!     async move { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
//! });
//! hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await
//! # }
//! ```
//!
//! Invariants: the bytes and their order are never changed; what is published around a write is the trace that all of
//! its bytes belong to, or nothing. Frames of a connection as a whole (SETTINGS, WINDOW_UPDATE, PING, GOAWAY) and
//! resets are written with nothing. What cannot be told for certain is not published: see [`http2`] for when that is.
//! Memory is bounded by [`http2::MOST`] entries per connection. Cost: for each write two short
//! locks of the connection's own, a look at the headers of its frames (payloads are skipped), and publishing the trace
//! where it is another; and one more system call where a write would have mixed two streams.

mod frame;
mod http1;
mod http2;
mod io;

pub use io::Io;

use crate::context::{self, TraceContext};
use http::Version;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Wraps a connection that hyper will serve.
#[must_use]
pub fn wrap<T>(inner: T) -> (Io<T>, Requests) {
    let requests = Requests(Arc::new(Mutex::new(Protocol::Unknown(0))));
    (Io::new(inner, requests.clone()), requests)
}

/// The requests of one connection.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Mutex<Protocol>>);

impl Requests {
    /// A request has reached the service. Call it first of all in the service's `call`, once for each request.
    #[must_use]
    pub fn begin(&self, version: Version) -> Sending {
        let slot = Arc::new(Slot::default());
        self.lock().begin(version, slot.clone());
        Sending(Arc::new(Last(slot)))
    }

    /// Whether traces are still told apart on this connection.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !matches!(*self.lock(), Protocol::Off)
    }

    fn lock(&self) -> MutexGuard<'_, Protocol> {
        // Nothing under this lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose response will be sent. Keep a clone until the response's body is dropped.
#[derive(Clone, Debug)]
pub struct Sending(Arc<Last>);

impl Sending {
    /// Sends the response with the trace that this thread publishes now. Only the first call counts.
    pub fn bind(&self) {
        if let Some(context) = context::current() {
            self.0.0.context.set(context).unwrap_or_default();
        }
    }
}

/// The last that holds on to a request.
#[derive(Debug)]
struct Last(Arc<Slot>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// A request, as its connection knows it.
#[derive(Debug, Default)]
struct Slot {
    context: OnceLock<TraceContext>,
    /// Its body is gone; what is left of it lies in the connection's buffers.
    over: AtomicBool,
}

impl Slot {
    fn context(&self) -> Option<TraceContext> {
        self.context.get().copied()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// What a connection speaks, and what is known of it.
#[derive(Debug)]
enum Protocol {
    /// So many bytes of the preface were read.
    Unknown(usize),
    Http1(http1::Connection),
    Http2(Box<http2::Connection>),
    /// Something did not fit: nothing is published any more.
    Off,
}

/// A write that belongs to one request or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    bytes: usize,
    context: Option<TraceContext>,
}

impl Protocol {
    fn begin(&mut self, version: Version, slot: Arc<Slot>) {
        let known = match self {
            Self::Http1(connection) if version < Version::HTTP_2 => {
                connection.begin(slot);
                true
            }
            Self::Http2(connection) if version == Version::HTTP_2 => connection.begin(slot),
            _ => false,
        };
        self.off_unless(known);
    }

    fn off_unless(&mut self, known: bool) {
        if !known {
            *self = Self::Off;
        }
    }

    /// These bytes were read.
    fn read(&mut self, mut bytes: &[u8]) {
        if let Self::Unknown(seen) = self {
            let more = (PREFACE.len() - *seen).min(bytes.len());
            if bytes[..more] != PREFACE[*seen..*seen + more] {
                *self = Self::Http1(http1::Connection::default());
                return;
            }
            *seen += more;
            bytes = &bytes[more..];
            if *seen == PREFACE.len() {
                *self = Self::Http2(Box::default());
            }
        }
        if let Self::Http2(connection) = self {
            let known = connection.read(bytes);
            self.off_unless(known);
        }
    }

    /// How much of these may be written at once, and with what.
    fn plan(&self, slices: &[&[u8]]) -> Run {
        let all = Run { bytes: slices.iter().map(|slice| slice.len()).sum(), context: None };
        match self {
            Self::Http1(connection) => Run { context: connection.context(), ..all },
            Self::Http2(connection) => connection.plan(slices),
            Self::Unknown(_) | Self::Off => all,
        }
    }

    /// So many of these were written, of `offered` that the service had.
    fn written(&mut self, slices: &[&[u8]], bytes: usize, offered: usize) {
        match self {
            Self::Http1(connection) => connection.written(bytes == offered),
            Self::Http2(connection) => {
                let known = connection.written(slices, bytes);
                self.off_unless(known);
            }
            Self::Unknown(_) | Self::Off => {}
        }
    }

    /// The socket takes nothing now.
    fn blocked(&mut self) {
        match self {
            Self::Http1(connection) => connection.written(false),
            Self::Http2(connection) => connection.blocked(),
            Self::Unknown(_) | Self::Off => {}
        }
    }

    /// The service has nothing more to write for now.
    fn flushed(&mut self) {
        if let Self::Http1(connection) = self {
            connection.flushed();
        }
    }
}
