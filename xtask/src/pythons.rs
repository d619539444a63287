//! CPython as other releases of Debian have it, beside the one that is installed: what the agent reads of an interpreter
//! lies elsewhere in each version (`docs/stacks.md`).
//!
//! Each lies with its own C library in a folder under `target/pythons`, and is run by that one's loader; nothing is installed.
//! Cost: some 10 MB and ten seconds a version, once.

use crate::{
    debian::{self, Release},
    process, program,
};
use anyhow::Context as _;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A version: its release, and what it needs beside itself.
struct Version {
    minor: u32,
    suite: &'static str,
    /// The release is supported no longer, and mirrors may drop it: then it is said, and that version is not tried.
    is_old: bool,
    libraries: &'static [&'static str],
}

const ALL: [Version; 2] = [
    Version {
        minor: 9,
        suite: "bullseye",
        is_old: true,
        libraries: &["libc6", "libgcc-s1", "libexpat1", "zlib1g", "libmpdec3"],
    },
    Version { minor: 13, suite: "trixie", is_old: false, libraries: &["libc6", "libgcc-s1", "libexpat1", "zlib1g"] },
];

/// Fetches those that are not there yet.
///
/// # Errors
/// No mirror has one of a release that is supported.
pub(crate) fn prepare() -> anyhow::Result<()> {
    ALL.iter().try_for_each(|version| match put(version) {
        Err(error) if version.is_old => {
            eprintln!("NOT TRIED: Python 3.{} of Debian's {}: {error:#}", version.minor, version.suite);
            Ok(())
        }
        other => other,
    })
}

fn put(version: &Version) -> anyhow::Result<()> {
    let folder = process::target_dir().join("pythons");
    let program = folder.join(format!("python3.{}", version.minor));
    if program.is_file() {
        return Ok(());
    }
    println!("fetching Python 3.{} of Debian's {}", version.minor, version.suite);
    let root = folder.join(version.suite);
    Release::with(version.suite, &folder, |release| fetch(release, version, &root))?;
    // Last: what is there is whole.
    fs::write(&program, script(version, &root)?).context("write how it is run")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("make it a program")
}

fn fetch(release: &Release, version: &Version, root: &Path) -> anyhow::Result<()> {
    let minor = version.minor;
    let own = ["python3.#-minimal", "libpython3.#-minimal", "libpython3.#-stdlib"];
    let own: Vec<String> = own.iter().map(|name| name.replace('#', &minor.to_string())).collect();
    let names: Vec<&str> = own.iter().map(String::as_str).chain(version.libraries.iter().copied()).collect();
    let place = tempfile::tempdir().context("a folder for packages")?;
    release.download(&names, place.path())?;
    for package in debian::packages(place.path())? {
        program::output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(root))?;
    }
    Ok(())
}

/// Its own loader runs it with its own libraries: others' may be too old for it, or too new.
fn script(version: &Version, root: &Path) -> anyhow::Result<String> {
    let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    let loader: Option<PathBuf> =
        folders.iter().map(|folder| folder.join("ld-linux-x86-64.so.2")).find(|loader| loader.exists());
    let loader = loader.with_context(|| format!("no loader in {}", root.display()))?;
    let [first, second] = &folders;
    Ok(format!(
        "#!/bin/sh\nexport PYTHONHOME='{root}/usr'\nexec '{}' --library-path '{}:{}' '{root}/usr/bin/python3.{}' \"$@\"\n",
        loader.display(),
        first.display(),
        second.display(),
        version.minor,
        root = root.display(),
    ))
}
