//! The kernel object: all programs in one file, built for `bpfel-unknown-none` by `cargo xtask ebpf`.
//!
//! Invariant: nothing here allocates, loops without a bound, or writes to user memory.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "an atomic exchange; the target has it, the library does not show it")]
#![allow(unreachable_pub, reason = "programs are found by their section, not by their path")]
#![allow(missing_docs, reason = "described at the host side's units; here are only the programs")]

mod kernel;
#[allow(dead_code, reason = "also compiled into the host side, which uses the rest")]
mod wire;

mod probes {
    #[path = "dns/kernel.rs"]
    pub mod dns;
    #[path = "epoll/kernel.rs"]
    mod epoll;
    #[path = "fd/kernel.rs"]
    pub mod fd;
    #[path = "memory/growth.rs"]
    mod growth;
    #[path = "memory/kernel.rs"]
    mod memory;
    #[path = "tasks/kernel.rs"]
    mod tasks;
    #[path = "tcp/kernel.rs"]
    mod tcp;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs use its tracing helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
