//! `snowshed leakcheck` on small programs whose leaks are known: C, with and without root's kernel programs, and Python.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{path::Path, process::Command, time::Duration};
use xtask::{
    process,
    rig::{Ran, interpreter, script, snowshed},
};

const BOUND: Duration = Duration::from_secs(60);

fn check(command: &[&str]) -> anyhow::Result<(Ran, Value)> {
    let told = snowshed(&[&["leakcheck", "--json", "--"], command].concat(), BOUND)?;
    let report = serde_json::from_str(&told.output).with_context(|| format!("{told:?}"))?;
    Ok((told, report))
}

/// The one site of a report.
fn only(report: &Value) -> anyhow::Result<&Value> {
    let sites = report["sites"].as_array().context("no sites")?;
    ensure!(sites.len() == 1 && report["clean"] == false, "{report}");
    Ok(&sites[0])
}

fn compile(folder: &Path) -> anyhow::Result<String> {
    let program = folder.join("left").display().to_string();
    let source = script("left.c").display().to_string();
    let made = Command::new("cc").args(["-O1", "-g", "-pthread", "-o", &program, &source]).status().context("cc")?;
    ensure!(made.success(), "left.c does not compile");
    Ok(program)
}

#[test]
fn what_a_c_program_leaves_is_told_with_its_place() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let left = compile(folder.path())?;

    let (told, report) = check(&[&left, "files"])?;
    let site = only(&report)?;
    ensure!(told.code == Some(1) && site["kind"] == "file" && site["count"] == 3, "{report}");
    ensure!(site["frames"].to_string().contains("spool (") && site["names"][0] == "/etc/passwd", "{site}");

    let (told, report) = check(&[&left, "thread"])?;
    ensure!(told.code == Some(1) && only(&report)?["kind"] == "thread", "{report}");

    let (told, report) = check(&[&left, "child"])?;
    let site = only(&report)?;
    ensure!(told.code == Some(1) && site["kind"] == "process" && site["process"] == "sleep", "{report}");
    let pid = site["pids"][0].as_u64().context("no pid")?;
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "what outlived the command is still there");

    let (told, report) = check(&[&left, "forked"])?;
    let site = only(&report)?;
    ensure!(told.code == Some(1) && site["count"] == 2 && site["frames"].to_string().contains("spool ("), "{report}");
    ensure!(report["judged"] == 2, "{report}");
    Ok(())
}

#[test]
fn a_clean_command_keeps_its_own_exit_code() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let left = compile(folder.path())?;
    for (command, code) in [
        (vec![left.as_str()], 0),
        (vec![left.as_str(), "nothing", "7"], 7),
        (vec!["sh", "-c", "exec 3</etc/hosts; cat /etc/hosts; kill -9 $$"], 128 + 9),
    ] {
        let (told, report) = check(&command)?;
        ensure!(told.code == Some(code) && report["clean"] == true, "{command:?}: {told:?}");
    }
    // The command's output is its own, and the verdict is on standard error.
    let told = snowshed(&["leakcheck", "--", "sh", "-c", "echo said; cat /etc/hosts >/dev/null"], BOUND)?;
    ensure!(told.code == Some(0) && told.output == "said\n" && told.errors.contains("nothing left"), "{told:?}");
    ensure!(snowshed(&["leakcheck", "--", "/nowhere/at/all"], BOUND)?.code == Some(127));
    ensure!(snowshed(&["leakcheck"], BOUND)?.code == Some(2), "usage");
    let ignored = snowshed(&["leakcheck", "--ignore", "spool", "--", &left, "files"], BOUND)?;
    ensure!(ignored.code == Some(0) && ignored.errors.contains("3 ignored as asked"), "{ignored:?}");
    Ok(())
}

#[test]
fn python_programs_are_judged_too() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let python = interpreter();
    let clean =
        "import subprocess, tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')\nsubprocess.run(['true'])";
    let (told, report) = check(&[python, "-c", clean])?;
    ensure!(told.code == Some(0) && report["judged"].as_u64() >= Some(2), "{report}");
    let leak = "import os, socket\nos.open('/etc/passwd', os.O_RDONLY)\nkeep = socket.socket().detach()";
    let (told, report) = check(&[python, "-c", leak])?;
    let mut kinds: Vec<&str> =
        report["sites"].as_array().context("no sites")?.iter().filter_map(|site| site["kind"].as_str()).collect();
    kinds.sort_unstable();
    ensure!(told.code == Some(1) && kinds == ["file", "tcp"], "{report}");
    Ok(())
}
