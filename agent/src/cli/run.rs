//! `snowshed run`.

use super::print;
use crate::{actuators, app, config::Config, failure::Failure, sinks, sources::scrape::Endpoint};
use snowshed_engine::model::Pid;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Flags; each wins over the same setting in the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Settings (TOML); `--print-config` shows all of them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A process to watch; the processes it forks are followed (may be repeated)
    #[arg(long, value_name = "PID")]
    pid: Vec<Pid>,
    /// Watch every process of this name (may be repeated)
    #[arg(long, value_name = "NAME")]
    comm: Vec<String>,
    /// Watch every process of this cgroup and those below (may be repeated)
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// A loopback page on which a target publishes its figures: /metrics, /debug/vars, /debug/pprof/goroutine (may be repeated)
    #[arg(long, value_name = "URL")]
    scrape: Vec<Endpoint>,
    /// Objectives, OpenSLO v1 (may be repeated)
    #[arg(long, value_name = "FILE")]
    slo: Vec<PathBuf>,
    /// Workbench, API and guard reports; loopback only [default: 127.0.0.1:9470]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Health and metrics besides, on any address
    #[arg(long, value_name = "ADDR")]
    health_listen: Option<SocketAddr>,
    /// Spans by gRPC [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR")]
    otlp_grpc: Option<SocketAddr>,
    /// Spans by HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR")]
    otlp_http: Option<SocketAddr>,
    /// Envoy's control plane (not in this version)
    #[arg(long, value_name = "ADDR")]
    xds: Option<String>,
    /// Keep incidents and their audit trail here, over restarts
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// What may act; nothing does unless it is named here (this version: guard)
    #[arg(long, value_name = "ACTUATOR", value_delimiter = ',')]
    enforce: Vec<String>,
    /// Decide and record, but act on nothing, whatever else says so
    #[arg(long)]
    dry_run: bool,
    /// Send alerts to this Alertmanager
    #[arg(long, value_name = "URL")]
    alertmanager: Option<String>,
    /// Post each change of an incident here
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Send each stage of an incident as a log record to this OpenTelemetry collector, as http://HOST:4318
    #[arg(long, value_name = "URL")]
    otlp_logs: Option<String>,
    /// Write every observation here for `snowshed replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print the settings in effect and end
    #[arg(long)]
    print_config: bool,
}

/// Runs the agent.
///
/// # Errors
/// See [`app::run`]; 2 where the settings make no sense.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let print_config = args.print_config;
    let mut config = settings(args)?;
    config.check().map_err(Failure::usage)?;
    if print_config {
        let text = toml::to_string_pretty(&config).map_err(|error| Failure::new(error.to_string()))?;
        return print(&text);
    }
    config.read_slos().map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime: {error}")))?;
    let outcome = runtime.block_on(app::run(config));
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

/// The file's settings, with the flags put over them.
fn settings(args: Args) -> Result<Config, Failure> {
    if args.xds.is_some() {
        return Err(Failure::usage("--xds: this version has no control plane for Envoy yet"));
    }
    let mut config = match &args.config {
        Some(path) => Config::read(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    let enforce = args.enforce.iter().map(|name| actuators::named(name)).collect::<Result<Vec<_>, _>>();
    over(&mut config.engine.enforce, enforce.map_err(Failure::usage)?);
    if args.dry_run {
        config.engine.enforce.clear();
    }
    over(&mut config.pid, args.pid);
    over(&mut config.comm, args.comm);
    over(&mut config.cgroup, args.cgroup);
    over(&mut config.slo, args.slo);
    over(&mut config.scrape, args.scrape);
    config.listen = args.listen.unwrap_or(config.listen);
    config.otlp_grpc = args.otlp_grpc.unwrap_or(config.otlp_grpc);
    config.otlp_http = args.otlp_http.unwrap_or(config.otlp_http);
    config.health_listen = args.health_listen.or(config.health_listen);
    config.state_dir = args.state_dir.or(config.state_dir);
    config.record = args.record.or(config.record);
    config.alertmanager = args.alertmanager.map(|url| sinks::alertmanager::Config { url }).or(config.alertmanager);
    config.otlp_logs = args.otlp_logs.map(|url| sinks::otlp_logs::Config { url }).or(config.otlp_logs);
    config.webhook = args.webhook.map(|url| sinks::webhook::Config { url }).or(config.webhook);
    Ok(config)
}

/// A flag that was given wins over the file's list.
fn over<T>(setting: &mut Vec<T>, flag: Vec<T>) {
    if !flag.is_empty() {
        *setting = flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Config, Failure> {
        settings(Line::parse_from(std::iter::once("run").chain(flags.iter().copied())).args)
    }

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.toml");
        std::fs::write(&path, "pid = [1]\ncomm = [\"nginx\"]\nlisten = \"127.0.0.1:1\"\n").expect("writes");
        let config = parse(&["--config", &path.to_string_lossy(), "--pid", "7", "--pid", "8"]).expect("parses");
        assert_eq!((config.pid, config.comm), (vec![7, 8], vec!["nginx".to_owned()]));
        assert_eq!(config.listen.port(), 1);
    }

    #[test]
    fn a_dry_run_enforces_nothing() {
        assert_eq!(parse(&["--enforce", "guard"]).expect("parses").engine.enforce.len(), 1);
        assert!(parse(&["--enforce", "guard", "--dry-run"]).expect("parses").engine.enforce.is_empty());
    }

    #[test]
    fn what_this_version_lacks_is_refused_with_2() {
        for flags in [&["--xds", "127.0.0.1:1"][..], &["--enforce", "guard,envoy"][..]] {
            assert_eq!(parse(flags).expect_err("refused").code, 2);
        }
    }
}
