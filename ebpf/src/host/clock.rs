//! `CLOCK_MONOTONIC`, the clock of the kernel's records, and the ticks in which the kernel counts slow things.

use snowshed_engine::model::Nanos;

/// Nanoseconds since some point before the start of the machine's work; never goes back.
pub(crate) fn now() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// How long a jiffy is: the kernel's coarse clocks move once in each.
pub(crate) fn tick() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 4_000_000 };
    // SAFETY: the pointer is valid; this clock exists on every Linux since 2.6.32.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_nsec.unsigned_abs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_one_that_kernels_are_built_with() {
        let per_second = 1_000_000_000 / tick();
        assert!([100, 250, 300, 1000].contains(&per_second), "{per_second}");
    }
}
