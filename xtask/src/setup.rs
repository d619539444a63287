//! Set-up: what a command needs, what of it is missing, and installing that.
//!
//! Invariant: the plan is printed before anything changes, on standard error like all that installers say, so that standard
//! output is what was asked for; where nothing is missing, nothing is changed and no network is used; where root is
//! missing, nothing is installed and the message is a line to copy. Cost: a dpkg query a package.

mod apt;
mod need;
mod tools;

pub use apt::{download, mirrors};
pub use need::{CAMPAIGN, DEMO, DEMO_SEEN, EBPF, FAULTS, Need, PROBES, TEST, VM, union};
pub use tools::{cargo_program, go, traced_python, venv};

use crate::program;
use anyhow::Context as _;

/// What to install for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Purpose {
    /// `cargo xtask demo`
    Demo,
    /// `cargo xtask ebpf`
    Ebpf,
    /// `cargo xtask test`: everything
    Test,
}

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The command to get ready for.
    #[arg(value_enum, default_value = "test")]
    purpose: Purpose,
}

/// Something is missing that only root may install. The command exits with 2.
#[derive(Debug)]
pub struct Missing(String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// What a command tells before it begins.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The command, as in `cargo xtask test`.
    pub command: &'a str,
    /// What must be there.
    pub needs: &'a [&'a [Need]],
    /// Which rights it needs, and for what.
    pub privileges: &'a str,
    /// What it changes on the machine beyond installing, one sentence each.
    pub changes: &'a [&'a str],
}

/// Installs what a command needs.
///
/// # Errors
/// As [`prepare`].
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (command, needs) = match args.purpose {
        Purpose::Demo => ("cargo xtask setup demo", DEMO),
        Purpose::Ebpf => ("cargo xtask setup ebpf", EBPF),
        Purpose::Test => ("cargo xtask setup test", TEST),
    };
    prepare(&Plan { command, needs, privileges: "root, only while packages are missing", changes: &[] })
}

/// Prints the plan, then installs what is missing.
///
/// # Errors
/// [`Missing`] if root is needed and we are not; otherwise what the installer said.
pub fn prepare(plan: &Plan<'_>) -> anyhow::Result<()> {
    let needs = union(plan.needs);
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !is_there(*need)).collect();
    print(plan, &needs, &missing);
    let packages = packages(&missing);
    if !packages.is_empty() && !is_root() {
        let advice = apt::advice(&packages);
        return Err(Missing(format!("not root, so nothing was installed. Please run:\n\n    {advice}\n")).into());
    }
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    for need in missing {
        install(need)?;
        anyhow::ensure!(is_there(need), "{} was installed and still is not there", name(need));
    }
    Ok(())
}

/// Whether we may do everything.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn is_there(need: Need) -> bool {
    match need {
        Need::Package(package) => apt::is_installed(package),
        Need::Program { name, .. } => program::find(name).is_some(),
        Need::Component { command, .. } => program::output(program::cargo().args([command, "--version"])).is_ok(),
        Need::Crate { name, version } => tools::has_crate(name, version),
        Need::Python { name, version } => tools::has_python(name, version),
        Need::Npm { folder } => tools::has_npm(folder),
    }
}

/// Installs what apt does not; its packages are there already, all in one go.
fn install(need: Need) -> anyhow::Result<()> {
    match need {
        Need::Package(_) | Need::Program { .. } => Ok(()),
        Need::Component { component, .. } => {
            program::run_aside(std::process::Command::new("rustup").args(["component", "add", component]))
        }
        Need::Crate { name, version } => tools::install_crate(name, version),
        Need::Python { name, version } => tools::install_python(name, version),
        Need::Npm { folder } => tools::install_npm(folder),
    }
    .with_context(|| format!("install {}", name(need)))
}

/// Debian's packages among these needs, each once.
fn packages(needs: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in needs {
        if let Need::Package(package) | Need::Program { package, .. } = need
            && !packages.contains(package)
        {
            packages.push(*package);
        }
    }
    packages
}

fn name(need: Need) -> String {
    match need {
        Need::Package(package) | Need::Program { package, .. } => package.to_owned(),
        Need::Component { component, .. } => format!("Rust's {component}"),
        Need::Crate { name, version } | Need::Python { name, version } => format!("{name} {version}"),
        Need::Npm { folder } => format!("npm packages of {folder}"),
    }
}

fn print(plan: &Plan<'_>, needs: &[Need], missing: &[Need]) {
    let is_package = |need: &&Need| matches!(need, Need::Package(_) | Need::Program { .. });
    let count = |what: &str, of: Vec<&Need>| {
        let mut lacking: Vec<String> =
            of.iter().filter(|need| missing.contains(need)).map(|need| name(**need)).collect();
        let there = of.len() - lacking.len();
        lacking.dedup();
        match (of.len(), lacking.is_empty()) {
            (0, _) => {}
            (_, true) => eprintln!("  {what:<11} all {there} there"),
            (_, false) => eprintln!("  {what:<11} {there} there, missing: {}", lacking.join(", ")),
        }
    };
    eprintln!("{}: the plan", plan.command);
    count("packages", needs.iter().filter(is_package).collect());
    count("tools", needs.iter().filter(|need| !is_package(need)).collect());
    let own = if is_root() { "you are root" } else { "you are not root" };
    eprintln!("  {:<11} {} ({own})", "privileges", plan.privileges);
    let mut changes = plan.changes.to_vec();
    if !packages(missing).is_empty() {
        changes.insert(0, "installs the packages above with apt; no service of theirs is started");
    }
    if needs.iter().any(|need| !is_package(&need)) {
        changes
            .push("its own tools lie in target/tools and in node_modules beside each package-lock.json, nowhere else");
    }
    for (at, change) in changes.iter().enumerate() {
        eprintln!("  {:<11} {change}", if at == 0 { "changes" } else { "" });
    }
    eprintln!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_two_needs_share_is_installed_once() {
        let prometheus = |name| Need::Program { name, package: "prometheus" };
        let needs = [prometheus("prometheus"), prometheus("promtool"), Need::Npm { folder: "x" }];
        assert_eq!(packages(&needs), ["prometheus"]);
    }

    #[test]
    fn what_is_not_there_is_missing() {
        assert!(is_there(Need::Program { name: "sh", package: "dash" }));
        assert!(!is_there(Need::Package("no-such-package-anywhere")));
        assert!(!is_there(Need::Crate { name: "cargo-deny", version: "0.0.0" }));
        assert!(!is_there(Need::Python { name: "no-such-package", version: "1" }));
        assert!(!is_there(Need::Npm { folder: "docs" }));
    }
}
