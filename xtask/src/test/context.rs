//! What several steps share: the binaries and the compiled test suites, each made once, when the first step asks.

use super::{report::Counts, watch::watch};
use crate::{process, program};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long a suite may take.
const BOUND: Duration = Duration::from_secs(15 * 60);

/// A compiled set of tests.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    /// Package and target, as in `snowshed-engine replay`.
    pub(super) name: String,
    /// The target alone.
    pub(super) target: String,
    /// It is one of ours that drives whole processes, or kernel programs, on the real kernel.
    pub(super) end_to_end: bool,
    pub(super) executable: PathBuf,
    folder: PathBuf,
}

/// State that the steps hand on.
#[derive(Debug)]
pub(super) struct Context {
    /// Where the standard library's source is, if the caller said.
    pub(super) rust_src: Option<PathBuf>,
    built: Option<bool>,
    suites: Option<Vec<Suite>>,
}

impl Context {
    /// Nothing made yet.
    pub(super) fn new(rust_src: Option<PathBuf>) -> Self {
        Self { rust_src, built: None, suites: None }
    }

    /// Builds the release binaries.
    ///
    /// # Errors
    /// They do not compile (said again to whoever asks again).
    pub(super) fn binaries(&mut self) -> anyhow::Result<()> {
        let built = match self.built {
            Some(built) => built,
            None => {
                let mut cargo = program::cargo();
                cargo.args(["build", "--release", "--workspace", "--locked"]).current_dir(process::root());
                watch("build", &mut cargo, 2 * BOUND)?.succeeded()
            }
        };
        self.built = Some(built);
        if !built {
            bail!("the binaries do not compile");
        }
        Ok(())
    }

    /// The suites that `wanted` picks, compiled.
    ///
    /// # Errors
    /// They do not compile.
    pub(super) fn suites(&mut self, wanted: impl Fn(&Suite) -> bool) -> anyhow::Result<Vec<Suite>> {
        let suites = match self.suites.take() {
            Some(suites) => suites,
            None => compile()?,
        };
        let suites = self.suites.insert(suites);
        Ok(suites.iter().filter(|suite| wanted(suite)).cloned().collect())
    }
}

/// Runs one suite with these arguments for libtest; why it failed, if it did.
///
/// # Errors
/// It could not be started.
pub(super) fn run(suite: &Suite, arguments: &[&str]) -> anyhow::Result<(Counts, Option<String>)> {
    let mut command = Command::new(&suite.executable);
    command.args(arguments).current_dir(&suite.folder).env("CARGO_MANIFEST_DIR", &suite.folder);
    let watched = watch(&suite.name, &mut command, BOUND)?;
    let why = (!watched.succeeded()).then(|| format!("{}\n{}", suite.name, watched.failures.trim()));
    Ok((watched.tests, why))
}

fn compile() -> anyhow::Result<Vec<Suite>> {
    let mut cargo = program::cargo();
    cargo.args([
        "test",
        "--release",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    println!("$ {}", program::line(&cargo));
    let output = cargo
        .current_dir(process::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo test")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    let mut suites: Vec<_> = text.lines().filter_map(|line| suite(&serde_json::from_str(line).ok()?)).collect();
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    if suites.is_empty() {
        bail!("cargo test named no test executable");
    }
    Ok(suites)
}

/// The suite that one of cargo's messages is about, if it is about one.
fn suite(message: &Value) -> Option<Suite> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let target = message["target"]["name"].as_str()?;
    let kind = message["target"]["kind"][0].as_str()?;
    let package = folder.strip_prefix(process::root()).unwrap_or(folder).display().to_string();
    Some(Suite {
        name: if kind == "test" { format!("{package} {target}") } else { format!("{package} {kind}") },
        target: target.to_owned(),
        end_to_end: matches!(package.as_str(), "xtask" | "ebpf") && kind == "test",
        executable: executable.into(),
        folder: folder.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(package: &str, kind: &str, target: &str, test: bool) -> Value {
        let manifest = process::root().join(package).join("Cargo.toml");
        json!({"reason": "compiler-artifact", "manifest_path": manifest, "profile": {"test": test},
            "target": {"kind": [kind], "name": target}, "executable": "/somewhere/suite"})
    }

    #[test]
    fn end_to_end_suites_are_told_apart() {
        let one = suite(&message("xtask", "test", "e2e_fd_leak", true)).unwrap();
        assert!(one.end_to_end && one.name == "xtask e2e_fd_leak");
        let other = suite(&message("agent/engine", "test", "replay", true)).unwrap();
        assert!(!other.end_to_end && other.name == "agent/engine replay");
        let kernel = suite(&message("ebpf", "test", "live", true)).unwrap();
        assert!(kernel.end_to_end, "it attaches kernel programs");
        let unit = suite(&message("xtask", "lib", "xtask", true)).unwrap();
        assert!(!unit.end_to_end && unit.name == "xtask lib");
    }

    #[test]
    fn what_is_no_suite_is_none() {
        assert!(suite(&message("agent", "bin", "snowshed", false)).is_none());
        assert!(suite(&json!({"reason": "build-finished", "success": true})).is_none());
    }
}
