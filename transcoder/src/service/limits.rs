//! Every bound of the service, in one place, and the places for streams.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one HTTP/2 stream may send before it is read.
pub(crate) const STREAM_WINDOW: u32 = 128 << 10;
/// HTTP/2 streams on one connection.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 1024;
/// What one HTTP/2 stream may have waiting to be sent.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// Connections at once; more wait in the kernel's queue.
pub(crate) const CONNECTIONS: usize = 4096;
/// How long an upload may say nothing before its stream is taken away.
pub(crate) const UPLOAD_IDLE: Duration = Duration::from_secs(30);
/// For a request's head, and between two HTTP/2 pings.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// After SIGTERM, for streams to end by themselves.
pub(crate) const GRACE: Duration = Duration::from_millis(1500);
/// Between two tries to accept while there are no file descriptors.
pub(crate) const NO_FDS_PAUSE: Duration = Duration::from_millis(100);
/// Stack of a codec thread.
pub(crate) const CODEC_STACK: usize = 2 << 20;

/// What a whole connection may send before it is read: less than all its streams together, and one slow stream would
/// hold up the others.
pub(crate) fn connection_window(max_streams: u32) -> u32 {
    let streams = max_streams.saturating_mul(2).clamp(128, STREAMS_PER_CONNECTION);
    streams.saturating_mul(STREAM_WINDOW)
}

/// Places for streams, each of which is a thread.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    most: u32,
}

impl Streams {
    /// So many at once.
    pub(crate) fn new(most: u32) -> Self {
        Self { places: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// A place, if there is one now.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// How many there are.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        (self.most as usize).saturating_sub(self.places.available_permits())
    }

    /// Waits until all have been given back.
    pub(crate) async fn all_given_back(&self) {
        // The semaphore is never closed; if it were, there would be nothing to wait for.
        drop(self.places.acquire_many(self.most).await);
    }
}
