//! A real Alertmanager, alone (no cluster), with its data in a folder that goes away.

use super::http;
use crate::process::{self, Child, Spawn, loopback};
use anyhow::Context as _;
use serde_json::Value;
use std::{net::SocketAddr, path::Path, time::Duration};

/// It takes alerts and sends none on: what it received is read from its API.
const CONFIGURATION: &str = "route: {receiver: nobody, group_wait: 1s}\nreceivers: [{name: nobody}]\n";

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    child: Child,
    address: SocketAddr,
}

impl Alertmanager {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// `prometheus-alertmanager` is not installed or does not come up.
    pub fn start(folder: &Path, mark: Option<(&str, &str)>) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let configuration = folder.join("alertmanager.yml");
        std::fs::write(&configuration, CONFIGURATION).context("write alertmanager.yml")?;
        let mut spawn = Spawn::new("prometheus-alertmanager", "prometheus-alertmanager").args([
            format!("--config.file={}", configuration.display()),
            format!("--storage.path={}", folder.join("alertmanager").display()),
            format!("--web.listen-address={}", loopback(port)),
            "--cluster.listen-address=".to_owned(),
        ]);
        if let Some((key, value)) = mark {
            spawn = spawn.env(key, value);
        }
        let mut child = spawn.start(folder)?;
        let address = loopback(port);
        process::wait_until("Alertmanager to be ready", Duration::from_secs(15), || {
            if let Some(status) = child.ended()? {
                anyhow::bail!("Alertmanager ended with {status}: {}", child.errors());
            }
            Ok(http::get(address, "/-/ready").ok().filter(|reply| reply.status == 200))
        })?;
        Ok(Self { child, address })
    }

    /// The URL for `--alertmanager`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The alerts that it holds as firing, verbatim.
    ///
    /// # Errors
    /// It does not answer.
    pub fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        let answer = http::get(self.address, "/api/v2/alerts")?.json()?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }
}
