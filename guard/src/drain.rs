//! Reading off the body of a request that was refused.
//!
//! A client that is still uploading does not look at the answer: an HTTP/2 stream would be reset and an HTTP/1.1
//! connection closed under it, and it would see an error instead of the status. So what it still sends is read and
//! thrown away, for at most [`TIME`], by at most [`AT_ONCE`] tasks in the process; beyond that the body is dropped at
//! once. After [`BYTES`] it is read at [`PACE`] only: a client that writes as fast as it is read never waits, and one that
//! never waits does not look at the answer before the connection is closed under it.

use crate::scope::with_current_trace;
use bytes::Buf;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest that one refused body is read.
pub const TIME: Duration = Duration::from_secs(2);
/// What is read of one refused body as fast as it comes.
pub const BYTES: usize = 8 << 20;
/// How fast the rest of it is read, in bytes a second.
pub const PACE: u32 = 8 << 20;
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
        while let Some(length) = body.frame().await.and_then(length_of) {
            read = read.saturating_add(length);
            if read > BYTES {
                tokio::time::sleep(Duration::from_secs_f64(length as f64 / f64::from(PACE))).await;
            }
        }
    };
    // Out of time is an ordinary end: the bound is what was asked for.
    tokio::time::timeout(TIME, read).await.unwrap_or_default();
}

fn length_of<D: Buf, E>(frame: Result<Frame<D>, E>) -> Option<usize> {
    Some(frame.ok()?.data_ref().map_or(0, Buf::remaining))
}
