//! The shop (`tests/support/services/shop.*`): the same back end in three languages, whose settings change while it runs.
//!
//! Invariant: neither its command line nor its paths nor its spans say what is wrong with it; that is in its settings
//! alone, which nobody but itself reads.

use super::stage::Ground;
use crate::{
    process::{self, Child, Spawn, loopback},
    rig::{Hosts, NODE_NAMES, compile, interpreter, names, script},
    setup,
};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What it is written in, and how it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Python, a thread a connection.
    Threads,
    /// Python, asyncio.
    Asyncio,
    /// Python, two workers that accept by themselves.
    Pool,
    /// Go.
    Go,
    /// Node.
    Node,
}

impl Kind {
    /// As tables call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Threads => "python-threads",
            Self::Asyncio => "python-asyncio",
            Self::Pool => "python-pool",
            Self::Go => "go",
            Self::Node => "node",
        }
    }
}

/// How to start one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options<'a> {
    /// Whom it asks for prices, as `HOST:PORT`.
    pub(super) upstream: Option<&'a str>,
    /// On the first of these hosts.
    pub(super) hosts: Option<(&'a Hosts, usize)>,
    /// It asks the resolver at this address, where it is on a host.
    pub(super) resolver: Option<&'a str>,
    /// On this device.
    pub(super) folder: Option<&'a Path>,
}

/// A running shop.
#[derive(Debug)]
pub(super) struct Shop {
    child: Child,
    pub(super) address: SocketAddr,
    folder: PathBuf,
}

/// What changes a shop's settings.
#[derive(Clone, Debug)]
pub(super) struct Knob {
    pid: u32,
    folder: PathBuf,
}

impl Shop {
    /// Starts it in a folder of its own; `name` is that folder's. On another host it exports no spans: the agent listens
    /// on the loopback alone.
    pub(super) fn start(
        ground: &Ground<'_>,
        name: &str,
        kind: Kind,
        settings: &Value,
        options: Options<'_>,
    ) -> anyhow::Result<Self> {
        let folder = options.folder.unwrap_or(ground.folder).join(name);
        let otlp = ground.otlp().filter(|_| options.hosts.is_none());
        fs::create_dir_all(&folder)?;
        let mut settings = settings.clone();
        let host = options.hosts.map(|(hosts, at)| hosts.addresses[at].clone());
        if let Some(host) = &host {
            settings["host"] = host.as_str().into();
        }
        fs::write(folder.join("settings.json"), settings.to_string())?;
        let source = |name: &str| script("services").join(name);
        let python = if otlp.is_some() { setup::traced_python() } else { interpreter().into() };
        let in_python = |mode: &str| vec![source("shop.py").into_os_string(), mode.into()];
        let (program, arguments): (PathBuf, Vec<OsString>) = match kind {
            Kind::Threads => (python, in_python("threads")),
            Kind::Asyncio => (python, in_python("asyncio")),
            Kind::Pool => (python, in_python("pool")),
            Kind::Go => {
                let sources = ["shop.go", "tracing.go"].map(source);
                (compile(if otlp.is_some() { &sources } else { &sources[..1] }, &[])?, Vec::new())
            }
            Kind::Node => {
                let log = format!("--logfile={}", folder.join("v8.log").display());
                let names = NODE_NAMES.iter().map(Into::into).chain([log.into(), source("shop.js").into()]);
                ("node".into(), names.collect())
            }
        };
        let mut spawn = match options.hosts {
            Some((hosts, at)) => {
                let spawn = hosts.spawn(at, "shop");
                let spawn = match options.resolver {
                    Some(resolver) => names::asking(spawn, resolver, &folder)?,
                    None => spawn,
                };
                spawn.args([program.into_os_string()])
            }
            None => Spawn::new("shop", program),
        };
        if let Some(otlp) = otlp {
            spawn = spawn.env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp);
        }
        let words = [options.upstream.unwrap_or("0").into(), folder.clone().into_os_string()];
        let mut child = spawn.args(arguments).args::<[OsString; 2]>(words).start(ground.folder)?;
        let line = child.wait_line("listening on ", Duration::from_secs(20))?;
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("no port in {line:?}"))?;
        let address = match host {
            Some(host) => SocketAddr::new(host.parse()?, port),
            None => loopback(port),
        };
        Ok(Self { child, address, folder })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// It stands still from now on, or goes on.
    pub(super) fn stand(&self, still: bool) -> anyhow::Result<()> {
        let signal = if still { libc::SIGSTOP } else { libc::SIGCONT };
        ensure!(process::signal(self.pid(), signal)?, "the shop is gone");
        Ok(())
    }

    /// What changes its settings.
    pub(super) fn knob(&self) -> Knob {
        Knob { pid: self.pid(), folder: self.folder.clone() }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // What Node leaves behind for profilers.
        fs::remove_file(format!("/tmp/perf-{}.map", self.pid())).ok();
    }
}

impl Knob {
    /// Changes settings and tells the shop.
    pub(super) fn turn(&self, changes: &Value) -> anyhow::Result<()> {
        let file = self.folder.join("settings.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(&file)?)?;
        for (name, value) in changes.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        fs::write(&file, settings.to_string())?;
        ensure!(process::signal(self.pid, libc::SIGUSR2)?, "the shop is gone");
        Ok(())
    }
}
