//! Targets by name and by cgroup: also processes that start later, and nobody else.

use anyhow::{Context as _, bail, ensure};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use xtask::{
    process::{self, Child, Spawn},
    rig::{Agent, AgentPorts},
};

const BOUND: Duration = Duration::from_secs(15);

/// A sleeper whose `comm` is `name`.
fn sleeper(folder: &Path, name: &str) -> anyhow::Result<Child> {
    let program = folder.join(name);
    if !program.exists() {
        fs::copy("/bin/sleep", &program).context("copy sleep")?;
    }
    Spawn::new(name, program).args(["60"]).start(folder)
}

fn watched(agent: &Agent) -> anyhow::Result<Vec<u64>> {
    Ok(agent.items("/api/v1/fds")?.iter().filter_map(|item| item["pid"].as_u64()).collect())
}

fn wait_for(agent: &Agent, what: &str, wanted: &[&Child]) -> anyhow::Result<()> {
    let mut wanted: Vec<u64> = wanted.iter().map(|child| u64::from(child.pid())).collect();
    wanted.sort_unstable();
    process::wait_until(what, BOUND, || Ok((watched(agent)? == wanted).then_some(())))
        .with_context(|| format!("wanted {wanted:?}, watched {:?}", watched(agent)))
}

#[test]
fn by_name() -> anyhow::Result<()> {
    process::require_root("this test (kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let first = sleeper(folder.path(), "drifting-snow")?;
    let _other = sleeper(folder.path(), "packed-snow")?;
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &["--comm", "drifting-snow"])?;
    wait_for(&agent, "the process that was there", &[&first])?;
    let second = sleeper(folder.path(), "drifting-snow")?;
    wait_for(&agent, "the one that came later", &[&first, &second])?;
    drop(first);
    wait_for(&agent, "the one that is left", &[&second])
}

/// A cgroup of this test's own; gone when dropped.
struct Group(PathBuf);

impl Group {
    /// Below the first mount that really is a cgroup file system: elsewhere a "cgroup" would be a plain folder.
    fn new() -> anyhow::Result<Self> {
        const CGROUP: [i64; 2] = [0x0027_e0eb, 0x6367_7270];
        for place in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/freezer"] {
            let path = CString::new(place)?;
            // SAFETY: all-zero is a valid value of this plain structure.
            let mut told: libc::statfs = unsafe { std::mem::zeroed() };
            // SAFETY: a terminated path and room for the answer.
            let there = unsafe { libc::statfs(path.as_ptr(), &raw mut told) } == 0;
            if there && CGROUP.contains(&told.f_type) {
                let group = Path::new(place).join(format!("snowshed-test-{}", std::process::id()));
                fs::create_dir(&group).with_context(|| format!("create {}", group.display()))?;
                return Ok(Self(group));
            }
        }
        bail!("no cgroup file system is mounted: this test cannot run here")
    }

    fn take(&self, child: &Child) -> anyhow::Result<()> {
        fs::write(self.0.join("cgroup.procs"), child.pid().to_string()).context("move into the cgroup")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = process::wait_until("an empty cgroup", BOUND, || Ok(fs::remove_dir(&self.0).ok()));
        if let Err(error) = gone {
            eprintln!("{}: {error:#}", self.0.display());
        }
    }
}

#[test]
fn by_cgroup() -> anyhow::Result<()> {
    process::require_root("this test (cgroups, kernel programs)")?;
    let folder = tempfile::tempdir()?;
    let group = Group::new()?;
    let inside = sleeper(folder.path(), "snow-inside")?;
    let _outside = sleeper(folder.path(), "snow-outside")?;
    group.take(&inside)?;
    let name = group.0.file_name().and_then(|name| name.to_str()).context("its name")?;
    let agent = Agent::start(folder.path(), AgentPorts::free()?, &["--cgroup", &format!("/{name}")])?;
    wait_for(&agent, "the process inside", &[&inside])?;
    let later = sleeper(folder.path(), "snow-later")?;
    group.take(&later)?;
    wait_for(&agent, "the one that moved in", &[&inside, &later])?;
    ensure!(agent.get("/api/v1/status")?["targets"].as_array().is_some_and(|targets| targets.len() == 2));
    Ok(())
}
