//! `buffer_leak`: output kept for clients that went away.
//!
//! A careless implementation of "resume where you were": every result is also written to a replay window, so that a
//! client that lost its connection can have the end again. Whoever reads to the end gives the window back; for whoever
//! goes away it is kept, and nobody ever comes back for it. The whole window is written when the stream begins, so
//! what is kept is resident. At most [`MOST`] windows are kept; at 4 MiB each that is 2 GiB.

use super::hoard::Hoard;
use super::{Fault, Switch};
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Windows that are kept at most.
const MOST: usize = 512;
const MIB: f64 = 1_048_576.0;

static SWITCH: Switch = Switch::off();
/// The disease: nothing ever takes anything out of it.
static WAITING_FOR_THEIR_CLIENTS: Hoard<Vec<u8>> = Hoard::new(MOST);

pub(super) struct BufferLeak;

impl Fault for BufferLeak {
    fn name(&self) -> &'static str {
        "buffer_leak"
    }

    fn cause(&self) -> &'static str {
        "memory_growth"
    }

    fn describe(&self) -> &'static str {
        "the output of clients that go away before its end is kept for ever; the value is the MiB kept for each"
    }

    fn switch(&self) -> &Switch {
        &SWITCH
    }

    fn default_value(&self) -> &'static str {
        "4"
    }

    fn parse(&self, value: &str) -> Result<f64, String> {
        match value.parse::<u32>() {
            Ok(mebibytes @ 1..=256) => Ok(f64::from(mebibytes)),
            _ => Err("MiB from 1 to 256".into()),
        }
    }

    fn infect_result(&self, mebibytes: f64, result: Body) -> Body {
        let window = open_replay_window((mebibytes * MIB) as usize);
        Body::new(Replayable { result, window, at: 0, ended: false })
    }

    fn heal(&self) {
        WAITING_FOR_THEIR_CLIENTS.give_back();
    }
}

/// The last bytes of a result, in a ring. Not inlined, so that a stack shows it.
#[inline(never)]
fn open_replay_window(bytes: usize) -> Vec<u8> {
    // Filled with something else than zeros: those would come from the kernel untouched.
    vec![0xff; bytes]
}

/// Not inlined, so that a stack shows it.
#[inline(never)]
fn keep_for_the_client_to_come_back(window: Vec<u8>) {
    WAITING_FOR_THEIR_CLIENTS.keep(window);
}

/// A result that is also written to a replay window.
struct Replayable {
    result: Body,
    window: Vec<u8>,
    /// Where the next byte goes.
    at: usize,
    ended: bool,
}

impl Replayable {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.window.is_empty() {
            let room = &mut self.window[self.at..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.at = (self.at + now.len()) % self.window.len();
            bytes = later;
        }
    }
}

impl http_body::Body for Replayable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = ready!(Pin::new(&mut self.result).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => self.write(frame.data_ref().map_or(&[], |bytes| bytes)),
            // The service broke it off itself: nothing to come back for.
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.result.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.result.size_hint()
    }
}

impl Drop for Replayable {
    fn drop(&mut self) {
        if !self.ended && !http_body::Body::is_end_stream(&self.result) {
            keep_for_the_client_to_come_back(std::mem::take(&mut self.window));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;

    fn result() -> Body {
        let pieces =
            [vec![1u8; 1_000_000], vec![2; 200_000]].map(|piece| Ok::<_, Infallible>(Frame::data(piece.into())));
        Body::new(StreamBody::new(tokio_stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_reader_to_the_end_leaves_nothing_and_one_that_goes_away_a_window() {
        let whole = BufferLeak.infect_result(1.0, result()).collect().await.expect("read").to_bytes();
        assert_eq!((whole.len(), WAITING_FOR_THEIR_CLIENTS.len()), (1_200_000, 0));
        let mut left = BufferLeak.infect_result(1.0, result());
        for _ in 0..2 {
            left.frame().await.expect("a piece").expect("not broken");
        }
        drop(left);
        assert_eq!(WAITING_FOR_THEIR_CLIENTS.len(), 1);
        BufferLeak.heal();
        assert_eq!(WAITING_FOR_THEIR_CLIENTS.len(), 0);
    }

    #[test]
    fn the_window_holds_the_last_bytes_in_a_ring() {
        let mut replayable = Replayable { result: Body::empty(), window: vec![0; 4], at: 0, ended: true };
        replayable.write(&[1, 2, 3]);
        replayable.write(&[4, 5, 6]);
        assert_eq!((replayable.window.as_slice(), replayable.at), ([5, 6, 3, 4].as_slice(), 2));
    }
}
