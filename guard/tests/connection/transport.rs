//! A transport that notes what is published while it sends.

use snowshed_guard::context;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One send: the first byte of the trace that was published, and what was sent.
pub(crate) type Send = (Option<u8>, Vec<u8>);

/// All sends of a connection.
#[derive(Clone, Default)]
pub(crate) struct Sends(Arc<Mutex<Vec<Send>>>);

impl Sends {
    pub(crate) fn all(&self) -> Vec<Send> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// Everything that was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.all().into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    /// Of the body bytes over HTTP/1.1 (128 and above): how many were sent with their trace, and how many with none.
    /// With another trace than theirs there is none.
    pub(crate) fn http1_bodies(&self) -> (usize, usize) {
        self.bodies(|bytes| bytes.iter().map(|byte| *byte >= super::FIRST).collect())
    }

    /// The same over HTTP/2: what is in DATA frames.
    pub(crate) fn http2_bodies(&self) -> (usize, usize) {
        self.bodies(in_data_frames)
    }

    fn bodies(&self, is_body: impl Fn(&[u8]) -> Vec<bool>) -> (usize, usize) {
        let (mut own, mut none) = (0, 0);
        let mut of_body = is_body(&self.bytes()).into_iter();
        for (published, bytes) in self.all() {
            for byte in bytes.into_iter().filter(|_| of_body.next() == Some(true)) {
                match published {
                    Some(trace) => {
                        assert_eq!(trace, byte, "sent with the trace of another request");
                        own += 1;
                    }
                    None => none += 1,
                }
            }
        }
        (own, none)
    }
}

/// Of each byte, whether it is in a DATA frame's payload.
pub(crate) fn in_data_frames(mut bytes: &[u8]) -> Vec<bool> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = &rest[..length.min(rest.len())];
        found.extend([false; 9]);
        found.extend(payload.iter().map(|_| head[3] == 0));
        bytes = &rest[payload.len()..];
    }
    found.extend(bytes.iter().map(|_| false));
    found
}

pub(crate) struct Probe<T> {
    inner: T,
    sends: Sends,
}

impl<T> Probe<T> {
    pub(crate) fn new(inner: T) -> (Self, Sends) {
        let sends = Sends::default();
        (Self { inner, sends: sends.clone() }, sends)
    }

    fn note(&self, polled: &Poll<io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        if let Poll::Ready(Ok(count)) = polled {
            let mut bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            bytes.truncate(*count);
            let published = context::current().map(|context| context.trace_id[0]);
            self.sends.0.lock().expect("not poisoned").push((published, bytes));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Probe<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Probe<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(&polled, &[IoSlice::new(buf)]);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(&polled, bufs);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
