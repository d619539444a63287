//! Debian's kernels, fetched by apt from the mirror that it is configured with, also of suites that it is not.
//!
//! Invariant: apt runs with a state of its own, so the machine's lists and settings stay as they are; what it brings is
//! signed by Debian's archive. Cost: the suite's index (10 MB) and the package (20 to 40 MB), once for each kernel.

use super::Kernel;
use crate::{process, program, setup};
use anyhow::{Context as _, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The flavour without drivers of real hardware: the smallest. It depends on the newest of its suite.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// Who signs.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel's image, fetched if it is not kept from before.
///
/// # Errors
/// No mirror has it; the message says what each answered.
pub(super) fn of(kernel: &Kernel, fresh: bool) -> anyhow::Result<PathBuf> {
    let folder = process::target_dir().join("vm");
    let kept = folder.join(format!("vmlinuz-{}", kernel.name));
    if kept.is_file() && !fresh {
        return Ok(kept);
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut tried = Vec::new();
    for mirror in setup::mirrors()? {
        let place = tempfile::tempdir_in(&folder).context("a folder for apt")?;
        match fetch(kernel, &mirror, place.path()) {
            Ok(image) => {
                fs::rename(&image, &kept).with_context(|| format!("keep {}", kept.display()))?;
                return Ok(kept);
            }
            Err(error) => tried.push(format!("  {mirror}: {error:#}")),
        }
    }
    bail!("no mirror has {PACKAGE} of Debian's {}:\n{}", kernel.suite, tried.join("\n"))
}

fn fetch(kernel: &Kernel, mirror: &str, place: &Path) -> anyhow::Result<PathBuf> {
    for folder in ["state/lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(place.join(folder)).with_context(|| format!("create {folder} for apt"))?;
    }
    let sources = format!("deb [arch=amd64 signed-by={KEYS}] {mirror} {} main\n", kernel.suite);
    fs::write(place.join("sources.list"), sources).context("write apt's sources")?;
    println!("{}: fetching Debian's kernel of {}", kernel.name, kernel.suite);
    program::output(apt("apt-get", place).args(["update", "--error-on=any"]))?;
    let mut open = vec![PACKAGE.to_owned()];
    let mut seen = Vec::new();
    while let Some(package) = open.pop() {
        let packages = place.join("packages").join(&package);
        fs::create_dir_all(&packages).context("a folder for a package")?;
        program::output(apt("apt-get", place).args(["download", &package]).current_dir(&packages))?;
        if let Some(image) = unpack(&packages)? {
            return Ok(image);
        }
        let told = program::output(apt("apt-cache", place).args(["depends", &package]))?;
        seen.push(package);
        open.extend(dependencies(&told).filter(|name| !seen.contains(name)));
    }
    bail!("{} hold no kernel", seen.join(", "))
}

/// apt with everything that it reads and writes in this folder, except how it gets through to the outside.
fn apt(name: &str, place: &Path) -> Command {
    let mut command = Command::new(name);
    let folders = [
        ("Dir::State", "state"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "none"),
    ];
    for (option, folder) in folders {
        command.arg("--option").arg(format!("{option}={}", place.join(folder).display()));
    }
    let settings = [
        "Dir::State::status=/dev/null",
        "Acquire::Languages=none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        // A mirror may stand still; an old kernel serves as well.
        "Acquire::Check-Valid-Until=false",
        "APT::Sandbox::User=",
        "APT::Architecture=amd64",
        "Acquire::Retries=3",
    ];
    for setting in settings {
        command.args(["--option", setting]);
    }
    command.env("LC_ALL", "C");
    command
}

/// The packages on the way to the kernel, in what `apt-cache depends` says. (Newer ones split it from its modules.)
fn dependencies(told: &str) -> impl Iterator<Item = String> + '_ {
    told.lines()
        .filter_map(|line| line.trim_start_matches([' ', '|']).strip_prefix("Depends: "))
        .filter(|name| ["linux-image-", "linux-binary-"].iter().any(|start| name.starts_with(start)))
        .map(str::to_owned)
}

/// The kernel's image in a folder's packages, if there is one.
fn unpack(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    for package in files(folder)?.iter().filter(|path| path.extension().is_some_and(|end| end == "deb")) {
        let mut whole = Command::new("dpkg-deb");
        let mut whole = whole.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().context("dpkg-deb")?;
        let stream = whole.stdout.take().context("dpkg-deb's output")?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--wildcards", "--transform=s,.*/,,", "*/vmlinuz*"]).current_dir(folder).stdin(stream);
        // tar fails where nothing has that name, and dpkg-deb may then find nobody who reads on.
        let _found = tar.stderr(Stdio::null()).status().context("tar")?;
        whole.wait().context("dpkg-deb")?;
    }
    let is_image = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    Ok(files(folder)?.into_iter().find(is_image))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    Ok(listed.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_kernel_is_read_from_dependencies() {
        let told = "linux-image-7.2-cloud-amd64\n  PreDepends: linux-base\n |Depends: dracut\n  Depends: linux-base-7.2\n  \
                    Depends: linux-binary-7.2-cloud-amd64\n  Suggests: linux-image-other\n";
        assert_eq!(dependencies(told).collect::<Vec<_>>(), ["linux-binary-7.2-cloud-amd64"]);
    }
}
