//! The steps, in the order in which they run: cheap ones that fail often come first.

use super::{
    context::{self, Context},
    report::{Counts, Outcome, Verdict},
    watch::watch,
};
use crate::{ebpf, process, program, pythons, setup, suites::Suite, vm};
use anyhow::{Context as _, anyhow, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// How long anything but a suite may take.
const BOUND: Duration = Duration::from_secs(20 * 60);

/// One thing that must hold.
pub(super) struct Step {
    /// As `--only` takes it.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) about: &'static str,
    /// Does it. An error is a failure of the step.
    pub(super) run: fn(&mut Context) -> anyhow::Result<Outcome>,
}

const fn step(name: &'static str, about: &'static str, run: fn(&mut Context) -> anyhow::Result<Outcome>) -> Step {
    Step { name, about, run }
}

/// All of them.
pub(super) const ALL: &[Step] = &[
    step("format", "the source is formatted", format),
    step("lints", "clippy has no complaint", lints),
    step("licences", "dependencies have licences, sources and versions that we allow", licences),
    step("workbench", "its tests pass, and its source builds what is checked in", workbench),
    step("object", "the kernel object is what its source says, byte for byte", object),
    step("build", "the release binaries and the suites compile", build),
    step("tests", "unit, replay and integration tests", tests),
    step("doc", "examples in the documentation", doc),
    step("e2e", "whole processes on this kernel: leaks and stalls named, nothing left behind", e2e),
    step("kernels", "the probes on Debian's kernels 6.1 and 6.12, in virtual machines", kernels),
    step("peers", "real Prometheus, Envoy, systemd, Kubernetes schemas and browser", peers),
    step("doctor", "every probe is full here", doctor),
];

/// Parts of the steps that can be asked for by name; whoever runs all steps runs them there.
pub(super) const PARTS: &[Step] = &[
    step("sidecar", "the agent in a container of its own beside a service, in pod-like namespaces", sidecar),
    step("stacks", "stacks are those that each runtime tells of itself, in several versions of Python", stacks),
];

fn format(_: &mut Context) -> anyhow::Result<Outcome> {
    command("format", in_root(program::cargo().args(["fmt", "--all", "--check"])))
}

fn lints(_: &mut Context) -> anyhow::Result<Outcome> {
    let mut cargo = program::cargo();
    // With the profile of everything else, so that build scripts and macros are compiled once.
    cargo.args(["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    command("lints", in_root(&mut cargo))
}

fn licences(_: &mut Context) -> anyhow::Result<Outcome> {
    let mut deny = Command::new(setup::cargo_program("cargo-deny"));
    // Not `advisories`: their database is a git repository, which a closed network cannot fetch (see deny.toml).
    command("licences", in_root(deny.args(["check", "bans", "licenses", "sources"])))
}

fn workbench(_: &mut Context) -> anyhow::Result<Outcome> {
    let project = process::root().join("dashboards/web");
    let built = process::target_dir().join("workbench");
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(&project).env("CI", "true").env("NO_COLOR", "1");
        npm
    };
    let unit = command("workbench", &mut npm(&["test"]))?;
    if !matches!(unit.verdict, Verdict::Passed) {
        return Ok(unit);
    }
    let mut build = npm(&["run", "build", "--", "--emptyOutDir", "--outDir"]);
    if !watch("workbench", build.arg(&built), BOUND)?.succeeded() {
        return Ok(Outcome { verdict: Verdict::Failed("npm run build failed".into()), ..unit });
    }
    let (kept, fresh) = (files(&project.join("dist"))?, files(&built)?);
    let differing: Vec<_> = kept
        .keys()
        .chain(fresh.keys().filter(|name| !kept.contains_key(*name)))
        .filter(|name| kept.get(*name) != fresh.get(*name))
        .map(|name| name.display().to_string())
        .collect();
    if differing.is_empty() {
        return Ok(unit);
    }
    let why = format!("dist is not what the source builds (run `npm run build`): {}", differing.join(", "));
    Ok(Outcome { verdict: Verdict::Failed(why), ..unit })
}

/// The files of a folder by their path in it.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
                found.insert(path.strip_prefix(folder)?.to_path_buf(), bytes);
            }
        }
    }
    Ok(found)
}

fn object(context: &mut Context) -> anyhow::Result<Outcome> {
    ebpf::check(context.rust_src.as_deref()).map(|()| Outcome::passed())
}

fn build(context: &mut Context) -> anyhow::Result<Outcome> {
    context.suites(|_| false).map(|_| Outcome::passed())
}

fn tests(context: &mut Context) -> anyhow::Result<Outcome> {
    let suites = context.suites(|suite| !suite.end_to_end)?;
    run_suites(&suites, &["--show-output"])
}

fn doc(_: &mut Context) -> anyhow::Result<Outcome> {
    command("doc", in_root(program::cargo().args(["test", "--release", "--workspace", "--locked", "--doc"])))
}

fn e2e(context: &mut Context) -> anyhow::Result<Outcome> {
    pythons::prepare()?;
    on_this_kernel(context, |suite| suite.end_to_end && suite.target != "peers")
}

