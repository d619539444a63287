//! Levels once a second, from the kernel or from `/proc/PID/statm`.

use crate::{
    host::kernel::{AttachError, Kernel},
    probes::{Look, Probe},
    wire::Counter,
};
use snowshed_engine::model::{Level, Observation, Pid, Resource};
use std::{fs, time::Duration};

const PAGE: u64 = 4096;

pub(crate) struct Memory;

impl Probe for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["thread_list"]
    }

    fn counters(&self) -> (&'static [Counter], &'static [Counter]) {
        (&[], &[])
    }

    fn attach(&mut self, kernel: &mut Kernel) -> Result<(), AttachError> {
        kernel.iterator("thread_list", "task")
    }

    fn fallback(&self) -> Option<&'static str> {
        Some("resident memory and threads from /proc")
    }

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }

    fn sample(&mut self, look: &mut Look<'_>, out: &mut Vec<Observation>) {
        let at = look.now;
        for pid in look.targets.pids() {
            let levels = if look.kernel.is_some() { from_kernel(look, pid) } else { from_proc(pid) };
            let level = |(resource, value)| Observation::Level(Level { pid, resource, value, limit: None, at });
            out.extend(levels.into_iter().map(level));
        }
    }
}

fn from_kernel(look: &mut Look<'_>, pid: Pid) -> Vec<(Resource, u64)> {
    let threads = look.threads(pid);
    // A thread that is exiting has no memory any more: any other one shows it.
    let Some(one) = threads.iter().find(|thread| thread.rss != [0; 4]) else { return Vec::new() };
    // MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES
    let [file, anonymous, _, shared] = one.rss;
    vec![
        (Resource::RssAnon, anonymous * PAGE),
        (Resource::RssFile, (file + shared) * PAGE),
        (Resource::Threads, u64::from(one.threads)),
        (Resource::MajorFaults, threads.iter().map(|thread| thread.major_faults).sum()),
    ]
}

/// `statm`: size, resident, shared (file and shared memory), in pages.
fn from_proc(pid: Pid) -> Vec<(Resource, u64)> {
    let Ok(statm) = fs::read_to_string(format!("/proc/{pid}/statm")) else { return Vec::new() };
    let mut fields = statm.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.nth(1).unwrap_or(0), fields.next().unwrap_or(0));
    if resident == 0 {
        return Vec::new();
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count() as u64);
    vec![
        (Resource::RssAnon, resident.saturating_sub(shared) * PAGE),
        (Resource::RssFile, shared * PAGE),
        (Resource::Threads, threads),
    ]
}
