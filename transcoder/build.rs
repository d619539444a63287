//! Puts the thread context's symbol into `.dynsym`, where readers outside the process look for it.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol=otel_thread_ctx_v1");
    println!("cargo:rerun-if-changed=build.rs");
}
