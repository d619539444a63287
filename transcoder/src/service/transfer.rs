//! The transfer that a request belongs to, so that it can be broken off although its client reads nothing.
//!
//! A response whose client does not read is not asked for more, so it cannot say that it is over. What can be ended is
//! the task that sends it: an HTTP/2 stream's own (the stream is reset), or an HTTP/1.1 connection's (it is closed).
//! Both run in the scope of a [`Transfer`], which the code of the request finds by [`current`].

use std::future::Future;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

tokio::task_local! {
    static CURRENT: Transfer;
}

/// A task that sends an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfer(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: Notify,
    /// The socket, where this transfer has it for itself and as long as it is open.
    socket: Mutex<Option<RawFd>>,
    http2: AtomicBool,
}

/// The transfer of the request that is worked on; `None` outside of requests.
pub(super) fn current() -> Option<Transfer> {
    CURRENT.try_with(Transfer::clone).ok()
}

impl Transfer {
    /// Of a connection.
    pub(super) fn of_connection(socket: RawFd) -> Self {
        let this = Self::default();
        *this.socket() = Some(socket);
        this
    }

    /// Runs it until it is done or cut.
    pub(super) async fn run(self, work: impl Future<Output = ()>) {
        let state = self.0.clone();
        tokio::select! {
            biased;
            () = state.cut.notified() => {}
            () = CURRENT.scope(self, work) => {}
        }
    }

    /// Ends it at once; what is not sent yet never is.
    pub(super) fn cut(&self) {
        self.0.cut.notify_one();
    }

    fn socket(&self) -> MutexGuard<'_, Option<RawFd>> {
        // Nothing under this lock can panic.
        self.0.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has the connection for itself.
    pub(super) fn has_a_socket(&self) -> bool {
        self.socket().is_some() && !self.is_http2()
    }

    /// The socket is about to be closed.
    pub(super) fn closing(&self) {
        *self.socket() = None;
    }

    /// The connection speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.0.http2.load(Ordering::Relaxed)
    }

    /// It turned out to speak HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.0.http2.store(true, Ordering::Relaxed);
    }

    /// Whether the peer has closed its side, read or unread. Known of HTTP/1.1 connections alone: while their upload
    /// is held up nobody reads the socket, and so nobody would see the end. A system call of a microsecond.
    pub(super) fn is_hung_up(&self) -> bool {
        let socket = self.socket();
        let Some(fd) = *socket else { return false };
        let mut asked = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one structure that outlives the call; the lock keeps the descriptor from being closed meanwhile.
        let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
        ready == 1 && asked.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
    }
}

/// Gives each HTTP/2 stream's task a transfer of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTasks;

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Transfer::default().run(stream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_transfer_is_found_inside_and_ended_from_outside() {
        assert!(current().is_none());
        Transfer::default().run(async { assert!(current().is_some()) }).await;
        let transfer = Transfer::default();
        let (found, cut) = (transfer.clone(), transfer.clone());
        let running = tokio::spawn(found.run(std::future::pending()));
        cut.cut();
        running.await.expect("ended");
    }

    #[tokio::test]
    async fn a_peer_that_closes_is_seen_behind_unread_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (server, _) = listener.accept().await.expect("accepted");
        let transfer = Transfer::of_connection(server.as_raw_fd());
        tokio::io::AsyncWriteExt::write_all(&mut client, b"never read").await.expect("sent");
        assert!(!transfer.is_hung_up());
        drop(client);
        let start = std::time::Instant::now();
        while !transfer.is_hung_up() {
            assert!(start.elapsed().as_secs() < 10, "the end never came");
            tokio::task::yield_now().await;
        }
        transfer.closing();
        assert!(!transfer.is_hung_up(), "a number that may belong to another by now is not asked");
    }
}
