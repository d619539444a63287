//! Debian's packages: is one there, install the ones that are not, where is the mirror.
//!
//! Invariant: nothing that a package brings is started or left to start at the next boot, and the policy file that
//! holds services back for the length of the installation is gone afterwards, also when it was interrupted.

use crate::program;
use anyhow::Context as _;
use std::process::Command;

/// Holds services back (`policy-rc.d`, exit 101: "action forbidden by policy") while apt works, unless the machine has
/// a policy already. A shell's trap removes it, because it also runs when Ctrl-C ends us first.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# For the length of one installation: start no service.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update || exit 1
apt-get install --yes --no-install-recommends "$@" || exit 1
"#;

/// Services that packages of ours would start at the next boot. They are tools here.
const SERVICES: [(&str, &str); 2] =
    [("prometheus", "prometheus.service"), ("prometheus-alertmanager", "prometheus-alertmanager.service")];

/// Whether dpkg has the package installed.
#[must_use]
pub(super) fn is_installed(package: &str) -> bool {
    program::output(Command::new("dpkg-query").args(["--show", "--showformat", "${db:Status-Status}\n", package]))
        .is_ok_and(|states| states.lines().any(|state| state == "installed"))
}

/// The line for somebody who has the rights that we lack.
#[must_use]
pub(super) fn advice(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs packages. Needs root.
///
/// # Errors
/// There is no apt here, or apt failed.
pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    program::find("apt-get").context("there is no apt-get: install the named packages' equivalents by hand")?;
    program::run_aside(
        Command::new("sh").args(["-c", INSTALL, "install"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    for (package, service) in SERVICES {
        if packages.contains(&package) && program::find("systemctl").is_some() {
            program::output(Command::new("systemctl").args(["disable", service]))
                .with_context(|| format!("keep {service} from starting at the next boot"))?;
        }
    }
    Ok(())
}

/// The mirrors that apt is configured with, most likely to be Debian's own archive first. Needs no network.
///
/// # Errors
/// There is no apt here.
pub fn mirrors() -> anyhow::Result<Vec<String>> {
    let listed = program::output(Command::new("apt-get").args(["indextargets", "--format", "$(LABEL)\t$(REPO_URI)"]))?;
    Ok(by_likelihood(&listed))
}

fn by_likelihood(listed: &str) -> Vec<String> {
    let targets = || listed.lines().filter_map(|line| line.split_once('\t'));
    let debian = targets().filter(|(label, _)| *label == "Debian");
    let others = targets().filter(|(label, _)| *label != "Debian");
    let mut mirrors: Vec<String> = Vec::new();
    for (_, uri) in debian.chain(others) {
        let uri = uri.trim_end_matches('/');
        if !uri.is_empty() && !mirrors.iter().any(|known| known == uri) {
            mirrors.push(uri.to_owned());
        }
    }
    mirrors
}

/// Downloads a file with apt's own transport and proxy settings; it is kept only if its SHA-256 is right.
///
/// # Errors
/// It is not there, or is another file.
pub fn download(uri: &str, to: &std::path::Path, sha256: &str) -> anyhow::Result<()> {
    let helper = "/usr/lib/apt/apt-helper";
    let told =
        program::output(Command::new(helper).args(["download-file", uri]).arg(to).arg(format!("SHA256:{sha256}")));
    told.map(drop).with_context(|| format!("download {uri}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_comes_before_other_repositories() {
        let listed = "Other\thttp://b.example/x/\nDebian\thttp://a.example/debian/\nDebian\thttp://a.example/debian/\n";
        assert_eq!(by_likelihood(listed), ["http://a.example/debian", "http://b.example/x"]);
        assert!(by_likelihood("").is_empty());
    }

    #[test]
    fn asks_dpkg() {
        assert!(is_installed("dpkg"));
        assert!(!is_installed("no-such-package-anywhere"));
    }
}
