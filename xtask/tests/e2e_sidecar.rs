//! As a sidecar: the agent in a container of its own beside a service of another user, in one pod.
//!
//! Three pods: one with what `deploy/kubernetes` asks for; one with the two capabilities of BPF and nothing else, not
//! even tracefs; and one whose runtime refuses `bpf()`.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};
use xtask::{
    process::{self, Spawn},
    rig::{interpreter, script},
};

/// What `deploy/kubernetes/sidecar.yaml` grants.
const GRANTED: &str = "bpf,perfmon,sys_ptrace,dac_read_search";

/// What the pod says in the end.
fn pod(capabilities: &str, tracefs: &str, bpf: &str) -> anyhow::Result<Value> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let open = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    open(folder.path())?;
    // The service is another user's, who may not read the checkout.
    let copy = |from: &std::path::Path, name: &str| -> anyhow::Result<String> {
        let to = folder.path().join(name);
        fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
        open(&to)?;
        Ok(to.display().to_string())
    };
    let kubelet = copy(&script("pod.py"), "pod.py")?;
    let server = copy(&script("server.py"), "server.py")?;
    let agent = copy(&process::binary("snowshed", "snowshed-agent")?, "snowshed")?;
    let namespaces = ["-p", "-n", "-m", "-f", "--kill-child", "--mount-proc", interpreter(), &kubelet, &agent, &server];
    let mut pod =
        Spawn::new("pod", "unshare").args(namespaces).args([capabilities, tracefs, bpf]).start(folder.path())?;
    let line = pod.wait_line("{", Duration::from_secs(170))?;
    serde_json::from_str(&line).context(line)
}

fn stopped_clean(said: &Value) -> anyhow::Result<()> {
    ensure!(said["code"] == 0, "the agent ended with {}", said["code"]);
    ensure!(said["stop_seconds"].as_f64().is_some_and(|seconds| seconds < 5.0), "{}", said["stop_seconds"]);
    Ok(())
}

#[test]
fn a_sidecar_names_the_leak_of_its_pod() -> anyhow::Result<()> {
    let said = pod(GRANTED, "tracefs", "bpf")?;
    for probe in said["status"]["probes"].as_array().context("no probes")? {
        ensure!(probe["tier"] == "full", "{probe}");
    }
    ensure!(said["incident"]["causes"][0]["kind"] == "fd_leak", "{}", said["incident"]);
    let frames = said["incident"]["causes"][0]["site"]["frames"].as_array().map_or(0, Vec::len);
    ensure!(frames > 0, "no frames: {}", said["incident"]);
    ensure!(said["fds"][0]["live"] == said["live"], "{} are open, {} are told", said["live"], said["fds"]);
    stopped_clean(&said)
}

#[test]
fn a_bare_sidecar_lists_what_another_user_has_open() -> anyhow::Result<()> {
    // Without CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE the service's /proc/PID/fd is closed to the agent.
    let said = pod("bpf,perfmon", "bare", "bpf")?;
    for probe in said["status"]["probes"].as_array().context("no probes")? {
        let tier = match probe["name"].as_str() {
            Some("fd") => "reduced",
            // What the hooks of `fd` would see for it is missing.
            Some("epoll" | "dns") => "off",
            _ => "full",
        };
        ensure!(probe["tier"] == tier, "{probe}");
        if tier != "full" {
            let remedy = probe["remedy"].as_str().unwrap_or_default();
            ensure!(remedy.contains("tracefs"), "tracefs is what is missing: {probe}");
        }
    }
    ensure!(said["fds"][0]["live"] == said["live"], "{} are open, {} are told", said["live"], said["fds"]);
    stopped_clean(&said)
}

#[test]
fn a_sidecar_whose_runtime_refuses_bpf_says_so_and_lists_what_is_open() -> anyhow::Result<()> {
    let said = pod(GRANTED, "bare", "nobpf")?;
    for probe in said["status"]["probes"].as_array().context("no probes")? {
        // The host layer has no kernel programs: nothing was refused to it.
        if probe["name"] == "host" {
            ensure!(probe["tier"] == "full", "{probe}");
            continue;
        }
        ensure!(probe["tier"] != "full", "{probe}");
        let remedy = probe["remedy"].as_str().unwrap_or_default();
        ensure!(remedy.contains("seccomp"), "the capabilities are there, the filter refuses: {probe}");
    }
    ensure!(said["fds"][0]["live"] == said["live"], "{} are open, {} are told", said["live"], said["fds"]);
    stopped_clean(&said)
}
