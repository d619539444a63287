//! Redis without persistence, asked by its own benchmark.

use super::Service;
use crate::{program, rig::Redis};
use anyhow::Context as _;
use std::{
    cell::Cell,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Requests a second, about, by which the first load of some length is made.
const ABOUT: f64 = 60_000.0;

/// A server, and how many requests it answers a second.
pub(super) struct Asked {
    redis: Redis,
    rate: Cell<f64>,
}

impl Service for Asked {
    fn pids(&self) -> Vec<u32> {
        vec![self.redis.pid()]
    }

    fn load(&self, length: Duration) -> anyhow::Result<(u64, f64)> {
        let count = (self.rate.get() * length.as_secs_f64() / 2.0).max(1.0) as u64;
        let (port, requests) = (self.redis.address.port().to_string(), count.to_string());
        let begun = Instant::now();
        let told = program::output(
            Command::new("redis-benchmark")
                .args(["-p", &port, "-t", "set,get", "-n", &requests, "-c", "50", "-d", "128", "--csv"]),
        )?;
        // The head, then a line for each test: name, requests a second, latencies.
        let rate = |line: &str| line.split(',').nth(1)?.trim_matches('"').parse::<f64>().ok();
        let rates: Vec<f64> = told.lines().filter_map(rate).filter(|rate| *rate > 0.0).collect();
        anyhow::ensure!(rates.len() == 2, "redis-benchmark said {told}");
        // Its own start is not the server's time.
        let seconds = rates.iter().map(|rate| count as f64 / rate).sum::<f64>().min(begun.elapsed().as_secs_f64());
        let seconds = Some(seconds).filter(|seconds| *seconds > 0.0).context("redis-benchmark")?;
        self.rate.set(2.0 * count as f64 / seconds);
        Ok((2 * count, seconds))
    }
}

/// Starts it.
pub(super) fn start(folder: &Path) -> anyhow::Result<Asked> {
    Ok(Asked { redis: Redis::start(folder, folder, &[])?, rate: Cell::new(ABOUT) })
}
