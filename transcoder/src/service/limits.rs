//! The bounds of the service that are no flags, in one place, and the rules that follow from them.

use std::time::Duration;

/// What one HTTP/2 stream may send before it is read.
pub(crate) const STREAM_WINDOW: u32 = 128 << 10;
/// HTTP/2 streams on one connection.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 1024;
/// What one HTTP/2 stream may have waiting to be sent.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// What an HTTP/1.1 connection may have read or waiting to be sent; also the longest head.
pub(crate) const HTTP1_BUFFER: usize = 64 << 10;
/// What the kernel may hold of a connection's answers without having sent it.
pub(crate) const UNSENT: i32 = 128 << 10;
/// What is handed to a connection at a time.
pub(crate) const FRAME: usize = 16 << 10;
/// Connections that wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
pub(crate) const BACKLOG: u32 = 4096;
/// Connections at once; more wait in the kernel's queue.
pub(crate) const CONNECTIONS: usize = 4096;
/// Connections beyond these: one request each, and no stream, so that health and metrics are always reached.
pub(crate) const RESERVED_CONNECTIONS: usize = 64;
/// For a request's head, and between two HTTP/2 pings.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// For a request's head on a reserved connection.
pub(crate) const RESERVED_HEAD: Duration = Duration::from_secs(2);
/// After the last stream, for answers to reach their clients.
pub(crate) const FLUSH: Duration = Duration::from_millis(1500);
/// Between two tries to accept while there are no file descriptors.
pub(crate) const NO_FDS_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks whether more of HTTP/2's preface has come.
pub(crate) const PREFACE_LOOK: Duration = Duration::from_millis(20);
/// Between two looks whether the client of an upload that nobody reads is still there.
pub(crate) const HANGUP_LOOK: Duration = Duration::from_millis(10);
/// Seconds after which a refused client may try again.
pub(crate) const RETRY_AFTER: u32 = 1;

/// What a whole connection may send before it is read: less than all its streams together, and one slow stream would
/// hold up the others. Twice the streams that can be admitted, because refused uploads are read off beside them.
pub(crate) fn connection_window(max_streams: u32) -> u32 {
    let streams = max_streams.saturating_mul(2).clamp(128, STREAMS_PER_CONNECTION);
    streams.saturating_mul(STREAM_WINDOW)
}

/// Threads for the codecs of one stream, when so many streams run: one, unless the machine is mostly idle. More threads
/// cost memory and the processor's time and help only the one stream, so half of the cores stay free for the next.
pub(crate) fn threads_for(running: usize, cores: usize) -> u32 {
    const MOST: usize = 4;
    u32::try_from((cores / (2 * running.max(1))).clamp(1, MOST)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_room_for_all_streams_that_it_can_have() {
        for max_streams in [1, 64, 65, 511, 512, 600, 1024, 4096] {
            let admitted = max_streams.min(STREAMS_PER_CONNECTION);
            assert!(connection_window(max_streams) >= admitted * STREAM_WINDOW, "{max_streams}");
            // HTTP/2's largest window.
            assert!(connection_window(max_streams) < 1 << 31);
        }
    }

    #[test]
    fn threads_are_for_streams_that_have_the_machine_to_themselves() {
        assert_eq!([1, 2, 64].map(|running| threads_for(running, 2)), [1, 1, 1]);
        assert_eq!([1, 2, 3, 4, 5, 17].map(|running| threads_for(running, 16)), [4, 4, 2, 2, 1, 1]);
        assert_eq!((threads_for(0, 0), threads_for(0, 1)), (1, 1));
    }
}
