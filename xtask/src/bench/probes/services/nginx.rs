//! nginx with one worker, which answers 1 KB from memory.

use super::{Service, wait_ready, wrk};
use crate::rig::Nginx;
use std::{fs, path::Path, time::Duration};

impl Service for Nginx {
    fn pids(&self) -> Vec<u32> {
        let master = self.pid();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([master]).collect()
    }

    fn load(&self, length: Duration) -> anyhow::Result<(u64, f64)> {
        wrk(self.address, "/", length)
    }
}

/// Starts it.
pub(super) fn start(folder: &Path) -> anyhow::Result<Nginx> {
    let nginx = Nginx::start(folder, None, &format!("return 200 \"{}\";", "x".repeat(1024)), "")?;
    wait_ready(nginx.address)?;
    Ok(nginx)
}
