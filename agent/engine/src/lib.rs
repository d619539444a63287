//! The deciding half of Snowshed.
//!
//! Invariant: everything here is pure. No clock is read (time arrives as an argument), nothing is
//! written, no thread is started, and memory is bounded by [`config::Caps`]. The same observations in
//! the same order give the same outputs, so every decision can be replayed from a recording.

mod breaker;
mod calls;
mod causes;
mod changes;
pub mod config;
mod correlate;
mod departed;
mod detect;
mod downstream;
mod engine;
mod fallen;
mod forecast;
mod host;
mod incident;
mod instances;
mod loops;
mod memory;
pub mod model;
mod once;
mod rise;
mod rules;
mod series;
mod signs;
mod sketch;
pub mod slo;
mod suspicion;
mod target;
mod tasks;
mod tcp;
mod text;
mod traces;
mod view;
mod window;

pub use engine::Engine;
