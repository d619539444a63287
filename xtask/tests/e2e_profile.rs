//! `snowshed profile` on a program whose functions' shares are known, read by `go tool pprof` and by an XML parser.

use anyhow::{Context as _, ensure};
use std::{path::Path, process::Command, time::Duration};
use xtask::{
    process::{self, Spawn},
    program,
    rig::{interpreter, script, snowshed},
    setup,
};

const BOUND: Duration = Duration::from_secs(60);

/// What `go tool pprof` says is the share of a function, with what it calls; per cent.
fn share(file: &str, function: &str) -> anyhow::Result<f64> {
    let mut go = Command::new(setup::go());
    // The tool is compiled when it is first asked for; most of what it needs the services have had compiled.
    go.env("GOCACHE", process::target_dir().join("go/cache")).env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
    let told = program::output(go.args(["tool", "pprof", "-top", "-cum", "-nodefraction=0", file]))?;
    let line = told.lines().find(|line| line.split_whitespace().nth(5) == Some(function));
    // flat, flat%, sum%, cum, cum%, name
    let share = line.and_then(|line| line.split_whitespace().nth(4)?.trim_end_matches('%').parse().ok());
    share.with_context(|| format!("{function} is not in {told}"))
}

fn take(pid: &str, kind: &str, folder: &Path, name: &str) -> anyhow::Result<String> {
    let file = folder.join(name).display().to_string();
    let told = snowshed(&["profile", pid, kind, "--for", "3s", "--output", &file], BOUND)?;
    ensure!(told.code == Some(0), "{told:?}");
    Ok(file)
}

#[test]
fn profiles_tell_the_shares_of_functions_and_who_opened_what() -> anyhow::Result<()> {
    process::require_root("this test")?;
    let folder = tempfile::tempdir().context("test's folder")?;
    let program = folder.path().join("computes").display().to_string();
    let source = script("computes.c").display().to_string();
    let made = Command::new("cc").args(["-O1", "-g", "-o", &program, &source]).status().context("cc")?;
    ensure!(made.success(), "computes.c does not compile");
    let mut child = Spawn::new("computes", &program).start(folder.path())?;
    child.wait_line("ready", BOUND)?;
    let pid = child.pid().to_string();

    let cpu = take(&pid, "cpu", folder.path(), "cpu.pb.gz")?;
    let (heavy, light) = (share(&cpu, "heavy")?, share(&cpu, "light")?);
    ensure!((heavy - 75.0).abs() < 12.0 && (light - 25.0).abs() < 12.0, "heavy {heavy} %, light {light} %");
    ensure!(share(&cpu, "main")? > 95.0, "all of it is below main");

    let held = take(&pid, "fd", folder.path(), "fd.folded")?;
    let held = std::fs::read_to_string(held).context("read the profile")?;
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
    let seen: usize = held.lines().filter(|line| line.contains("open_record")).map(count).sum();
    ensure!(seen >= 5, "what it opened meanwhile is told with its place: {held}");
    // It goes on opening, so there are at least as many now.
    let all: usize = held.lines().map(count).sum();
    let now = process::descriptors(child.pid())?.len();
    ensure!(all > seen && all <= now, "{all} are told, {now} are open: {held}");

    let picture = take(&pid, "cpu", folder.path(), "cpu.svg")?;
    let script = "import sys, xml.dom.minidom as x; print(len(x.parse(sys.argv[1]).getElementsByTagName('rect')))";
    let bars = program::output(Command::new(interpreter()).args(["-c", script, &picture]))?;
    ensure!(bars.trim().parse::<usize>().is_ok_and(|bars| bars > 3), "{bars}");

    let told = snowshed(&["profile", &pid, "lock", "--for", "1s"], BOUND)?;
    ensure!(told.code == Some(1) && told.errors.contains("nothing of that kind"), "it has no locks: {told:?}");
    let told = snowshed(&["profile", &pid, "fd", "--output", "/x.pdf"], BOUND)?;
    ensure!(told.code == Some(2) && told.errors.contains(".pb.gz"), "{told:?}");
    Ok(())
}