fn sidecar(context: &mut Context) -> anyhow::Result<Outcome> {
    on_this_kernel(context, |suite| suite.end_to_end && suite.target == "e2e_sidecar")
}

fn stacks(context: &mut Context) -> anyhow::Result<Outcome> {
    pythons::prepare()?;
    on_this_kernel(context, |suite| suite.end_to_end && suite.target == "stacks")
}

fn on_this_kernel(context: &mut Context, wanted: fn(&Suite) -> bool) -> anyhow::Result<Outcome> {
    if !setup::is_root() {
        return Ok(Outcome::skipped("not root: BPF programs and network namespaces need it"));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Ok(Outcome::skipped("this kernel has no BTF (/sys/kernel/btf/vmlinux): no BPF program can be tested"));
    }
    let suites = context.suites(wanted)?;
    run_suites(&suites, &["--test-threads=1", "--show-output"])
}

fn peers(context: &mut Context) -> anyhow::Result<Outcome> {
    let suites = context.suites(|suite| suite.end_to_end && suite.target == "peers")?;
    run_suites(&suites, &["--test-threads=1", "--show-output"])
}

/// Those of Debian's stable releases: the archive keeps them, and they do not move under us.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

fn kernels(context: &mut Context) -> anyhow::Result<Outcome> {
    let suites = vm::of_probes(context.suites(|suite| suite.end_to_end)?);
    let parts = vm::Parts { snowshed: process::binary("snowshed", "snowshed-agent")?, suites };
    let (mut tests, mut wrong) = (Counts::default(), Vec::new());
    // Each guest has one emulated processor, and so keeps one of this machine's busy.
    let parts = &parts;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let wanted = vm::ALL.iter().filter(|kernel| KERNELS.contains(&kernel.name));
        let running: Vec<_> = wanted.map(|kernel| (kernel, scope.spawn(move || vm::check(kernel, parts)))).collect();
        running.into_iter().map(|(kernel, guest)| (kernel, guest.join())).collect()
    });
    for (kernel, outcome) in outcomes {
        let outcome = outcome.map_err(|_| anyhow!("watching the guest of {} panicked", kernel.name))??;
        vm::tell(kernel, &outcome);
        tests.add(Counts { passed: outcome.tests.0, failed: outcome.tests.1, skipped: Vec::new() });
        wrong.extend(outcome.wrong.iter().map(|wrong| format!("{}: {wrong}", kernel.name)));
    }
    let verdict = if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong.join("\n")) };
    Ok(Outcome { verdict, tests })
}

fn doctor(context: &mut Context) -> anyhow::Result<Outcome> {
    context.suites(|_| false)?;
    let mut doctor = Command::new(process::binary("snowshed", "snowshed-agent")?);
    let watched = watch("doctor", doctor.arg("doctor"), Duration::from_secs(60))?;
    Ok(match watched.status.and_then(|status| status.code()) {
        Some(0) => Outcome::passed(),
        Some(1) => Outcome::skipped("this machine gives a reduced tier; doctor says above what is missing"),
        other => Outcome::failed(format!("snowshed doctor ended with {other:?}")),
    })
}

fn run_suites(suites: &[Suite], arguments: &[&str]) -> anyhow::Result<Outcome> {
    if suites.is_empty() {
        bail!("there is no such suite: its tests are missing");
    }
    let (mut tests, mut failed) = (Counts::default(), Vec::new());
    for suite in suites {
        let (ran, why) = context::run(suite, arguments)?;
        tests.add(ran);
        failed.extend(why);
    }
    let verdict =
        if failed.is_empty() { Verdict::Passed } else { Verdict::Failed(format!("failed: {}", failed.join("\n"))) };
    Ok(Outcome { verdict, tests })
}

fn command(name: &str, command: &mut Command) -> anyhow::Result<Outcome> {
    let watched = watch(name, command, BOUND)?;
    let verdict = match watched.status {
        Some(status) if status.success() => Verdict::Passed,
        Some(status) => Verdict::Failed(format!("{} ended with {status}", program::line(command))),
        None => Verdict::Failed(format!("{} took longer than {} s", program::line(command), BOUND.as_secs())),
    };
    Ok(Outcome { verdict, tests: watched.tests })
}

fn in_root(command: &mut Command) -> &mut Command {
    command.current_dir(process::root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_can_be_typed() {
        let all: Vec<&Step> = ALL.iter().chain(PARTS).collect();
        for (at, step) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other.name != step.name), "{} twice", step.name);
            assert!(step.name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit()));
        }
    }

    #[test]
    fn files_are_named_from_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a.js"), "1").unwrap();
        let found = files(folder.path()).unwrap();
        assert_eq!(found.get(Path::new("inner/a.js")).unwrap(), b"1");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_command_that_fails_fails_its_step() {
        let outcome = command("x", &mut Command::new("false")).unwrap();
        assert!(matches!(outcome.verdict, Verdict::Failed(why) if why.contains("false")));
    }
}
