//! nginx with one worker, in a folder of its own.

use super::Hosts;
use crate::process::{self, Child, Spawn};
use anyhow::Context as _;
use std::{fs, net::SocketAddr, path::Path, time::Duration};

/// Its configuration around what is wanted of it.
const SETTINGS: &str = "daemon off; user root; worker_processes 1; pid ROOT/nginx.pid; error_log ROOT/error.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path ROOT/body; proxy_temp_path ROOT/proxy; fastcgi_temp_path ROOT/fastcgi;
uwsgi_temp_path ROOT/uwsgi; scgi_temp_path ROOT/scgi; keepalive_requests 1000000000;
MORE
server { listen ADDRESS; root ROOT/pages; location / { WHAT } } }
";

/// A running one.
#[derive(Debug)]
pub struct Nginx {
    master: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts it, on one of two hosts if they are given. `what` is what it does with each request, and `more` what else
    /// is said of HTTP. Files in `pages` of the folder are served if nothing else is said.
    ///
    /// # Errors
    /// It is missing, or does not listen within 30 s.
    pub fn start(folder: &Path, on: Option<(&Hosts, usize)>, what: &str, more: &str) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let address = match on {
            Some((hosts, at)) => SocketAddr::new(hosts.addresses[at].parse()?, port),
            None => process::loopback(port),
        };
        fs::create_dir_all(folder.join("pages"))?;
        let settings = folder.join("nginx.conf");
        let text = SETTINGS.replace("WHAT", what).replace("MORE", more);
        let text = text.replace("ROOT", &folder.display().to_string()).replace("ADDRESS", &address.to_string());
        fs::write(&settings, text).with_context(|| format!("write {}", settings.display()))?;
        let arguments = ["-c".into(), settings.into_os_string(), "-p".into(), folder.as_os_str().to_owned()];
        let spawn = match on {
            Some((hosts, at)) => hosts.spawn(at, "nginx").args(["nginx"]),
            None => Spawn::new("nginx", "nginx"),
        };
        let mut master = spawn.args(arguments).start(folder)?;
        // It writes that file when it listens.
        process::wait_until("nginx", Duration::from_secs(30), || {
            anyhow::ensure!(master.ended()?.is_none(), "nginx ended: {}", master.errors());
            Ok(folder.join("nginx.pid").exists().then_some(()))
        })?;
        Ok(Self { master, address })
    }

    /// Its master process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.master.pid()
    }
}
