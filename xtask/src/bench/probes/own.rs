//! What an agent itself takes: processor time by its own clock, memory with its kernel maps.
//!
//! Memory is counted page by page, each page once: what is resident, but for the rings, which are mapped twice and whose
//! pages are the maps' own; and what the kernel accounts to each map and program that the agent holds (`memlock` in
//! `/proc/PID/fdinfo`), rings included. The agent's executable and libraries are in it as far as they are resident.

use crate::{
    process,
    rig::{Agent, AgentPorts},
};
use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Starts an agent that watches these processes, as anybody would.
pub(in crate::bench) fn watch(folder: &Path, pids: &[u32]) -> anyhow::Result<Agent> {
    start(folder, pids, &[])
}

/// The same without a budget, so that nothing is left out.
pub(in crate::bench) fn watch_all(folder: &Path, pids: &[u32]) -> anyhow::Result<Agent> {
    let settings = folder.join("snowshed.toml");
    let text = "[overhead]\ntargets_core_share = 1024.0\ntargets_cpu_ratio = 1024.0\nagent_core_share = 1024.0\n";
    fs::write(&settings, text).with_context(|| format!("write {}", settings.display()))?;
    start(folder, pids, &["--config".to_owned(), settings.display().to_string()])
}

fn start(folder: &Path, pids: &[u32], more: &[String]) -> anyhow::Result<Agent> {
    let pids = pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]);
    let arguments: Vec<String> = pids.chain(more.iter().cloned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Agent::start(folder, AgentPorts::free()?, &arguments)
}

/// Its share of one core, in percent, of so many stretches of this length.
pub(in crate::bench) fn shares(agent: &Agent, stretches: u32, length: Duration) -> anyhow::Result<Vec<f64>> {
    let clock = process::cpu_clock(agent.pid())?;
    let mut shares = Vec::new();
    for _ in 0..stretches {
        let (begun, used) = (Instant::now(), process::clock_seconds(clock));
        std::thread::sleep(length);
        shares.push(100.0 * (process::clock_seconds(clock) - used) / begun.elapsed().as_secs_f64());
    }
    Ok(shares)
}

/// Events that the agent knows to have lost: in the kernel and in its queues.
pub(in crate::bench) fn lost(agent: &Agent) -> anyhow::Result<f64> {
    let status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array().context("no probes in the status")?;
    let in_kernel: f64 = probes.iter().filter_map(|probe| probe["lost"].as_f64()).sum();
    Ok(in_kernel + agent.metric("snowshed_engine_queue_dropped_total", "")?.unwrap_or(0.0))
}

/// Its memory, bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Memory {
    /// Resident, without the rings.
    pub(in crate::bench) resident: u64,
    /// Kernel memory of maps and programs.
    pub(in crate::bench) kernel: u64,
}

impl Memory {
    pub(in crate::bench) fn now(agent: &Agent) -> anyhow::Result<Self> {
        let pid = agent.pid();
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("the agent's mappings")?;
        Ok(Self { resident: resident(&smaps), kernel: kernel(pid)? })
    }

    pub(in crate::bench) fn sum(self) -> u64 {
        self.resident + self.kernel
    }
}

/// Resident bytes of all mappings but those of rings.
fn resident(smaps: &str) -> u64 {
    let (mut sum, mut is_ring) = (0, false);
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if first == "Rss:" && !is_ring {
            let size: u64 = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
            sum += 1024 * size;
        } else if first.contains('-') && !first.ends_with(':') {
            // The head of a mapping: its addresses come first.
            is_ring = line.ends_with("anon_inode:bpf-map");
        }
    }
    sum
}

/// What the kernel accounts to every map and program, each once.
fn kernel(pid: u32) -> anyhow::Result<u64> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the agent's descriptors")?.flatten() {
        // One that is closed meanwhile holds nothing.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:").or_else(|| field("prog_id:")), field("memlock:")) {
            all.insert((info.contains("map_id:"), id), bytes);
        }
    }
    Ok(all.values().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_not_counted_twice() {
        let smaps = "7f00-7f10 rw-s 00000000 00:0e 7 anon_inode:bpf-map\nSize: 64 kB\nRss: 64 kB\nVmFlags: rd wr\n\
                     5500-5510 r-xp 00000000 fe:00 9 /usr/bin/a-b\nSize: 64 kB\nRss: 40 kB\nVmFlags: rd ex\n\
                     7ff0-7ff1 rw-p 00000000 00:00 0\nSize: 8 kB\nRss: 8 kB\nVmFlags: rd\n";
        assert_eq!(resident(smaps), 48 * 1024);
    }
}
