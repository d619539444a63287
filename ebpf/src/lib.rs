//! Kernel programs and the host side that loads them: one crate for two targets.
//!
//! Built for the host it is this library: [`Session`] attaches the probes and turns what they say
//! into [`snowshed_engine::model::Observation`]s. Built for `bpfel-unknown-none` (`src/bpf.rs`) it is
//! the kernel object in `object/`. `wire` is compiled into both.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg(not(target_arch = "bpf"))]

mod session;
mod status;

pub use session::{Frame, Options, Session, SessionError};
pub use status::{ProbeStatus, Tier};
