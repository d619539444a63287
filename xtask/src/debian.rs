//! Packages of Debian's releases, also of such as this machine is not, fetched by apt from the mirrors that it is configured
//! with.
//!
//! Invariant: apt runs with a state of its own, so the machine's lists and settings stay as they are; what it brings is
//! signed by Debian's archive. Cost: a release's index (10 MB), and the packages.

use crate::{program, setup};
use anyhow::{Context as _, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who signs.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release on a mirror, with its index.
#[derive(Debug)]
pub(crate) struct Release {
    place: PathBuf,
}

impl Release {
    /// Reads the index of a release by one mirror after the other until `take` has what it wants; what that makes of it.
    /// `folder` holds apt's state meanwhile.
    ///
    /// # Errors
    /// No mirror has it; the message says what each answered.
    pub(crate) fn with<T>(
        suite: &str,
        folder: &Path,
        mut take: impl FnMut(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut tried = Vec::new();
        for mirror in setup::mirrors()? {
            let place = tempfile::tempdir_in(folder).context("a folder for apt")?;
            match Self::open(&mirror, suite, place.path()).and_then(|release| take(&release)) {
                Ok(taken) => return Ok(taken),
                Err(error) => tried.push(format!("  {mirror}: {error:#}")),
            }
        }
        bail!("no mirror of Debian's {suite} gave what is needed:\n{}", tried.join("\n"))
    }

    fn open(mirror: &str, suite: &str, place: &Path) -> anyhow::Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(folder)).with_context(|| format!("create {folder} for apt"))?;
        }
        let sources = format!("deb [arch=amd64 signed-by={KEYS}] {mirror} {suite} main\n");
        fs::write(place.join("sources.list"), sources).context("write apt's sources")?;
        let release = Self { place: place.to_path_buf() };
        program::output(release.apt("apt-get").args(["update", "--error-on=any"]))?;
        Ok(release)
    }

    /// Fetches packages into a folder.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn download(&self, packages: &[&str], into: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
        program::output(self.apt("apt-get").arg("download").args(packages).current_dir(into)).map(drop)
    }

    /// What a package depends on, as `apt-cache depends` says it.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn depends(&self, package: &str) -> anyhow::Result<String> {
        program::output(self.apt("apt-cache").args(["depends", package]))
    }

    /// apt with everything that it reads and writes in this folder, except how it gets through to the outside.
    fn apt(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        let folders = [
            ("Dir::State", "state"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
        ];
        for (option, folder) in folders {
            command.arg("--option").arg(format!("{option}={}", self.place.join(folder).display()));
        }
        let settings = [
            "Dir::State::status=/dev/null",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // A mirror may stand still; what is old serves as well.
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
}

/// The packages in a folder.
///
/// # Errors
/// The folder cannot be listed.
pub(crate) fn packages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let paths = listed.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect())
}
