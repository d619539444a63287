//! What `doctor` and the status say of each probe is true: as root, with two capabilities and with none.
//!
//! A probe that is said to be full tells events of a process that does a little of everything; one that is reduced says
//! what serves instead, and it does; one that is off tells nothing. `doctor` and the running agent say the same.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};
use xtask::{
    process::{self, Child, Spawn},
    rig::{Agent, AgentPorts, interpreter, script},
};

/// Whom the agent runs as where it is not root.
const AGENT: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(25);

/// A user's process with what is left to it of root's capabilities.
fn as_user(name: &str, user: u32, capabilities: &str) -> Spawn {
    let mut arguments = vec![format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    let sets = format!("-all{capabilities}");
    arguments.extend(["--bounding-set", "--inh-caps", "--ambient-caps"].iter().flat_map(|set| {
        // What is raised must be in the set before: ambient ones come last.
        [(*set).to_owned(), sets.clone()]
    }));
    Spawn::new(name, "setpriv").args(arguments).args(["--no-new-privs"])
}

/// A folder that any user may read, with the program and the victim in it.
struct Place {
    folder: tempfile::TempDir,
    snowshed: std::path::PathBuf,
    victim: std::path::PathBuf,
}

impl Place {
    fn make() -> anyhow::Result<Self> {
        process::require_root("this test (to become others)")?;
        let folder = tempfile::tempdir().context("test's folder")?;
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        open(folder.path())?;
        let copy = |from: &Path, name: &str| -> anyhow::Result<_> {
            let to = folder.path().join(name);
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
            open(&to)?;
            Ok(to)
        };
        let snowshed = copy(&process::binary("snowshed", "snowshed-agent")?, "snowshed-binary")?;
        let victim = copy(&script("busy.py"), "busy.py")?;
        Ok(Self { folder, snowshed, victim })
    }

    fn victim(&self, user: u32) -> anyhow::Result<Child> {
        let command = [self.victim.clone().into_os_string(), user.to_string().into()];
        let mut victim = Spawn::new("victim", interpreter()).args(command).start(self.folder.path())?;
        victim.wait_line("ready", PATIENCE)?;
        Ok(victim)
    }

    /// What `doctor` says in this tier, with its exit code.
    fn doctor(&self, tier: impl Fn(&str) -> Spawn, pid: u32) -> anyhow::Result<(Value, Option<i32>)> {
        let pid = pid.to_string();
        let command = tier("doctor").args([&self.snowshed]).args(["doctor", "--json", "--pid", &pid]);
        let mut doctor = command.start(self.folder.path())?;
        let code = doctor.wait_end(PATIENCE)?.code();
        let output = doctor.output();
        Ok((serde_json::from_str(&output).with_context(|| format!("{output}{}", doctor.errors()))?, code))
    }

    /// Runs the agent in this tier on a victim of `user`, and holds what it says of itself against what it does.
    /// Answers the tier of each probe.
    fn hold(&self, tier: impl Fn(&str) -> Spawn, user: u32) -> anyhow::Result<Vec<(String, String)>> {
        let victim = self.victim(user)?;
        let (doctor, code) = self.doctor(&tier, victim.pid())?;
        // Another user's process cannot be read without more capabilities: that is said, and only then.
        let closed = doctor["process"]["advice"].to_string().contains("/proc/PID/fd is closed");
        ensure!(closed == (of(&tiers_of(&doctor), "fd") == "reduced" && user != AGENT), "{}", doctor["process"]);
        let pid = victim.pid().to_string();
        let ports = AgentPorts::free()?;
        let mut agent =
            Agent::start_through(tier("snowshed"), &self.snowshed, self.folder.path(), ports, &["--pid", &pid])?;
        process::wait_until("the descriptors that are open", PATIENCE, || {
            let truth = process::descriptors(victim.pid())?.len();
            Ok(agent.fds(victim.pid()).is_ok_and(|record| record["live"] == truth).then_some(()))
        })?;
        let tiers = tiers_of(&doctor);
        for said in doctor["probes"].as_array().context("doctor names no probes")? {
            let name = said["name"].as_str().context("a probe without a name")?;
            ensure!(probe(&agent, name)?["tier"] == said["tier"], "doctor and status differ: {said}");
            match said["tier"].as_str() {
                Some("full") => {
                    let what = format!("the {name} probe, which is full, to tell something");
                    process::wait_until(&what, PATIENCE, || Ok(tells(&agent, name)?.then_some(())))?;
                }
                Some("reduced") => {
                    says_why(said, "serving ")?;
                    if name == "tcp" {
                        process::wait_until("the segments sent again, by sock_diag", PATIENCE, || {
                            let told = agent.metric("snowshed_target_retransmits_total", "")?;
                            Ok((told > Some(0.0)).then_some(()))
                        })?;
                    }
                }
                _ => says_why(said, "")?,
            }
        }
        for probe in agent.get("/api/v1/status")?["probes"].as_array().context("no probes")? {
            ensure!(probe["tier"] != "off" || probe["events"] == 0, "off, and yet it tells: {probe}");
        }
        let all = tiers.iter().all(|(_, tier)| tier == "full");
        ensure!(code == Some(i32::from(!all)), "doctor ended with {code:?} though it says {tiers:?}");
        let (ended, _) = agent.child().stop(Duration::from_secs(3))?;
        ensure!(ended.code() == Some(0), "{ended}");
        Ok(tiers)
    }
}

/// What the status says of one probe.
fn probe(agent: &Agent, name: &str) -> anyhow::Result<Value> {
    let mut status = agent.get("/api/v1/status")?;
    let probes = status["probes"].as_array_mut().context("no probes")?;
    let found = probes.iter_mut().find(|probe| probe["name"] == name);
    found.map(Value::take).with_context(|| format!("status: no probe {name}"))
}

fn tells(agent: &Agent, name: &str) -> anyhow::Result<bool> {
    let status = agent.get("/api/v1/status")?;
    let some = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    Ok(match name {
        // Both look and are not told: what they saw is the evidence.
        "host" => some(&status["host"]),
        "tasks" => some(&status["targets"][0]["tasks"]["threads"]),
        _ => probe(agent, name)?["events"].as_u64() > Some(0),
    })
}

fn says_why(said: &Value, holds: &str) -> anyhow::Result<()> {
    ensure!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty() && reason.contains(holds)), "{said}");
    ensure!(said["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "no remedy: {said}");
    Ok(())
}

fn tiers_of(doctor: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let probes = doctor["probes"].as_array().into_iter().flatten();
    probes.map(|probe| (text(&probe["name"]), text(&probe["tier"]))).collect()
}

fn of<'a>(tiers: &'a [(String, String)], name: &str) -> &'a str {
    tiers.iter().find(|(probe, _)| probe == name).map_or("", |(_, tier)| tier)
}

