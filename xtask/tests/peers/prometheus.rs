//! A real Prometheus with our rules loaded, and what it makes of them and of the dashboard.

use crate::expressions;
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use xtask::{
    process::{self, Child, Spawn, loopback},
    program,
    rig::http,
};

/// The rules files that a user is told to load.
pub(crate) fn rules() -> anyhow::Result<Vec<PathBuf>> {
    files(".rules.yml")
}

fn files(ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let folder = process::root().join("dashboards/prometheus");
    let mut found = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no {ending} in {}", folder.display());
    Ok(found)
}

/// A running Prometheus.
#[derive(Debug)]
pub(crate) struct Prometheus {
    // Held, so that it ends with this.
    _child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts it with our rules and these targets in the job `snowshed`, scraped every second.
    pub(crate) fn start(folder: &Path, targets: &[SocketAddr]) -> anyhow::Result<Self> {
        let quoted: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let rules: Vec<String> = rules()?.iter().map(|path| format!("'{}'", path.display())).collect();
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  \
             - {{job_name: snowshed, static_configs: [{{targets: [{}]}}]}}\n",
            rules.join(", "),
            quoted.join(", ")
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, configuration).context("write prometheus.yml")?;
        let [port] = process::free_ports()?;
        let address = loopback(port);
        let mut child = Spawn::new("prometheus", "prometheus")
            .args([
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
                format!("--web.listen-address={address}"),
                // Off by default in Prometheus, which then drops them at the scrape.
                "--enable-feature=exemplar-storage".to_owned(),
            ])
            .start(folder)?;
        process::wait_until("Prometheus to be ready", Duration::from_secs(30), || {
            if let Some(status) = child.ended()? {
                bail!("Prometheus ended with {status}: {}", child.errors());
            }
            Ok(http::get(address, "/-/ready").ok().filter(|reply| reply.status == 200))
        })?;
        Ok(Self { _child: child, address })
    }

    /// The samples that an expression gives now.
    pub(crate) fn query(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        list(self.ask("query", expression)?["result"].take(), expression)
    }

    /// The exemplars of the series that an expression selects, each series with its own, of all time.
    pub(crate) fn exemplars(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        list(self.ask("query_exemplars", expression)?, expression)
    }

    /// The data of an answer.
    fn ask(&self, what: &str, expression: &str) -> anyhow::Result<Value> {
        let reply = http::get(self.address, &format!("/api/v1/{what}?query={}", percent(expression)))?;
        let mut answer = reply.json()?;
        if answer["status"] != "success" {
            bail!("{expression}: {}", answer["error"]);
        }
        Ok(answer["data"].take())
    }

    /// Every rule as Prometheus sees it.
    pub(crate) fn rules(&self) -> anyhow::Result<Vec<Value>> {
        let answer = http::get(self.address, "/api/v1/rules")?.json()?;
        let groups = answer["data"]["groups"].as_array().context("no groups of rules")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }
}

fn list(data: Value, expression: &str) -> anyhow::Result<Vec<Value>> {
    match data {
        Value::Array(items) => Ok(items),
        other => bail!("{expression}: not a list: {other}"),
    }
}

/// An expression as it may stand in a URL.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
        url
    })
}

#[test]
fn promtool_accepts_the_rules() -> anyhow::Result<()> {
    for path in rules()? {
        let told = program::output(Command::new("promtool").args(["check", "rules"]).arg(&path))?;
        ensure!(told.contains("SUCCESS"), "{told}");
    }
    Ok(())
}

#[test]
fn the_rules_fire_as_their_own_tests_say() -> anyhow::Result<()> {
    for path in files(".rules.test.yml")? {
        program::output(Command::new("promtool").args(["test", "rules"]).arg(&path))?;
    }
    Ok(())
}

#[test]
fn every_panel_is_understood() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let prometheus = Prometheus::start(folder.path(), &[])?;
    ensure!(prometheus.query("rate(").is_err(), "nonsense is accepted, so this test shows nothing");
    for panel in expressions::panels()? {
        prometheus.query(&panel.expression).with_context(|| format!("panel {:?}", panel.title))?;
    }
    Ok(())
}
