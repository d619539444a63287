//! Transcoder, load and agent, put together as the end-to-end tests need them.

use super::{Agent, AgentPorts, SLO, Transcoder, TranscoderOptions};
use crate::{
    load::{Load, Log, Plan},
    process,
};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

/// A service under load that is watched.
#[derive(Debug)]
pub struct Scene {
    // In the order in which they are to end.
    load: Load,
    /// The agent.
    pub agent: Agent,
    /// The service.
    pub service: Transcoder,
    folder: TempDir,
}

impl Scene {
    /// Starts all three; `change` may alter the load, `arguments` are added to the agent's command line.
    ///
    /// # Errors
    /// A binary is missing or does not come up.
    pub fn start(arguments: &[&str], change: impl FnOnce(Plan) -> Plan) -> anyhow::Result<Self> {
        process::require_root("this test")?;
        let folder = tempfile::Builder::new().prefix("snowshed-e2e-").tempdir().context("test's folder")?;
        let ports = AgentPorts::free()?;
        let options = TranscoderOptions {
            otlp: Some(ports.otlp_url()),
            guard: Some(ports.guard_url()),
            descriptors: Some(1024),
            ..TranscoderOptions::default()
        };
        let service = Transcoder::start(folder.path(), &options)?;
        let objective = folder.path().join("slo.yaml");
        std::fs::write(&objective, SLO).context("write slo.yaml")?;
        let (pid, objective) = (service.pid().to_string(), objective.display().to_string());
        let all = [&["--pid", pid.as_str(), "--slo", objective.as_str()], arguments].concat();
        let agent = Agent::start(folder.path(), ports, &all)?;
        let plan = Plan {
            rate: Some(2.0),
            pace: 2.0,
            length: Duration::from_secs(300),
            timeout: Duration::from_secs(15),
            // Trace ids that no other run uses.
            seed: u64::from(service.pid()),
            ..Plan::new(service.address())
        };
        let load = Load::start(change(plan))?;
        Ok(Self { load, agent, service, folder })
    }

    /// The load generator's own log.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        self.load.log()
    }

    /// A folder that goes away with the scene.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until this many requests have ended since `from` records had.
    ///
    /// # Errors
    /// They do not end within 30 s.
    pub fn wait_requests(&self, from: usize, more: usize) -> anyhow::Result<()> {
        let log = self.load.log();
        process::wait_until("requests to end", Duration::from_secs(30), || {
            Ok((log.ended() >= from + more).then_some(()))
        })
    }

    /// Every trace id of the incident's first cause was sent by the load generator, and there are some.
    ///
    /// # Errors
    /// There is none, or a foreign one; the message names it.
    pub fn check_traces(&self, incident: &Value) -> anyhow::Result<Vec<String>> {
        let log = self.load.log();
        let listed = incident["causes"][0]["trace_ids"].as_array();
        let ids: Vec<String> = listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        if ids.is_empty() {
            bail!("no trace id is named: {incident}");
        }
        match ids.iter().find(|id| !log.sent(id)) {
            Some(foreign) => bail!("trace {foreign} was never sent"),
            None => Ok(ids),
        }
    }
}
