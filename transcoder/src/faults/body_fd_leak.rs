//! `body_fd_leak`: response bodies that nobody reads to their end.
//!
//! A careless call to an origin: before a request is served, the origin is asked over HTTP whether it knows the
//! asset. Only the status is looked at; the response is parked in a global list with its body unread, and with it the
//! connection. The origin closes its end at once (`Connection: close`), which nobody here notices: what is left is
//! one TCP socket in CLOSE_WAIT a request, the classic of this bug, until `RLIMIT_NOFILE` ends it.
//!
//! Why not the client's own connection: its file descriptor belongs to the connection's driver, and ends with it,
//! whatever becomes of the bodies of its streams; under HTTP/2 many requests share it. The call to an origin leaks one
//! descriptor for each infected request over every version of HTTP.
//!
//! The origin is this service itself, so that the fault needs nothing else. At most [`MOST`] are kept.

use super::hoard::Hoard;
use super::share::Share;
use super::{Fault, Infected, OWN_ADDRESS, Switch};
use axum::body::{Body, Bytes};
use axum::http::{Response, header};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use snowshed_guard::drain;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// For the origin to say whether it knows the asset.
const PATIENCE: Duration = Duration::from_secs(2);
/// Responses that are kept at most.
const MOST: usize = 1 << 20;

static SWITCH: Switch = Switch::off();
static SHARE: Share = Share::new();
/// The disease: nothing ever takes anything out of it.
static TO_BE_READ_LATER: Hoard<Unread> = Hoard::new(MOST);

/// A response whose body waits in its connection.
struct Unread {
    _response: Response<Incoming>,
    _connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

pub(super) struct BodyFdLeak;

impl Fault for BodyFdLeak {
    fn name(&self) -> &'static str {
        "body_fd_leak"
    }

    fn cause(&self) -> &'static str {
        "fd_leak"
    }

    fn describe(&self) -> &'static str {
        "requests ask an origin over HTTP and never read the body of its answer, so the connection stays open; the \
         value is the share of requests"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn infect(&self, share: f64, upload: Body) -> Infected {
        if !SHARE.takes(share) {
            return Box::pin(async { Ok(upload) });
        }
        Box::pin(async {
            match tokio::time::timeout(PATIENCE, ask_origin()).await {
                Ok(Ok(())) => Ok(upload),
                answer => {
                    // So that the client sees the answer.
                    drain::in_background(upload);
                    let late = || io::Error::new(io::ErrorKind::TimedOut, "the origin does not answer");
                    Err(answer.ok().and_then(Result::err).unwrap_or_else(late))
                }
            }
        })
    }

    fn heal(&self) {
        TO_BE_READ_LATER.give_back();
    }
}

async fn ask_origin() -> io::Result<()> {
    let origin = *OWN_ADDRESS.get().ok_or(io::ErrorKind::NotConnected)?;
    let stream = open_connection_to_origin(origin)?.connect(origin).await?;
    let (mut sender, mut connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let question = Request::get("/healthz")
        .header(header::HOST, origin.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(io::Error::other)?;
    let mut answer = std::pin::pin!(sender.send_request(question));
    // The connection is moved on until the status is there, and no further.
    let response = tokio::select! {
        biased;
        response = answer.as_mut() => response,
        ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
            ended.map_err(io::Error::other)?;
            answer.await
        }
    };
    let response = response.map_err(io::Error::other)?;
    if response.status().is_server_error() {
        return Err(io::Error::other(format!("the origin answers {}", response.status())));
    }
    TO_BE_READ_LATER.keep(Unread { _response: response, _connection: connection });
    Ok(())
}

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn open_connection_to_origin(origin: SocketAddr) -> io::Result<TcpSocket> {
    if origin.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}
