//! nginx with one worker, which answers 1 KB from memory.

use super::{Service, wait_ready, wrk};
use crate::process::{self, Child, Spawn};
use anyhow::Context as _;
use std::{fs, net::SocketAddr, path::Path, time::Duration};

/// A running one.
pub(super) struct Nginx {
    master: Child,
    address: SocketAddr,
}

impl Nginx {
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let (settings, root) = (folder.join("nginx.conf"), folder.display());
        let body = "x".repeat(1024);
        let text = format!(
            "daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {root}/body; \
             proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; \
             scgi_temp_path {root}/scgi;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{body}\"; }} }} }}\n"
        );
        fs::write(&settings, text).with_context(|| format!("write {}", settings.display()))?;
        let arguments = ["-c".into(), settings.into_os_string(), "-p".into(), folder.as_os_str().to_owned()];
        let master = Spawn::new("nginx", "nginx").args(arguments).start(folder)?;
        let address = process::loopback(port);
        wait_ready(address)?;
        Ok(Self { master, address })
    }
}

impl Service for Nginx {
    fn pids(&self) -> Vec<u32> {
        let master = self.master.pid();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([master]).collect()
    }

    fn load(&self, length: Duration) -> anyhow::Result<(u64, f64)> {
        wrk(self.address, "/", length)
    }
}
