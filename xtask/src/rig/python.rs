//! A foreign service: Python's own HTTP server, with or without a leak. It knows nothing of Snowshed.

use crate::process::{self, Child, Spawn, loopback};
use anyhow::Context as _;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Python's path; Debian's own where it is there.
#[must_use]
pub fn interpreter() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// A script of the tests' support folder.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    process::root().join("xtask/tests/support").join(name)
}

/// A running server.
#[derive(Debug)]
pub struct PythonServer {
    child: Child,
    address: SocketAddr,
}

impl PythonServer {
    /// Starts it; with `leaks`, each request opens a file and forgets it.
    ///
    /// # Errors
    /// Python is missing or the server does not come up.
    pub fn start(folder: &Path, leaks: bool) -> anyhow::Result<Self> {
        let mode = if leaks { "leak" } else { "clean" };
        let script = script("server.py").display().to_string();
        let mut child = Spawn::new("python-server", interpreter()).args([script.as_str(), "0", mode]).start(folder)?;
        let line = child.wait_line("listening on ", Duration::from_secs(15))?;
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        let address = loopback(port.with_context(|| format!("no port in {line:?}"))?);
        Ok(Self { child, address })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
