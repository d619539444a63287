//! A running `snowshed run`, and what its API says.

use super::http;
use crate::process::{self, Child, Spawn};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, time::Duration};

/// Ports that are given to the agent before it starts, so that its peers can be started first.
#[derive(Clone, Copy, Debug)]
pub struct AgentPorts {
    /// API.
    pub listen: u16,
    /// OTLP over gRPC.
    pub otlp_grpc: u16,
    /// OTLP over HTTP.
    pub otlp_http: u16,
}

impl AgentPorts {
    /// Free ones.
    ///
    /// # Errors
    /// The kernel has none left.
    pub fn free() -> anyhow::Result<Self> {
        let [listen, otlp_grpc, otlp_http] = process::free_ports()?;
        Ok(Self { listen, otlp_grpc, otlp_http })
    }

    /// The base URL that a guard reports to.
    #[must_use]
    pub fn guard_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen)
    }

    /// The URL that spans go to.
    #[must_use]
    pub fn otlp_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.otlp_grpc)
    }

    /// The URL that spans go to over HTTP.
    #[must_use]
    pub fn otlp_http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.otlp_http)
    }

    fn arguments(self) -> [String; 7] {
        let address = |port| format!("127.0.0.1:{port}");
        let [api, grpc, http] = [self.listen, self.otlp_grpc, self.otlp_http].map(address);
        ["run".into(), "--listen".into(), api, "--otlp-grpc".into(), grpc, "--otlp-http".into(), http]
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    /// Where its API listens.
    pub listen: SocketAddr,
    /// Where it takes spans over HTTP.
    pub otlp_http: SocketAddr,
    /// Where it takes spans over gRPC, if that port was free.
    pub otlp_grpc: Option<SocketAddr>,
}

impl Agent {
    /// Starts `snowshed run` with these further arguments and waits until it is ready.
    ///
    /// # Errors
    /// It is not built or does not come up.
    pub fn start(folder: &Path, ports: AgentPorts, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(folder, ports, arguments, |spawn| spawn)
    }

    /// As [`Agent::start`], with more to say about the process.
    ///
    /// # Errors
    /// It is not built or does not come up.
    pub fn start_with(
        folder: &Path,
        ports: AgentPorts,
        arguments: &[&str],
        more: impl FnOnce(Spawn) -> Spawn,
    ) -> anyhow::Result<Self> {
        let spawn = Spawn::new("snowshed", process::binary("snowshed", "snowshed-agent")?);
        Self::ready(more(spawn.args(ports.arguments()).args(arguments)).start(folder)?)
    }

    /// As [`Agent::start`], through another program that runs the rest of its command line, as `setpriv …` does.
    ///
    /// # Errors
    /// It is not built or does not come up.
    pub fn start_through(
        wrapper: Spawn,
        binary: &Path,
        folder: &Path,
        ports: AgentPorts,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        Self::ready(wrapper.args([binary]).args(ports.arguments()).args(arguments).start(folder)?)
    }

    /// Waits for the line of JSON that says where it listens.
    fn ready(mut child: Child) -> anyhow::Result<Self> {
        let line = child.wait_line("{", Duration::from_secs(20))?;
        let bound: Value = serde_json::from_str(&line).with_context(|| format!("agent's first line {line:?}"))?;
        let address = |field: &str| {
            let address = bound[field].as_str().and_then(|address| address.parse().ok());
            address.with_context(|| format!("no {field} in the agent's first line {line:?}"))
        };
        let (listen, otlp_http, otlp_grpc) = (address("listen")?, address("otlp_http")?, address("otlp_grpc").ok());
        Ok(Self { listen, otlp_http, otlp_grpc, child })
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

    /// GET of a JSON document.
    ///
    /// # Errors
    /// No answer, or another status than 200.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let reply = http::get(self.listen, path)?;
        if reply.status != 200 {
            bail!("GET {path}: {} {}", reply.status, reply.text());
        }
        reply.json()
    }

    /// The items of a list.
    ///
    /// # Errors
    /// See [`Agent::get`].
    pub fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.get(path)?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("GET {path}: no items in {list}"),
        }
    }

    /// All incidents, open and closed.
    ///
    /// # Errors
    /// See [`Agent::get`].
    pub fn incidents(&self) -> anyhow::Result<Vec<Value>> {
        self.items("/api/v1/incidents")
    }

    /// Waits for an incident that `is_it`.
    ///
    /// # Errors
    /// None comes within `bound`; the message shows those that are there.
    pub fn wait_incident(
        &self,
        what: &str,
        bound: Duration,
        mut is_it: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Vec::new();
        let waited = process::wait_until(what, bound, || {
            last = self.incidents()?;
            Ok(last.iter().find(|incident| is_it(incident)).cloned())
        });
        waited.with_context(|| format!("incidents: {}", Value::from(last.clone())))
    }

    /// Waits for a cause to be named, and then a moment for the names of the code, which are looked up after that.
    ///
    /// # Errors
    /// No cause is named within `bound`, or it has no frames five seconds later.
    pub fn wait_named(&self, bound: Duration) -> anyhow::Result<Value> {
        self.wait_incident("a cause to be named", bound, |incident| incident["verdict"] == "named")?;
        self.wait_incident("the names of the code", Duration::from_secs(5), |incident| {
            let frames = &incident["causes"][0]["site"]["frames"];
            incident["verdict"] == "named" && frames.as_array().is_some_and(|frames| !frames.is_empty())
        })
    }

    /// The descriptors of one process.
    ///
    /// # Errors
    /// See [`Agent::get`]; or the process is not watched.
    pub fn fds(&self, pid: u32) -> anyhow::Result<Value> {
        let items = self.items("/api/v1/fds")?;
        items.into_iter().find(|item| item["pid"] == pid).with_context(|| format!("fds: pid {pid} is not on the list"))
    }

    /// A metric's value, summed over its label sets that contain `label` (empty: all).
    ///
    /// # Errors
    /// No answer.
    pub fn metric(&self, name: &str, label: &str) -> anyhow::Result<Option<f64>> {
        let text = http::get(self.listen, "/metrics")?.text();
        let samples = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let labelled = rest.starts_with('{') || rest.starts_with(' ');
            (labelled && rest.contains(label)).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        Ok(samples.reduce(|sum, value| sum + value))
    }
}

/// How a command of the `snowshed` binary ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs `snowshed` with these arguments to its end.
///
/// # Errors
/// It is not built, or does not end within `bound`.
pub fn snowshed(arguments: &[&str], bound: Duration) -> anyhow::Result<Ran> {
    let folder = tempfile::tempdir().context("folder for a command")?;
    let program = process::binary("snowshed", "snowshed-agent")?;
    let mut child = Spawn::new("snowshed", program).args(arguments).start(folder.path())?;
    let status = child.wait_end(bound).with_context(|| format!("snowshed {}", arguments.join(" ")))?;
    Ok(Ran { code: status.code(), output: child.output(), errors: child.errors() })
}
