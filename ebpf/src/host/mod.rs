//! The host side: loading the object, finding targets, unwinding stacks. Nothing here runs in the kernel.

mod bpf;
pub(crate) mod btf;
pub(crate) mod calibrate;
pub(crate) mod cast;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod cost;
pub(crate) mod counts;
pub(crate) mod elf;
pub(crate) mod footprint;
pub(crate) mod goroutines;
pub(crate) mod gosyms;
pub(crate) mod growth;
pub(crate) mod hooks;
pub(crate) mod iterator;
pub(crate) mod keeper;
pub(crate) mod kernel;
#[cfg(test)]
mod layout;
pub(crate) mod naming;
pub(crate) mod observer;
pub(crate) mod pclntab;
pub(crate) mod privilege;
pub(crate) mod proc_file;
pub(crate) mod publish;
pub(crate) mod python;
mod refusal;
mod resolvers;
mod rings;
pub(crate) mod sampler;
pub(crate) mod setup;
pub(crate) mod sites;
pub(crate) mod table;
pub(crate) mod targets;
pub(crate) mod tracefs;
pub(crate) mod unwind;
pub(crate) mod waker;
