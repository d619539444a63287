//! What a stream will need of the heap, before it needs it.
//!
//! An estimate from above, by the pictures that decoder, filter and encoder keep at the same time; a test of the
//! service compares it with the allocator's own figures.

use super::{DEPTH, Settings};

/// Muxer, sound, tables of the codecs, and the pieces on their way: what every stream needs.
const EVERY: u64 = 5 << 20;
/// Pictures of the upload's size that are kept: what the decoder refers to and hands out, and what the scaler reads.
const DECODED: u64 = 8;
/// Pictures of the result's size: what the scaler writes, and what x264 keeps of them with its tables.
const ENCODED: u64 = 16;
/// A picture that is assumed of an upload that is not known yet.
pub(crate) const UNKNOWN: (u32, u32) = (1280, 720);

/// Bytes that a stream with pictures of this size in its upload will need.
pub(crate) fn cost(settings: &Settings, (width, height): (u32, u32)) -> u64 {
    // Pictures of 8 bits, a quarter of the colour: 1.5 bytes for a pixel, with room for edges.
    let picture = |width: u64, height: u64| (width + 64) * (height + 64) * 3 / 2;
    let lines = u64::from(settings.height);
    let wide = (lines * u64::from(width)).div_ceil(u64::from(height.max(1))).min(4096);
    // A second of output waits in pieces at the worst.
    let waiting = (DEPTH as u64) * (lines * wide / 8).max(64 << 10);
    EVERY + DECODED * picture(width.into(), height.into()) + ENCODED * picture(wide, lines) + waiting
}
