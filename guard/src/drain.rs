//! Reading off the body of a request that was refused.
//!
//! A client that is still uploading does not look at the answer: an HTTP/2 stream would be reset and an HTTP/1.1
//! connection closed under it, and it would see an error instead of the status. So what it still sends is read and
//! thrown away, for at most [`TIME`] and [`BYTES`], by at most [`AT_ONCE`] tasks in the process; beyond that the body
//! is dropped at once.

use crate::scope::with_current_trace;
use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest that one refused body is read.
pub const TIME: Duration = Duration::from_secs(2);
/// The most that is read of one refused body.
pub const BYTES: usize = 8 << 20;
/// Bodies that are read off at the same time.
pub const AT_ONCE: u32 = 256;

static RUNNING: AtomicU32 = AtomicU32::new(0);

struct Slot;

impl Slot {
    fn take() -> Option<Self> {
        let taken = RUNNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < AT_ONCE).then_some(n + 1));
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads the rest of a body in a task of its own. Does nothing outside a tokio runtime.
pub fn in_background<B>(body: B)
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    if body.is_end_stream() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let Some(slot) = Slot::take() else { return };
    runtime.spawn(with_current_trace(async move {
        let _slot = slot;
        rest_of(body).await;
    }));
}

/// Reads the rest of a body, within the bounds. Ends early when the peer does.
pub async fn rest_of<B: Body>(body: B) {
    let read = async {
        let mut body = std::pin::pin!(body);
        let mut read = 0usize;
        while let Some(Ok(frame)) = body.frame().await {
            read = read.saturating_add(frame.data_ref().map_or(0, Buf::remaining));
            if read > BYTES {
                break;
            }
        }
    };
    // Out of time is an ordinary end: the bound is what was asked for.
    tokio::time::timeout(TIME, read).await.unwrap_or_default();
}
