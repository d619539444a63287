//! What can be set: a TOML file, and flags that win over it.
//!
//! Invariant: the file is read whole or not at all: an unknown key, a wrong type or a value that makes no
//! sense is an error that names file, line and key. Each unit's settings are its own type, beside the unit.

use crate::{
    actuators, sinks,
    sources::{
        otlp,
        procfs::Selector,
        scrape::{self, Endpoint},
    },
    store,
};
use serde::{Deserialize, Serialize};
use snowshed_engine::{config::EngineConfig, model::Pid, slo};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// The largest file that is read, bytes.
const FILE: u64 = 1024 * 1024;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the workbench, the API and the guard's reports are served; loopback only.
    pub(crate) listen: SocketAddr,
    /// Where health and metrics are served besides; any address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_listen: Option<SocketAddr>,
    /// Where spans come in by gRPC.
    pub(crate) otlp_grpc: SocketAddr,
    /// Where spans come in by HTTP.
    pub(crate) otlp_http: SocketAddr,
    /// Processes by number.
    pub(crate) pid: Vec<Pid>,
    /// Processes by name.
    pub(crate) comm: Vec<String>,
    /// Processes by cgroup.
    pub(crate) cgroup: Vec<String>,
    /// Pages on which targets publish their own figures: Prometheus' text format, Go's `/debug/vars` or its
    /// `/debug/pprof/goroutine`; loopback only. Nothing else is ever asked.
    pub(crate) scrape: Vec<Endpoint>,
    /// Files with objectives.
    pub(crate) slo: Vec<PathBuf>,
    /// Where incidents and their audit trail are kept; nowhere if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where every observation is written for a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<PathBuf>,
    /// The most that such a recording may hold, bytes.
    pub(crate) record_max_bytes: u64,
    /// What observing may cost.
    pub(crate) overhead: snowshed_ebpf::Budget,
    /// The sources' own settings.
    pub(crate) sources: Sources,
    /// How much is kept in the state directory.
    pub(crate) store: store::Config,
    /// The deciding half.
    pub(crate) engine: EngineConfig,
    /// Alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alertmanager: Option<sinks::alertmanager::Config>,
    /// Incidents by webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<sinks::webhook::Config>,
    /// Incidents as OTLP log records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp_logs: Option<sinks::otlp_logs::Config>,
}

