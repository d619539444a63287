//! An upload at the pace of a camera, in small pieces, or at the network's speed.
//!
//! Cost: one timer and no copy a piece; HTTP/2's flow control may slow it down further, never speed it up.

use super::connection::send;
use bytes::Bytes;
use h2::SendStream;
use std::time::Duration;
use tokio::time::Instant;

/// How often a piece is sent.
const PIECE: Duration = Duration::from_millis(50);

/// How an upload goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// How long it takes at least.
    pub(super) length: Duration,
    /// After this share of it nothing more is sent, and the stream stays open.
    pub(super) stalls_at: Option<f64>,
}

/// Sends it. Ends with the upload, or never if that stalls.
///
/// # Errors
/// The service wants no more of it. Why, its answer tells.
pub(super) async fn upload(stream: &mut SendStream<Bytes>, video: Bytes, course: Course) -> Result<(), h2::Error> {
    let size = piece_size(video.len(), course.length);
    let mut left = video.clone();
    let mut stall = course.stalls_at.map(|share| (video.len() as f64 * share) as usize);
    let mut due = Instant::now();
    while !left.is_empty() {
        tokio::time::sleep_until(due).await;
        // From the time it was due, so that a late wake-up does not slow the whole upload down.
        due += PIECE;
        let mut size = size.min(left.len());
        if let Some(stall) = &mut stall {
            size = size.min(*stall);
            *stall -= size;
            if size == 0 {
                std::future::pending::<()>().await;
            }
        }
        let piece = left.split_to(size);
        send(stream, piece, left.is_empty()).await?;
    }
    Ok(())
}

fn piece_size(bytes: usize, length: Duration) -> usize {
    let pieces = (length.as_secs_f64() / PIECE.as_secs_f64()).ceil().max(1.0);
    ((bytes as f64 / pieces).ceil() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_video_in_its_time() {
        let size = piece_size(10_001, Duration::from_millis(300));
        assert_eq!(10_001usize.div_ceil(size), 6);
        assert_eq!(piece_size(10_001, Duration::from_millis(1)), 10_001, "at once");
        assert_eq!(piece_size(3, Duration::from_secs(9)), 1);
    }
}
