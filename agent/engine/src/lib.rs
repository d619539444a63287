//! The deciding half of Snowshed.
//!
//! Invariant: everything here is pure. No clock is read (time arrives as an argument), nothing is
//! written, no thread is started, and memory is bounded by [`config::Caps`]. The same observations in
//! the same order give the same outputs, so every decision can be replayed from a recording.

pub mod model;
