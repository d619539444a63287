//! What the agent itself costs, from `/proc/self`; and keeping it from holding memory that it does not use.

use procfs::FromRead as _;

/// What the agent itself has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory, bytes.
    pub(crate) rss_bytes: u64,
}

/// The agent's own use now; `None` if `/proc` does not tell.
pub(crate) fn own_usage() -> Option<Usage> {
    let text = std::fs::read("/proc/self/stat").ok()?;
    let stat = procfs::process::Stat::from_read(&*text).ok()?;
    Some(Usage {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        rss_bytes: stat.rss.saturating_mul(procfs::page_size()),
    })
}

/// Has the C library's allocator give back what is freed: call it first, before there are threads. With an arena for each
/// thread, and thresholds that rise with the largest block so far, three times as much stays resident with ten targets.
pub(crate) fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers only; what is refused changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_use_is_known() {
        assert!(own_usage().is_some_and(|usage| usage.rss_bytes > 100_000));
    }
}
