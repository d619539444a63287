//! Lost segments between two hosts: counted for the right process, with the right addresses.
//!
//! The hosts are network namespaces with a pair of virtual interfaces; the receiver's firewall drops at random.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::{net::SocketAddr, process::Command, time::Duration};
use xtask::{
    process::{self, Spawn},
    rig::{Agent, AgentPorts, interpreter, script},
};

const PORT: u16 = 5201;
const SENDER: &str = "198.18.77.1";
const RECEIVER: &str = "198.18.77.2";

/// Two hosts that go away with this value.
struct Hosts {
    sender: String,
    receiver: String,
}

impl Hosts {
    fn make() -> anyhow::Result<Self> {
        let name = |side: &str| format!("snowshed-{side}-{}", std::process::id());
        let hosts = Self { sender: name("a"), receiver: name("b") };
        let (near, far) = (format!("sa{}", std::process::id()), format!("sb{}", std::process::id()));
        ip(&["netns", "add", &hosts.sender])?;
        ip(&["netns", "add", &hosts.receiver])?;
        ip(&["link", "add", &near, "netns", &hosts.sender, "type", "veth", "peer", &far, "netns", &hosts.receiver])?;
        for (host, link, address) in [(&hosts.sender, &near, SENDER), (&hosts.receiver, &far, RECEIVER)] {
            ip(&["-n", host, "address", "add", &format!("{address}/24"), "dev", link])?;
            // One segment a packet: a link that carries 64 KB at once loses a dozen packets of 24 MB, or three.
            ip(&["-n", host, "link", "set", link, "gso_max_segs", "1"])?;
            ip(&["-n", host, "link", "set", link, "up"])?;
        }
        let port = PORT.to_string();
        let rule = ["-A", "INPUT", "-p", "tcp", "--sport", &port, "-m", "statistic", "--mode", "random"];
        let drop = ["--probability", "0.03", "-j", "DROP"];
        let inside = format!("--net=/run/netns/{}", hosts.receiver);
        run(Command::new("nsenter").arg(inside).arg("iptables").args(rule).args(drop))?;
        Ok(hosts)
    }

    /// A Python script of the tests on one of the hosts. Not by `ip netns exec`, which hides tracefs.
    fn spawn(&self, host: &str, name: &str, arguments: &[&str]) -> Spawn {
        let program = script(&format!("{name}.py")).display().to_string();
        let inside = format!("--net=/run/netns/{host}");
        Spawn::new(name, "nsenter").args([inside.as_str(), interpreter(), &program]).args(arguments)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.sender, &self.receiver] {
            // Half-made hosts may be missing.
            ip(&["netns", "delete", host]).ok();
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// What the kernel itself has counted on that host.
fn segments_resent(pid: u32) -> anyhow::Result<u64> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/snmp")).context("snmp")?;
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("Tcp:")).map(|line| line.split(' ').collect()).collect();
    let [names, values] = rows.as_slice() else { bail!("no table of TCP in {table}") };
    let column = names.iter().position(|name| *name == "RetransSegs").context("no RetransSegs")?;
    values.get(column).and_then(|value| value.parse().ok()).context("no value for RetransSegs")
}

#[test]
fn retransmits_are_counted_with_their_addresses() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let hosts = Hosts::make()?;
    let port = PORT.to_string();
    let mut sender = hosts.spawn(&hosts.sender, "send", &[SENDER, &port, "6"]).start(folder.path())?;
    sender.wait_line("listening", Duration::from_secs(15))?;
    let record = folder.path().join("record.jsonl");
    let (pid, file) = (sender.pid().to_string(), record.display().to_string());
    let mut agent = Agent::start(folder.path(), AgentPorts::free()?, &["--pid", &pid, "--record", &file])?;
    let mut receiver = hosts.spawn(&hosts.receiver, "receive", &[SENDER, &port]).start(folder.path())?;
    let line = receiver.wait_line("received ", Duration::from_secs(60))?;
    let words: Vec<&str> = line.split(' ').collect();
    ensure!(words.get(2) == Some(&"6291456"), "{line}");
    let peer: SocketAddr = format!("{RECEIVER}:{}", words[1]).parse().context("receiver's port")?;
    let local: SocketAddr = format!("{SENDER}:{PORT}").parse().context("sender's address")?;
    let resent = segments_resent(sender.pid())?;
    ensure!(resent > 40, "the firewall dropped too little to say anything: {resent} segments resent");

    let counted = process::wait_until("retransmits to be counted", Duration::from_secs(5), || {
        let label = format!("pid=\"{pid}\"");
        Ok(agent.metric("snowshed_target_retransmits_total", &label)?.filter(|count| *count > 0.0))
    })?;
    // Read again, and after it: the last segments may have been resent in between.
    let resent = segments_resent(sender.pid())?;
    ensure!(counted <= resent as f64, "{counted} counted, {resent} by the kernel's own count");
    agent.child().stop(Duration::from_secs(5))?;
    let text = std::fs::read_to_string(&record).context("record")?;
    let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let seen: Vec<Value> =
        all.map(|mut line| line["observation"].take()).filter(|o| o["type"] == "retransmit").collect();
    let mine: Vec<&Value> = seen.iter().filter(|seen| seen["pid"] == sender.pid()).collect();
    ensure!(mine.len() > 40, "{} retransmits recorded, {resent} segments resent", mine.len());
    for seen in mine {
        ensure!(
            seen["local"] == local.to_string() && seen["peer"] == peer.to_string(),
            "{seen}, not {local} to {peer}"
        );
    }
    Ok(())
}
