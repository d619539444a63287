//! Redis, in a folder of its own, without snapshots unless they are asked for.

use crate::process::{self, Child, Spawn};
use anyhow::ensure;
use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

/// A running one.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Redis {
    /// Starts it with these further arguments; its logs go to `logs`, what it keeps to `folder`.
    ///
    /// # Errors
    /// It is missing, or does not listen within 30 s.
    pub fn start(logs: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let (address, port) = (process::loopback(port), port.to_string());
        let spawn = Spawn::new("redis", "redis-server").args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        let mut child = spawn.args(["--dir"]).args([folder]).args(arguments.iter().copied()).start(logs)?;
        process::wait_until("redis", Duration::from_secs(30), || {
            ensure!(child.ended()?.is_none(), "redis ended: {}", child.output());
            Ok(TcpStream::connect(address).ok())
        })?;
        Ok(Self { child, address })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}
