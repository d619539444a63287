//! What we hand to others, held against those others: a real Prometheus, Envoy, systemd, Kubernetes' schemas, a browser.
//!
//! Invariant: nothing is checked by our own reading of a format where its owner's program can be asked.

mod deploy;
mod exemplars;
mod expressions;
mod prometheus;
mod whole;
