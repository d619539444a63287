//! PostgreSQL with a cluster of its own, and its own client that asks it (pgbench).
//!
//! Invariant: the server runs as the user that its package makes, since it refuses to run as root, and ends with the value.

use super::Hosts;
use crate::{
    process::{self, Child, Spawn},
    program,
};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Where Debian has its programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Whom it runs as, and that it ends with whoever starts it.
const AS: [&str; 6] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", "--"];

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    host: String,
    port: u16,
    logs: PathBuf,
}

impl Postgres {
    /// Makes a cluster in this folder, which becomes its user's, and serves it, on one of two hosts if they are given.
    ///
    /// # Errors
    /// It is missing, or does not serve within 30 s.
    pub fn start(logs: &Path, folder: &Path, on: Option<(&Hosts, usize)>) -> anyhow::Result<Self> {
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        // Others may pass, no more.
        for above in [logs, folder] {
            fs::set_permissions(above, fs::Permissions::from_mode(0o711))?;
        }
        program::output(Command::new("chown").arg("postgres:").arg(&data))?;
        let as_user = |name: &str| {
            AS.iter().map(|word| (*word).to_owned()).chain([format!("{PROGRAMS}/{name}")]).collect::<Vec<String>>()
        };
        let words = as_user("initdb");
        let mut make = Command::new(&words[0]);
        make.args(&words[1..]).args(["--auth=trust", "--no-sync", "--no-locale", "-D"]).arg(&data);
        program::output(make.current_dir("/"))?;
        // Of those that cannot be reached from anywhere but the two hosts (RFC 2544).
        let rules = data.join("pg_hba.conf");
        let text = fs::read_to_string(&rules)? + "host all all 198.18.0.0/15 trust\n";
        fs::write(&rules, text)?;
        let [port] = process::free_ports()?;
        let host = on.map_or("127.0.0.1", |(hosts, at)| hosts.addresses[at].as_str()).to_owned();
        let (listen, number) = (format!("listen_addresses={host}"), format!("port={port}"));
        let spawn = match on {
            Some((hosts, at)) => hosts.spawn(at, "postgres").args(as_user("postgres")),
            None => Spawn::new("postgres", AS[0]).args(&as_user("postgres")[1..]),
        };
        let spawn = spawn.args(["-D"]).args([&data]);
        let spawn = spawn.args(["-c", &listen, "-c", &number, "-c", "unix_socket_directories="]);
        let mut child = spawn.start(logs)?;
        process::wait_until("PostgreSQL", Duration::from_secs(30), || {
            ensure!(child.ended()?.is_none(), "PostgreSQL ended: {}", child.errors());
            Ok(child.errors().contains("ready to accept connections").then_some(()))
        })?;
        Ok(Self { child, host, port, logs: logs.to_owned() })
    }

    /// Its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Carries out statements, once; it must be on the loopback.
    ///
    /// # Errors
    /// The server says why.
    pub fn tell(&self, statements: &str) -> anyhow::Result<()> {
        let psql = format!("{PROGRAMS}/psql");
        let mut command = Command::new(psql);
        command.args(["-X", "-q", "-h", &self.host, "-p", &self.port.to_string(), "-U", "postgres", "-c", statements]);
        program::output(&mut command).map(drop)
    }

    /// Asks with so many clients, together so many times a second, until the answer is dropped.
    ///
    /// # Errors
    /// The client does not start.
    pub fn ask(
        &self,
        from: Option<(&Hosts, usize)>,
        statement: &str,
        clients: u32,
        rate: u32,
    ) -> anyhow::Result<Child> {
        let name = format!("pgbench-{}", statement.len());
        let script = self.logs.join(format!("{name}.sql"));
        fs::write(&script, statement).with_context(|| format!("write {}", script.display()))?;
        let program = format!("{PROGRAMS}/pgbench");
        let spawn = match from {
            Some((hosts, at)) => hosts.spawn(at, &name).args([program]),
            None => Spawn::new(&name, program),
        };
        let (port, clients, rate) = (self.port.to_string(), clients.to_string(), rate.to_string());
        let spawn = spawn.args(["-h", &self.host, "-p", &port, "-U", "postgres", "-n", "-c", &clients, "-j", &clients]);
        let spawn = spawn.args(["-R", &rate, "-T", "600", "-P", "1", "-f"]).args([&script]);
        spawn.args(["postgres"]).start(&self.logs)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM would wait for its clients; this one does not.
        process::signal(self.pid(), libc::SIGINT).ok();
        if let Err(error) = self.child.wait_end(Duration::from_secs(10)) {
            eprintln!("{error:#}");
        }
    }
}
