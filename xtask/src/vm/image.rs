//! Debian's kernels.
//!
//! Cost: a release's index and the package (20 to 40 MB), once for each kernel.

use super::Kernel;
use crate::{
    debian::{self, Release},
    process,
};
use anyhow::{Context as _, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The flavour without drivers of real hardware: the smallest. It depends on the newest of its suite.
const PACKAGE: &str = "linux-image-cloud-amd64";

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
    println!("{}: fetching Debian's kernel of {}", kernel.name, kernel.suite);
    Release::with(kernel.suite, &folder, |release| {
        let place = tempfile::tempdir_in(&folder).context("a folder for packages")?;
        let image = fetch(release, place.path())?;
        fs::rename(&image, &kept).with_context(|| format!("keep {}", kept.display()))
    })?;
    Ok(kept)
}

fn fetch(release: &Release, place: &Path) -> anyhow::Result<PathBuf> {
    let mut open = vec![PACKAGE.to_owned()];
    let mut seen = Vec::new();
    while let Some(package) = open.pop() {
        let packages = place.join(&package);
        release.download(&[&package], &packages)?;
        if let Some(image) = unpack(&packages)? {
            return Ok(image);
        }
        let told = release.depends(&package)?;
        seen.push(package);
        open.extend(dependencies(&told).filter(|name| !seen.contains(name)));
    }
    bail!("{} hold no kernel", seen.join(", "))
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
    for package in debian::packages(folder)? {
        let mut whole = Command::new("dpkg-deb");
        let mut whole = whole.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().context("dpkg-deb")?;
        let stream = whole.stdout.take().context("dpkg-deb's output")?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--wildcards", "--transform=s,.*/,,", "*/vmlinuz*"]).current_dir(folder).stdin(stream);
        // tar fails where nothing has that name, and dpkg-deb may then find nobody who reads on.
        let _found = tar.stderr(Stdio::null()).status().context("tar")?;
        whole.wait().context("dpkg-deb")?;
    }
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let is_image = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    Ok(listed.flatten().map(|entry| entry.path()).find(is_image))
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
