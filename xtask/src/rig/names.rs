//! A real resolver (dnsmasq) that knows one name, and programs that ask it and no other.
//!
//! Invariant: the machine's own `/etc/resolv.conf` is not touched: who asks sees another in a mount namespace of its own.

use super::Hosts;
use crate::process::{self, Child, Spawn};
use anyhow::{Context as _, ensure};
use std::{ffi::OsString, fs, path::Path, time::Duration};

/// The name that it knows.
pub const NAME: &str = "prices.test";

/// Puts another file in the place of the resolver configuration, and becomes the program.
const ASKING: &str = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";

/// A running resolver.
#[derive(Debug)]
pub struct Names {
    child: Child,
}

impl Names {
    /// Starts it on one of two hosts, where it tells that host's own address; or, if `knows` is not so, refuses to tell.
    ///
    /// # Errors
    /// It does not start within 10 s.
    pub fn start(hosts: &Hosts, host: usize, logs: &Path, knows: bool) -> anyhow::Result<Self> {
        let own = &hosts.addresses[host];
        let mut arguments = vec![
            "dnsmasq".to_owned(),
            "--keep-in-foreground".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--no-resolv".to_owned(),
            "--no-hosts".to_owned(),
            "--bind-interfaces".to_owned(),
            "--user=root".to_owned(),
            "--pid-file".to_owned(),
            "--log-facility=-".to_owned(),
            format!("--listen-address={own}"),
        ];
        if knows {
            arguments.push(format!("--address=/{NAME}/{own}"));
            // Or it refuses to tell that the name has no other kind of address.
            arguments.push(format!("--local=/{NAME}/"));
        }
        let child = hosts.spawn(host, "dnsmasq").args(arguments).start(logs)?;
        process::wait_until("dnsmasq to start", Duration::from_secs(10), || {
            Ok(child.errors().contains("started").then_some(()))
        })?;
        Ok(Self { child })
    }

    /// From now on it answers nothing, until it ends or is told to go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn fall_silent(&self) -> anyhow::Result<()> {
        ensure!(process::signal(self.child.pid(), libc::SIGSTOP)?, "dnsmasq is gone");
        Ok(())
    }

    /// It answers again.
    ///
    /// # Errors
    /// It is gone.
    pub fn speak_again(&self) -> anyhow::Result<()> {
        ensure!(process::signal(self.child.pid(), libc::SIGCONT)?, "dnsmasq is gone");
        Ok(())
    }
}

/// Has a program ask the resolver at this address: its arguments follow.
///
/// # Errors
/// The file with the address cannot be written.
pub fn asking(spawn: Spawn, resolver: &str, folder: &Path) -> anyhow::Result<Spawn> {
    let file = folder.join("resolv.conf");
    fs::write(&file, format!("nameserver {resolver}\n")).with_context(|| format!("write {}", file.display()))?;
    let words = ["unshare", "--mount", "sh", "-c", ASKING].map(OsString::from);
    Ok(spawn.args(words).args([file.into_os_string()]))
}
