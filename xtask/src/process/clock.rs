//! CPU time, to the nanosecond: `/proc` counts in ticks of 10 ms, which is a tenth of a short transcoding.

use anyhow::{Context as _, bail};
use std::{fs, thread::available_parallelism};

/// What a clock shows, in seconds; 0 for one that does not exist (any more).
#[must_use]
pub fn clock_seconds(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives on this stack for the length of the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return 0.0;
    }
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The clock of the CPU time of a process: all threads, also those that have ended.
///
/// # Errors
/// There is no such process.
pub fn cpu_clock(pid: u32) -> anyhow::Result<libc::clockid_t> {
    let raw = libc::pid_t::try_from(pid).with_context(|| format!("pid {pid}"))?;
    let mut clock = 0;
    // SAFETY: the integer lives on this stack for the length of the call.
    let error = unsafe { libc::clock_getcpuclockid(raw, &raw mut clock) };
    if error != 0 {
        bail!("CPU clock of pid {pid}: {}", std::io::Error::from_raw_os_error(error));
    }
    Ok(clock)
}

/// The whole machine's CPU.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: f64,
    /// CPU seconds that anybody used since the machine started.
    pub busy: f64,
}

impl Machine {
    /// Looks.
    ///
    /// # Errors
    /// `/proc/stat` is not as the kernel writes it.
    pub fn now() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("/proc/stat: no cpu line")?;
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, stolen (proc(5)); what is stolen is not ours to use.
        let &[user, nice, system, _, _, irq, softirq, stolen, ..] = ticks.as_slice() else {
            bail!("/proc/stat: {line:?}");
        };
        // SAFETY: sysconf takes an integer.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        let cores = available_parallelism().context("cores")?.get() as f64;
        Ok(Self { cores, busy: (user + nice + system + irq + softirq + stolen) as f64 / per_second })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_seen_by_pid() {
        let (clock, machine) = (cpu_clock(std::process::id()).unwrap(), Machine::now().unwrap());
        let begun = clock_seconds(clock);
        let mut sum = 0u64;
        while clock_seconds(clock) - begun < 0.1 {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        let used = Machine::now().unwrap().busy - machine.busy;
        assert!(used >= 0.05 && machine.cores >= 1.0, "{used} {sum}");
    }

    #[test]
    fn nobody_has_no_clock() {
        // Linux has no pid above 2^22.
        assert!(cpu_clock(u32::MAX).is_err());
        assert!(cpu_clock(1 << 23).is_err());
    }
}
