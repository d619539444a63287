//! The chores, as a library so that the end-to-end tests use the same load, videos and processes as the demo.

pub mod bench;
pub mod campaign;
mod debian;
pub mod demo;
pub mod ebpf;
pub mod faults;
pub mod load;
pub mod process;
pub mod program;
mod pythons;
pub mod rig;
pub mod serve;
pub mod setup;
pub mod suites;
pub mod test;
mod text;
pub mod video;
pub mod vm;
