//! What is published while a connection's bytes are sent: hyper's real server, real clients, and a transport below
//! the wrapper that looks at the thread's context in the moment of each send.

mod http1;
mod http2;
mod rejected;
mod transport;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use snowshed_guard::connection::{self, Requests};
use snowshed_guard::context;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use transport::{Probe, Sends};

/// Bytes of a body tell their request: its number is 128 and above, as no byte of a head is.
const FIRST: u8 = 128;

/// A response's chunks: `count` of `length` bytes, each of which is the request's number.
struct Chunks {
    number: u8,
    left: usize,
    length: usize,
    /// Others have their turn before each chunk.
    yielded: bool,
    _sending: connection::Sending,
}

impl tokio_stream::Stream for Chunks {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.yielded = !self.yielded;
        if self.yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![self.number; self.length])))))
    }
}

/// The number in a path such as `/130/20/1000`: which request, how many chunks, of how many bytes.
fn numbers(path: &str) -> [usize; 3] {
    let mut numbers = path.split('/').skip(1).map(|number| number.parse().expect("a number"));
    std::array::from_fn(|_| numbers.next().expect("three of them"))
}

/// Serves one connection whose responses are what their paths say.
fn serve<T>(inner: T, configure: fn(&mut auto::Builder<TokioExecutor>)) -> (Sends, Requests, impl Future)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (probe, sends) = Probe::new(inner);
    let (io, requests) = connection::wrap(probe);
    let handle = requests.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let sending = requests.begin(request.version());
        let [number, left, length] = numbers(request.uri().path());
        let number = u8::try_from(number).expect("small");
        async move {
            // The span comes to be later than the call, and on another thread.
            tokio::task::yield_now().await;
            {
                let _span = context::enter([number; 16], [number; 8], 1);
                sending.bind();
            }
            let chunks = Chunks { number, left, length, yielded: false, _sending: sending };
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    configure(&mut builder);
    let served = async move { builder.serve_connection(TokioIo::new(io), service).await.map_err(drop) };
    (sends, handle, served)
}
