//! What an instrumented Rust service links.
//!
//! Two independent halves. *Telling*: [`context`] publishes the trace that each thread works on where a kernel
//! probe can read it, [`ContextLayer`] does so for every `tracing` span and [`connection`] for every write to a client,
//! and [`process`] tells who the process is.
//! *Obeying*: [`Guard`] reports the open requests to the agent four times a second and [`LimitLayer`] enforces the
//! concurrency limit that comes back.
//!
//! Invariant: the service never waits for the agent. Without a fresh answer there is no limit (fail open).

mod agent;
mod clock;
pub mod connection;
pub mod context;
pub mod drain;
mod layer;
mod lease;
pub mod limit;
pub mod process;
mod scope;

pub use agent::{Guard, GuardConfig, GuardError};
pub use clock::monotonic_ns;
pub use layer::ContextLayer;
pub use lease::Lease;
pub use limit::{LimitLayer, Limiter};
pub use scope::{Scoped, with_current_trace};
