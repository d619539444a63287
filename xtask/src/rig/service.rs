//! Foreign services in other languages, each with the same faults behind the same paths (`tests/support/services`).
//!
//! Cost: Go's is compiled once per checkout; the compiler's cache is in `target/go`.

use super::{interpreter, script};
use crate::{
    process::{self, Child, Spawn, loopback},
    program, setup,
};
use anyhow::Context as _;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What the services are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python's threaded HTTP server.
    PythonThreads,
    /// Python's asyncio.
    PythonLoop,
    /// Node's HTTP server, which tells the names of its functions.
    Node,
    /// Go's HTTP server.
    Go,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PythonThreads, Self::PythonLoop, Self::Node, Self::Go];

    /// As messages call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PythonThreads => "python-threads",
            Self::PythonLoop => "python-asyncio",
            Self::Node => "node",
            Self::Go => "go",
        }
    }
}

/// Node tells profilers the names of its functions, interpreted ones too; the log that comes with it is one file.
pub(crate) const NAMED: [&str; 3] =
    ["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-logfile-per-isolate"];

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    /// Starts it; `upstream` answers `/big`, and `files` holds the files that `/cache/N` reads.
    ///
    /// # Errors
    /// Its language is missing or it does not come up.
    pub fn start(folder: &Path, language: Language, upstream: u16, files: &Path) -> anyhow::Result<Self> {
        Self::start_with(folder, language, upstream, files, None)
    }

    /// The same with its spans exported by OpenTelemetry's SDK to this URL, over HTTP.
    ///
    /// # Errors
    /// As [`Service::start`], or the SDK is missing.
    pub fn start_traced(
        folder: &Path,
        language: Language,
        upstream: u16,
        files: &Path,
        otlp: &str,
    ) -> anyhow::Result<Self> {
        Self::start_with(folder, language, upstream, files, Some(otlp))
    }

    fn start_with(
        folder: &Path,
        language: Language,
        upstream: u16,
        files: &Path,
        otlp: Option<&str>,
    ) -> anyhow::Result<Self> {
        let path = |name: &str| script("services").join(name).into_os_string();
        let python = if otlp.is_some() { setup::traced_python().into_os_string() } else { interpreter().into() };
        let (program, arguments) = match language {
            Language::PythonThreads => (python, vec![path("service.py"), "threads".into()]),
            Language::PythonLoop => (python, vec![path("service.py"), "asyncio".into()]),
            Language::Node => {
                let log = format!("--logfile={}", folder.join("v8.log").display());
                ("node".into(), NAMED.iter().map(Into::into).chain([log.into(), path("service.js")]).collect())
            }
            Language::Go => {
                let sources = ["service.go", "tracing.go"].map(|name| script("services").join(name));
                let sources = if otlp.is_some() { &sources[..] } else { &sources[..1] };
                (compile(sources, &[])?.into_os_string(), Vec::new())
            }
        };
        let mut spawn = Spawn::new(language.name(), program).args(arguments);
        if let Some(otlp) = otlp {
            spawn = spawn.env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp);
        }
        let mut child = spawn.args([upstream.to_string().into(), files.as_os_str().to_owned()]).start(folder)?;
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

impl Drop for Service {
    fn drop(&mut self) {
        // What `node --perf-basic-prof` leaves behind for profilers.
        fs::remove_file(format!("/tmp/perf-{}.map", self.pid())).ok();
    }
}

/// Compiles a Go program with these flags, and tells where it is.
///
/// # Errors
/// There is no Go, or it does not compile.
pub fn go(source: &Path, flags: &[&str]) -> anyhow::Result<PathBuf> {
    compile(&[source.to_path_buf()], flags)
}

/// The files of one program.
pub(crate) fn compile(sources: &[PathBuf], flags: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = process::target_dir().join("go");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let stem = |source: &PathBuf| Some(source.file_stem()?.to_string_lossy().into_owned());
    let names: Vec<String> = sources.iter().filter_map(stem).collect();
    let program = folder.join([names.concat(), flags.concat()].concat());
    let mut command = Command::new(setup::go());
    command.arg("build").args(flags).arg("-o").arg(&program).args(sources);
    // Nothing is downloaded: the standard library, and what Debian packages.
    command.env("GOPATH", "/usr/share/gocode");
    command.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOCACHE", folder.join("cache"));
    command.env("CGO_ENABLED", "0").env("GO111MODULE", "off").current_dir(&folder);
    program::run(&mut command)?;
    Ok(program)
}
