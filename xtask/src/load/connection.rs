//! An HTTP/2 connection that can do what real clients do and polite libraries do not: stop sending and stay, or go
//! away in the middle of an upload that flow control holds up.
//!
//! Invariant: a request whose stream and answer are dropped is reset at once, however full the windows are.
//! Cost: one task a connection.

use anyhow::anyhow;
use bytes::Bytes;
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::Request;
use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, task::AbortHandle};

/// A client that waits longer for a connection has none.
const CONNECT: Duration = Duration::from_secs(3);
/// What one stream may receive before it is read: a slow reader holds up the service, not itself.
const STREAM_WINDOW: u32 = 64 << 10;
/// Room for every stream of the connection: a slow reader must not hold up the others.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// A connection, shared by the requests of one client.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    closed: Arc<AtomicBool>,
    driver: AbortHandle,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens, or whoever does speaks no HTTP/2.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            anyhow::Ok(builder.handshake::<_, Bytes>(stream).await?)
        };
        let (sender, connection) =
            tokio::time::timeout(CONNECT, connect).await.map_err(|_| anyhow!("connect: timeout"))??;
        let closed = Arc::<AtomicBool>::default();
        let own = Arc::clone(&closed);
        let driver = tokio::spawn(async move {
            // Each request on it learns of its own failure.
            connection.await.ok();
            own.store(true, Ordering::Relaxed);
        });
        Ok(Self { sender, closed, driver: driver.abort_handle() })
    }

    /// Whether no more requests can be sent on it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.driver.is_finished()
    }

    /// Closes the socket under all of its requests.
    pub(crate) fn cut(&self) {
        self.driver.abort();
    }

    /// Sends a request's head, as soon as the peer allows another stream.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) async fn begin(&self, head: Request<()>) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender.clone().ready().await?.send_request(head, false)
    }
}

/// The head of a transcode request.
///
/// # Errors
/// A header's value is none.
pub(crate) fn head(address: SocketAddr, headers: &[(&str, &str)]) -> http::Result<Request<()>> {
    let request = Request::post(format!("http://{address}/api/v1/transcode"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(())
}

/// Sends these bytes as fast as the peer takes them; `end` ends the upload with them.
///
/// # Errors
/// The peer wants no more of it. Why, its answer tells.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?.min(bytes.len()),
            None => return Err(h2::Reason::STREAM_CLOSED.into()),
        };
        let piece = bytes.split_to(room);
        stream.send_data(piece, end && bytes.is_empty())?;
    }
    Ok(())
}