#[test]
fn as_root_every_probe_is_full_and_tells() -> anyhow::Result<()> {
    let place = Place::make()?;
    let tiers = place.hold(|name| Spawn::new(name, "env"), AGENT)?;
    ensure!(tiers.iter().all(|(_, tier)| tier == "full"), "{tiers:?}");
    Ok(())
}

#[test]
fn two_capabilities_are_enough_for_what_needs_no_tracefs() -> anyhow::Result<()> {
    let place = Place::make()?;
    // Another user's process, whose /proc/PID/fd is closed to the agent: the kernel lists what is open.
    let tiers = place.hold(|name| as_user(name, AGENT, ",+bpf,+perfmon"), 10001)?;
    for name in ["tcp", "memory", "tasks", "host"] {
        ensure!(of(&tiers, name) == "full", "{name}: {tiers:?}");
    }
    // Tracefs is root's alone, or is not mounted: system calls cannot be hooked.
    ensure!(of(&tiers, "fd") == "reduced" && of(&tiers, "epoll") == "off", "{tiers:?}");
    Ok(())
}

#[test]
fn without_any_capability_what_the_files_tell_is_told() -> anyhow::Result<()> {
    let place = Place::make()?;
    let tiers = place.hold(|name| as_user(name, AGENT, ""), AGENT)?;
    ensure!(of(&tiers, "host") == "full", "{tiers:?}");
    for name in ["fd", "tcp", "memory"] {
        ensure!(of(&tiers, name) == "reduced", "{name}: {tiers:?}");
    }
    ensure!(tiers.iter().all(|(name, tier)| name == "host" || tier != "full"), "{tiers:?}");
    Ok(())
}
