//! `CLOCK_MONOTONIC`, the clock of the kernel's records, and the ticks in which the kernel counts slow things; and what
//! this thread has used of the processor.

use super::proc_file::Kept;
use snowshed_engine::model::{Nanos, Pid};

/// Nanoseconds since some point before the start of the machine's work; never goes back.
pub(crate) fn now() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// Processor time of the calling thread so far.
pub(crate) fn of_thread() -> Nanos {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of a process so far, ended threads included; `None` if it is gone.
pub(crate) fn of_process(pid: Pid) -> Option<Nanos> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // The kernel's own encoding (include/linux/posix-timers.h): the pid inverted, and CPUCLOCK_SCHED.
    let clock = (!pid).checked_mul(8)? | 2;
    // SAFETY: the pointer is valid; a clock that does not exist is refused.
    let refused = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (refused == 0).then(|| nanos(time))
}

/// Processor time that the whole machine has used so far, by `/proc/stat`: to some hundredths of a second. Time stolen by
/// other machines is nobody's here.
pub(crate) fn of_machine() -> Option<Nanos> {
    static STAT: Kept = Kept::new("/proc/stat");
    let stat = STAT.read().ok()?;
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse::<u64>);
    // user, nice, system, idle, iowait, irq, softirq (proc(5)).
    let mut next = || fields.next()?.ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _waiting, irq, softirq) = (next()?, next()?, next()?, next()?);
    // SAFETY: no pointers.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0)?;
    (user + nice + system + irq + softirq).checked_mul(1_000_000_000 / per_second)
}

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; these clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    nanos(time)
}

fn nanos(time: libc::timespec) -> Nanos {
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

    #[test]
    fn a_process_has_a_clock_and_nobody_has_none() {
        let (before, begun) = (of_process(std::process::id()).unwrap(), of_thread());
        while of_thread() < begun + 1_000_000 {}
        assert!(of_process(std::process::id()).unwrap() >= before + 1_000_000);
        // Linux has no pid above 2^22; 0 would be whoever asks.
        assert_eq!([1 << 23, u32::MAX, 0].map(of_process), [None; 3]);
    }

    #[test]
    fn work_of_a_thread_is_work_of_the_machine() {
        let (before, begun) = (of_machine().unwrap(), of_thread());
        while of_thread() < begun + 50_000_000 {}
        assert!(of_machine().unwrap() >= before + 20_000_000);
    }
}
