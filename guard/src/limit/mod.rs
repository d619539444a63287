//! Middleware that enforces the agent's concurrency limit, in tower's usual shape: layer, service, future, body, error.
//!
//! Over the limit a request is answered `429` with `Retry-After` before its body is read. Under it the request is
//! listed as open until its response body has ended or been dropped.

mod body;
mod error;
mod future;
mod layer;
mod limiter;
mod service;

pub use body::GuardedBody;
pub use error::Overloaded;
pub use future::ResponseFuture;
pub use layer::LimitLayer;
pub use limiter::{Limiter, OpenRequest, Permit, Snapshot};
pub use service::Limit;
