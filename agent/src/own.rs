//! What the agent itself costs, from `/proc/self`.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_use_is_known() {
        assert!(own_usage().is_some_and(|usage| usage.rss_bytes > 100_000));
    }
}
