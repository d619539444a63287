//! The source of Rust's standard library, which stable toolchains leave out and the kernel object needs (`core`).
//!
//! Invariant: whatever it comes from, it is used from one fixed path, because cargo makes the path part of each crate's
//! identity and so of the object. Cost: 68 MB on disk, unpacked once.

use super::RUST;
use crate::{program, setup};
use anyhow::{Context as _, bail, ensure};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the library lies while an object is built.
pub(super) const FIXED: &str = "/var/tmp/snowshed-rust-1.95.0/library";

/// Debian's package of it, in the archive's pool; of the suite trixie-backports, which is not added to apt.
const PACKAGE: &str = "pool/main/r/rustc/rust-src_1.95.0+dfsg1-2~bpo13+1_all.deb";
const PACKAGE_SHA256: &str = "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b";

enum Source {
    /// A `library` folder.
    Folder(PathBuf),
    /// A tar archive of it.
    Archive(PathBuf),
    /// Debian's package.
    Debian,
}

/// The library at its fixed place, put there if it is not.
///
/// # Errors
/// No source of it can be had; the message names all that were tried.
pub(super) fn library(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let library = PathBuf::from(FIXED);
    let place = library.parent().context("the fixed place has a folder")?;
    ours(place)?;
    let source = source(given)?;
    let identity = identity(&source)?;
    let stamp = place.join("source");
    let kept = fs::read_to_string(&stamp).ok().filter(|_| is_library(&library));
    // Without an explicit source, whatever was unpacked before will do: so it works offline.
    if kept.as_ref().is_some_and(|kept| *kept == identity || (given.is_none() && matches!(source, Source::Debian))) {
        return Ok(library);
    }
    println!("unpacking the standard library's source from {identity}");
    let fresh = place.join("fresh");
    empty(&fresh)?;
    let unpacked = unpack(&source, &fresh)?;
    ensure!(is_library(&unpacked), "{identity}: no library/core in it");
    if library.exists() {
        fs::remove_dir_all(&library).with_context(|| format!("replace {FIXED}"))?;
    }
    fs::rename(&unpacked, &library).with_context(|| format!("move {} to {FIXED}", unpacked.display()))?;
    fs::write(&stamp, &identity).with_context(|| format!("write {}", stamp.display()))?;
    fs::remove_dir_all(&fresh).with_context(|| format!("remove {}", fresh.display()))?;
    Ok(library)
}

/// Anybody may write beside the fixed place: what lies there is compiled only if it is our own.
fn ours(place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    let found = fs::symlink_metadata(place).with_context(|| format!("look at {}", place.display()))?;
    // SAFETY: geteuid takes nothing, touches no memory of ours and cannot fail.
    let own = unsafe { libc::geteuid() };
    ensure!(
        found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0,
        "{} belongs to another user or others may write to it: remove it",
        place.display()
    );
    Ok(())
}

fn source(given: Option<&Path>) -> anyhow::Result<Source> {
    if let Some(path) = given {
        let path = path.canonicalize().with_context(|| format!("--rust-src {}", path.display()))?;
        return if path.is_dir() { Ok(Source::Folder(path)) } else { Ok(Source::Archive(path)) };
    }
    let sysroot = program::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let component = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    if is_library(&component) { Ok(Source::Folder(component)) } else { Ok(Source::Debian) }
}

/// Names a source so that another one, or a changed one, has another name.
fn identity(source: &Source) -> anyhow::Result<String> {
    let file = |path: &Path| {
        let found = path.metadata().with_context(|| format!("look at {}", path.display()))?;
        Ok(format!("{} ({} bytes, changed {})", path.display(), found.len(), found.mtime()))
    };
    match source {
        Source::Folder(path) => file(&path.join("Cargo.lock")),
        Source::Archive(path) => file(path),
        Source::Debian => Ok(format!("Debian's {PACKAGE}")),
    }
}

fn unpack(source: &Source, to: &Path) -> anyhow::Result<PathBuf> {
    match source {
        Source::Folder(path) => {
            program::run(Command::new("cp").arg("--archive").arg(path).arg(to.join("library")))?;
        }
        Source::Archive(path) => {
            let mut tar = Command::new("tar");
            program::run(tar.args(["--extract", "--no-same-owner", "--file"]).arg(path).arg("--directory").arg(to))?;
        }
        Source::Debian => return debian(to),
    }
    Ok(to.join("library"))
}

fn debian(to: &Path) -> anyhow::Result<PathBuf> {
    let package = to.join("rust-src.deb");
    let mut tried = Vec::new();
    for mirror in setup::mirrors()? {
        match setup::download(&format!("{mirror}/{PACKAGE}"), &package, PACKAGE_SHA256) {
            Ok(()) => {
                program::run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(to))?;
                return Ok(to.join(format!("usr/src/rustc-{RUST}/library")));
            }
            Err(error) => tried.push(format!("  {error:#}")),
        }
    }
    bail!(
        "the source of Rust's standard library is not to be had:\n  rustup's component rust-src is not installed\n{}\n\
         run `rustup component add rust-src`, or pass --rust-src PATH (the `library` folder of Rust {RUST})",
        tried.join("\n")
    )
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir(folder).with_context(|| format!("create {}", folder.display()))
}

fn is_library(path: &Path) -> bool {
    path.join("core/Cargo.toml").is_file() && path.join("Cargo.lock").is_file()
}
