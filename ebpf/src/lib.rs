//! Kernel programs and the host side that loads them: one crate for two targets.
//!
//! Built for the host it is this library: [`Session`] attaches the probes and turns what they say
//! into [`snowshed_engine::model::Observation`]s. Built for `bpfel-unknown-none` (`src/bpf.rs`) it is
//! the kernel object in `object/`. `wire` is compiled into both.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg(not(target_arch = "bpf"))]

mod host;
mod probes;
mod session;
mod status;
#[allow(dead_code, unreachable_pub, reason = "also compiled into the kernel object, which uses the rest")]
mod wire;

pub use host::{sites::Frame, waker::Waker};
pub use probes::fd::{DirectFds, OpenFd};
pub use session::{Budget, CpuSampling, Options, SamplingError, Session, SessionError, Shed};
pub use status::{ContextStatus, Overhead, ProbeStatus, Tier};
pub use wire::peer_number;
