//! The reference service, started and watched from outside.

use super::http;
use crate::process::{self, Child, Descriptor, Spawn};
use anyhow::{Context as _, bail};
use hyper::Method;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct TranscoderOptions {
    /// Where spans go, as in `http://127.0.0.1:4317`.
    pub otlp: Option<String>,
    /// The agent's base URL.
    pub guard: Option<String>,
    /// File descriptors that it may have.
    pub descriptors: Option<u64>,
    /// Bytes of private writable memory that it may have.
    pub data: Option<u64>,
    /// A variable of its environment, by which it can be found later.
    pub mark: Option<(String, String)>,
    /// Another binary than this workspace's.
    pub program: Option<PathBuf>,
    /// More of its command line.
    pub arguments: Vec<String>,
}

/// A fault as the service declares it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// The kind of cause that it must be diagnosed as.
    pub cause: String,
    /// The value where none is given.
    pub default: String,
    /// What it does and what the value means.
    pub description: String,
}

/// A running transcoder with its own folder for temporary files.
#[derive(Debug)]
pub struct Transcoder {
    child: Child,
    address: SocketAddr,
    temporary: PathBuf,
}

impl Transcoder {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// It is not built or does not come up.
    pub fn start(folder: &Path, options: &TranscoderOptions) -> anyhow::Result<Self> {
        let temporary = folder.join("transcoder-tmp");
        std::fs::create_dir_all(&temporary).with_context(|| format!("create {}", temporary.display()))?;
        let temporary = temporary.canonicalize().context("temporary folder")?;
        let program = match &options.program {
            Some(program) => program.clone(),
            None => process::binary("snowshed-transcoder", "snowshed-transcoder")?,
        };
        let mut spawn = Spawn::new("transcoder", program).args(["--listen", "127.0.0.1:0", "--allow-fault-control"]);
        spawn = spawn.env("TMPDIR", &temporary).args(&options.arguments);
        if let Some(url) = &options.otlp {
            spawn = spawn.args(["--otlp", url]);
        }
        if let Some(url) = &options.guard {
            spawn = spawn.args(["--guard", url]);
        }
        if let Some(limit) = options.descriptors {
            spawn = spawn.descriptors(limit);
        }
        if let Some(bytes) = options.data {
            spawn = spawn.data(bytes);
        }
        if let Some((key, value)) = &options.mark {
            spawn = spawn.env(key, value);
        }
        let mut child = spawn.start(folder)?;
        let line = child.wait_line("listening on ", Duration::from_secs(10))?;
        let address = line.rsplit('/').next().and_then(|address| address.parse().ok());
        let address = address.with_context(|| format!("no address in {line:?}"))?;
        Ok(Self { child, address, temporary })
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

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// A new connection's `GET /livez` is answered with 200 within a second, as a liveness probe asks.
    #[must_use]
    pub fn is_live(&self) -> bool {
        is_live(self.address)
    }

    /// The fault with this name.
    ///
    /// # Errors
    /// There is none, or the service does not answer.
    pub fn fault(&self, name: &str) -> anyhow::Result<Fault> {
        let reply = http::get(self.address, &format!("/faults/{name}"))?;
        if reply.status != 200 {
            bail!("fault {name}: {} {}", reply.status, reply.text());
        }
        declared(&reply.json()?)
    }

    /// Every fault that the service can be given.
    ///
    /// # Errors
    /// The service does not answer, or with something else than a list.
    pub fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let answer = http::get(self.address, "/faults")?.json()?;
        answer["items"]
            .as_array()
            .with_context(|| format!("no list of faults: {answer}"))?
            .iter()
            .map(declared)
            .collect()
    }

    /// Switches a fault on; `value` may be empty for its default.
    ///
    /// # Errors
    /// See [`Transcoder::fault_off`].
    pub fn fault_on(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.control(Method::PUT, name, value)
    }

    /// Switches a fault off, as replacing the faulty version would.
    ///
    /// # Errors
    /// There is no such fault, or the service does not answer within ten seconds.
    pub fn fault_off(&self, name: &str) -> anyhow::Result<()> {
        self.control(Method::DELETE, name, "")
    }

    fn control(&self, method: Method, name: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/faults/{name}");
        // A service that is stalling answers late; that is what is to be switched off.
        let reply = http::send(self.address, method.clone(), &path, &[], value.to_owned(), Duration::from_secs(10))?;
        if !(200..300).contains(&reply.status) {
            bail!("{method} {path}: {} {}", reply.status, reply.text());
        }
        Ok(())
    }

    /// The truth about leaked files: those open in the process that have no name any more.
    ///
    /// # Errors
    /// The process is gone.
    pub fn deleted_files(&self) -> anyhow::Result<Vec<Descriptor>> {
        let all = process::descriptors(self.pid()).context("transcoder's descriptors")?;
        Ok(all.into_iter().filter(|fd| fd.is_deleted_file_under(&self.temporary)).collect())
    }

    /// The folder of its temporary files.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }
}

fn declared(answer: &serde_json::Value) -> anyhow::Result<Fault> {
    let text = |field: &str| {
        let value = answer[field].as_str().with_context(|| format!("a fault declares no {field}: {answer}"))?;
        anyhow::Ok(value.to_owned())
    };
    Ok(Fault {
        name: text("name")?,
        cause: text("cause")?,
        default: text("default")?,
        description: text("description")?,
    })
}

/// See [`Transcoder::is_live`].
pub(crate) fn is_live(address: SocketAddr) -> bool {
    let reply = http::send(address, Method::GET, "/livez", &[], "", Duration::from_secs(1));
    reply.is_ok_and(|reply| reply.status == 200)
}
