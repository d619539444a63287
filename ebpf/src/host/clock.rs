//! `CLOCK_MONOTONIC`, the clock of the kernel's records.

use snowshed_engine::model::Nanos;

/// Nanoseconds since some point before the start of the machine's work; never goes back.
pub(crate) fn now() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
