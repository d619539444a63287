//! The workspace, compiled in one go: its binaries and its test suites.
//!
//! Invariant: whoever needs some of it asks for all of it. Cargo chooses the features of a dependency by what is asked for
//! together, so that two questions would compile the half of them twice. Cost: nothing where all is compiled.

use crate::{process, program};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

/// A compiled set of tests.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Package and target, as in `snowshed-engine replay`.
    pub name: String,
    /// The target alone.
    pub target: String,
    /// It is one of ours that drives whole processes, or kernel programs, on the real kernel.
    pub end_to_end: bool,
    /// What runs it.
    pub executable: PathBuf,
    /// Its package's folder.
    pub folder: PathBuf,
}

/// Compiles the release binaries and all suites.
///
/// # Errors
/// They do not compile (cargo's words went to standard error).
pub fn compile() -> anyhow::Result<Vec<Suite>> {
    let mut cargo = program::cargo();
    cargo.args(["build", "--release", "--workspace", "--lib", "--bins", "--tests", "--locked"]);
    cargo.arg("--message-format=json-render-diagnostics");
    println!("$ {}", program::line(&cargo));
    let output = cargo
        .current_dir(process::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo build")?;
    if !output.status.success() {
        bail!("the workspace does not compile");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    let mut suites: Vec<_> = text.lines().filter_map(|line| suite(&serde_json::from_str(line).ok()?)).collect();
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    if suites.is_empty() {
        bail!("cargo build named no suite");
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