/// What can be set of the sources, each beside its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sources {
    /// Spans.
    pub(crate) otlp: otlp::forward::Config,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: loopback(9470),
            health_listen: None,
            otlp_grpc: loopback(4317),
            otlp_http: loopback(4318),
            pid: Vec::new(),
            comm: Vec::new(),
            cgroup: Vec::new(),
            scrape: Vec::new(),
            slo: Vec::new(),
            state_dir: None,
            record: None,
            record_max_bytes: 256 * 1024 * 1024,
            overhead: snowshed_ebpf::Budget::default(),
            sources: Sources::default(),
            store: store::Config::default(),
            engine: EngineConfig::default(),
            alertmanager: None,
            webhook: None,
            otlp_logs: None,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// `FILE:LINE: KEY: what is wrong`.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = read_bounded(path)?;
        toml::from_str(&text).map_err(|error| located(&text, &path.display().to_string(), &error))
    }

    /// Checks what no type can: addresses that must stay on loopback, actuators that must exist.
    ///
    /// # Errors
    /// The setting, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, address) in
            [("--listen", self.listen), ("--otlp-grpc", self.otlp_grpc), ("--otlp-http", self.otlp_http)]
        {
            if !address.ip().is_loopback() {
                return Err(format!(
                    "{name} {address}: beyond loopback this version serves only health and metrics (--health-listen)"
                ));
            }
        }
        self.overhead.check()?;
        self.store.check()?;
        self.sources.otlp.check(&[self.otlp_http, self.otlp_grpc])?;
        if self.scrape.len() > scrape::MOST {
            return Err(format!("scrape: {} pages; at most {} are asked", self.scrape.len(), scrape::MOST));
        }
        self.engine.check().map_err(|wrong| format!("engine.{wrong}"))?;
        for kind in &self.engine.enforce {
            actuators::named(&crate::render::wire_name(kind))?;
        }
        Ok(())
    }

    /// Reads the objectives that the configuration names.
    ///
    /// # Errors
    /// `FILE:LINE: FIELD: what is wrong`.
    pub(crate) fn read_slos(&mut self) -> Result<(), String> {
        for path in &self.slo {
            let text = read_bounded(path)?;
            let file = path.display().to_string();
            self.engine.slos.extend(slo::parse(&text, &file).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// Who is to be watched.
    pub(crate) fn selector(&self) -> Selector {
        Selector { pids: self.pid.clone(), comms: self.comm.clone(), cgroups: self.cgroup.clone() }
    }

    /// The sinks' settings.
    pub(crate) fn sinks(&self) -> sinks::Config {
        sinks::Config {
            alertmanager: self.alertmanager.clone(),
            webhook: self.webhook.clone(),
            otlp_logs: self.otlp_logs.clone(),
            state_dir: self.state_dir.clone(),
        }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let name = path.display();
    let length = std::fs::metadata(path).map_err(|error| format!("{name}: {error}"))?.len();
    if length > FILE {
        return Err(format!("{name}: {length} bytes; at most {FILE} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))
}

/// An error with the line and the key at which it happened.
fn located(text: &str, file: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().next().unwrap_or_default();
    let Some(start) = error.span().map(|span| span.start.min(text.len())) else {
        return format!("{file}: {message}");
    };
    let before = text.get(..start).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    match key.filter(|key| !key.is_empty()) {
        Some(key) => format!("{file}:{}: {key}: {message}", line + 1),
        None => format!("{file}:{}: {message}", line + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("snowshed.toml");
        std::fs::write(&path, text).expect("writes");
        Config::read(&path).map_err(|error| error.replace(&*directory.path().to_string_lossy(), ""))
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, line, key) in [
            ("listen = \"127.0.0.1:1\"\ncolour = 3\n", ":2:", "colour"),
            ("\n\nlisten = 7\n", ":3:", "listen"),
            ("listen = \"here\"\n", ":1:", "listen"),
            ("[alertmanager]\nurl = \"x\"\nurk = 1\n", ":3:", "urk"),
            ("[engine]\nseed = \"x\"\n", ":2:", "seed"),
            ("listen = \n", ":1:", "listen"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with("/snowshed.toml") && error.contains(line) && error.contains(key), "{error}");
        }
        assert!(Config::read(Path::new("/nowhere/x.toml")).is_err_and(|error| error.starts_with("/nowhere/x.toml: ")));
    }

    #[test]
    fn what_is_printed_reads_back() {
        let printed = toml::to_string_pretty(&Config::default()).expect("serialises");
        let config = read(&printed).expect("reads back");
        assert_eq!(config.listen, Config::default().listen);
        assert_eq!(toml::to_string_pretty(&config).expect("serialises"), printed);
    }

    #[test]
    fn only_health_goes_beyond_loopback() {
        let everywhere: SocketAddr = "0.0.0.0:9471".parse().expect("an address");
        let config = Config { listen: everywhere, ..Config::default() };
        assert!(config.check().is_err_and(|error| error.contains("--listen 0.0.0.0:9471")));
        let config = Config { health_listen: Some(everywhere), ..Config::default() };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_refused_with_its_key() {
        let config = read("[overhead]\ntargets_core_share = \"much\"\n").expect_err("not a number");
        assert!(config.contains(":2:") && config.contains("targets_core_share"), "{config}");
        let config = read("[overhead]\ntargets_core_share = 0.0\n").expect("reads");
        assert!(config.check().is_err_and(|error| error.contains("overhead.targets_core_share")));
        assert!(read("[overhead]\ncpu = 1.0\n").is_err_and(|error| error.contains("cpu")));
    }

    #[test]
    fn units_are_set_in_their_own_sections() {
        let config =
            read("[store]\nmax_bytes = 2000000\n[sources.otlp]\nforward = \"http://collector:4318\"\n").expect("reads");
        assert_eq!((config.store.max_bytes, config.check()), (2_000_000, Ok(())));
        assert!(read("[sources.otlp]\nforwards = \"x\"\n").is_err_and(|error| error.contains("forwards")));
        let config = read("[sources.otlp]\nforward = \"http://localhost:4318\"\n").expect("reads");
        assert!(config.check().is_err_and(|error| error.contains("own receiver")));
    }

    #[test]
    fn only_loopback_pages_are_scraped_and_not_without_end() {
        let config = read("scrape = [\"http://localhost:6060/debug/pprof/goroutine\"]\n").expect("reads");
        assert_eq!((config.scrape.len(), config.check()), (1, Ok(())));
        let error = read("listen = \"127.0.0.1:1\"\nscrape = [\"http://10.0.0.1/metrics\"]\n").expect_err("refused");
        assert!(error.contains(":2:") && error.contains("scrape") && error.contains("loopback"), "{error}");
        let many = Config { scrape: vec![config.scrape[0].clone(); 17], ..Config::default() };
        assert!(many.check().is_err_and(|error| error.contains("17 pages")));
    }

    #[test]
    fn the_example_of_joint_rules_is_what_its_text_says() {
        let config = read(include_str!("../../deploy/rules/fd-memory.toml")).expect("reads");
        assert_eq!(config.check(), Ok(()));
        let rules = &config.engine.rules;
        let told = |number: usize| {
            let rule = &rules[number];
            let bounds: Vec<_> = rule.when.iter().map(|one| one.above.or(one.per_second_above)).collect();
            (rule.name.as_str(), rule.every_seconds, rule.samples, rule.severity, bounds)
        };
        let (page, ticket) = (snowshed_engine::model::Severity::Page, snowshed_engine::model::Severity::Ticket);
        let mib = |count: u32| Some(f64::from(count) * 1_048_576.0);
        assert_eq!(told(0), ("fd_memory_warn", 5, 1, ticket, vec![Some(3_000.0), mib(100)]));
        assert_eq!(told(1), ("fd_memory_critical", 5, 3, page, vec![Some(3_000.0), mib(100), Some(1.0)]));
        assert_eq!(told(2), ("fd_memory_stuck", 5, 1, page, vec![Some(5_000.0), mib(200)]));
        assert_eq!(rules.len(), 3);
        let printed = toml::to_string_pretty(&config).expect("serialises");
        assert_eq!(&read(&printed).expect("reads back").engine.rules, rules);
    }

    #[test]
    fn a_joint_rule_that_makes_no_sense_is_refused_with_its_key() {
        let head = "[[engine.rules]]\nname = \"a\"\nseverity = \"page\"\n";
        for (rest, key) in [
            ("when = [{ series = \"fdz\", above = 1 }]\n", "when: series: there is no \"fdz\""),
            ("when = [{ series = \"fds\", over = 1 }]\n", "over"),
            ("samples = \"three\"\n", ":4: samples"),
            ("[[engine.rules.when]]\nseries = \"fds\"\nabove = \"much\"\n", ":6: above"),
            ("", "when"),
        ] {
            let error = read(&format!("{head}{rest}")).expect_err(rest);
            assert!(error.contains(key), "{error}");
        }
        let config = read(&format!("{head}when = [{{ series = \"fds\" }}]\n")).expect("reads");
        assert!(config.check().is_err_and(|error| error.starts_with("engine.rules[0].when[0].series: at least one")));
        let config = read(&format!("{head}when = []\n")).expect("reads");
        assert!(config.check().is_err_and(|error| error.starts_with("engine.rules[0].when: 0 is not")));
    }

    #[test]
    fn an_actuator_that_is_missing_is_refused_from_the_file_too() {
        let config = read("[engine]\nenforce = [\"envoy\"]\n").expect("reads");
        assert!(config.check().is_err_and(|error| error.contains("envoy")));
    }
}
