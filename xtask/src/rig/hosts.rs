//! Two hosts: network namespaces with a pair of virtual interfaces between them, on which packets can be lost.
//!
//! Invariant: they go away with the value. Loss is the firewall's, at random, on what comes in at one of the two.

use crate::{process::Spawn, program};
use anyhow::Context as _;
use std::{fs::File, os::fd::AsRawFd as _, process::Command};

/// Addresses of the two, for documentation and benchmarks only (RFC 2544).
const NET: &str = "198.18";

/// The two.
#[derive(Debug)]
pub struct Hosts {
    /// Names of the namespaces.
    names: [String; 2],
    /// Their addresses.
    pub addresses: [String; 2],
}

impl Hosts {
    /// Makes them; `number` (1 to 250) keeps several pairs apart.
    ///
    /// # Errors
    /// No right to, or `ip` is missing.
    pub fn make(number: u8) -> anyhow::Result<Self> {
        let own = std::process::id();
        let hosts = Self {
            names: ["a", "b"].map(|side| format!("snowshed-{side}-{own}-{number}")),
            addresses: [1, 2].map(|side| format!("{NET}.{number}.{side}")),
        };
        let links = ["a", "b"].map(|side| format!("s{side}{}n{number}", own % 100_000));
        for name in &hosts.names {
            ip(&["netns", "add", name])?;
        }
        let [near, far] = &hosts.names;
        ip(&["link", "add", &links[0], "netns", near, "type", "veth", "peer", &links[1], "netns", far])?;
        for ((host, link), address) in hosts.names.iter().zip(&links).zip(&hosts.addresses) {
            ip(&["-n", host, "address", "add", &format!("{address}/24"), "dev", link])?;
            // One segment a packet: a link that carries 64 KB at once loses too few packets to say anything.
            ip(&["-n", host, "link", "set", link, "gso_max_segs", "1"])?;
            ip(&["-n", host, "link", "set", link, "up"])?;
            ip(&["-n", host, "link", "set", "lo", "up"])?;
        }
        Ok(hosts)
    }

    /// The namespace of one of the two (0 or 1), opened.
    ///
    /// # Errors
    /// It is gone.
    pub fn namespace(&self, host: usize) -> anyhow::Result<File> {
        let path = format!("/run/netns/{}", self.names[host]);
        File::open(&path).with_context(|| format!("open {path}"))
    }

    /// A child on one of the two. Not by `ip netns exec`, which hides tracefs.
    #[must_use]
    pub fn spawn(&self, host: usize, name: &str) -> Spawn {
        Spawn::new(name, "nsenter").args([format!("--net=/run/netns/{}", self.names[host])])
    }

    /// From now on this share of the TCP packets that come in at one of the two is lost.
    ///
    /// # Errors
    /// `iptables` is missing or refuses.
    pub fn lose(&self, host: usize, share: f64) -> anyhow::Result<()> {
        let share = share.to_string();
        let rule = ["iptables", "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random"];
        let inside = format!("--net=/run/netns/{}", self.names[host]);
        let mut command = Command::new("nsenter");
        command.arg(inside).args(rule).args(["--probability", &share, "-j", "DROP"]);
        program::output(&mut command).map(drop)
    }
}

impl Hosts {
    /// From now on nothing is lost any more of what comes in at one of the two.
    ///
    /// # Errors
    /// As [`Hosts::lose`].
    pub fn mend(&self, host: usize) -> anyhow::Result<()> {
        let inside = format!("--net=/run/netns/{}", self.names[host]);
        program::output(Command::new("nsenter").arg(inside).args(["iptables", "-F", "INPUT"])).map(drop)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // Half-made hosts may be missing.
            ip(&["netns", "delete", name]).ok();
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    program::output(Command::new("ip").args(arguments)).map(drop)
}

/// Moves the calling thread to a host; connections that it makes from now on begin there.
///
/// # Errors
/// No right to.
pub fn enter(namespace: &File) -> anyhow::Result<()> {
    // SAFETY: setns takes a descriptor, which is open for the length of the call, and a flag; it concerns this thread.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error()).context("enter a network namespace");
    }
    Ok(())
}
