//! The connection's bytes on their way, and what is published meanwhile.

use super::{Requests, Run};
use crate::context;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Slices that are looked at in one write; more are for the next.
const SLICES: usize = 16;

/// A connection whose writes are told apart.
#[derive(Debug)]
pub struct Io<T> {
    inner: T,
    requests: Requests,
}

impl<T> Io<T> {
    pub(super) fn new(inner: T, requests: Requests) -> Self {
        Self { inner, requests }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Io<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled
            && let Some(bytes) = buf.filled().get(before..)
            && !bytes.is_empty()
        {
            self.requests.lock().read(bytes);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> Io<T> {
    /// Writes what belongs together of these, with its trace.
    fn write(
        &mut self,
        slices: &[&[u8]],
        offered: usize,
        write: impl FnOnce(Pin<&mut T>, usize) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Run { bytes, context } = self.requests.lock().plan(slices);
        let polled = {
            let _entered = context::enter_or_clear(context);
            write(Pin::new(&mut self.inner), bytes)
        };
        match polled {
            // No transport takes more than it was given; one that says so is not believed.
            Poll::Ready(Ok(written)) => self.requests.lock().written(slices, written.min(bytes), offered),
            Poll::Pending => self.requests.lock().blocked(),
            Poll::Ready(Err(_)) => {}
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(&[buf], buf.len(), |inner, bytes| inner.poll_write(cx, &buf[..bytes]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|slice| slice.len()).sum();
        let mut slices = [&[][..]; SLICES];
        let count = bufs.len().min(SLICES);
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            *slice = buf;
        }
        let slices = &slices[..count];
        self.write(slices, offered, |inner, bytes| {
            if bytes == offered {
                return inner.poll_write_vectored(cx, bufs);
            }
            let mut cut = [IoSlice::new(&[]); SLICES];
            let (mut left, mut used) = (bytes, 0);
            for (into, slice) in cut.iter_mut().zip(slices) {
                let taken = left.min(slice.len());
                *into = IoSlice::new(&slice[..taken]);
                left -= taken;
                used += 1;
                if left == 0 {
                    break;
                }
            }
            inner.poll_write_vectored(cx, &cut[..used])
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.requests.lock().flushed();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
