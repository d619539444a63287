//! A file system in memory: the `newc` archive that a kernel unpacks before it starts `/init`.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the Linux sources. Invariant: each path is
//! written once, and its folders before it.

use crate::program;
use anyhow::{Context as _, ensure};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    out: W,
    inode: u32,
    written: BTreeSet<PathBuf>,
}

impl Archive<BufWriter<File>> {
    /// A new one in this file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(BufWriter::new(File::create(path).with_context(|| format!("create {}", path.display()))?)))
    }
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self { out, inode: 0, written: BTreeSet::new() }
    }

    fn entry(&mut self, path: &Path, mode: u32, data: &[u8]) -> anyhow::Result<()> {
        self.inode += 1;
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
        let size = u32::try_from(data.len()).with_context(|| format!("{} is too large", path.display()))?;
        let name_size = u32::try_from(name.len() + 1).context("a path is too long")?;
        // Inode, mode, owner, group, links, time, size, device (2), the node's device (2), length of the name, sum.
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = b"070701".to_vec();
        fields.iter().for_each(|field| head.extend(format!("{field:08x}").bytes()));
        head.extend(name);
        head.push(0);
        head.resize(head.len().next_multiple_of(4), 0);
        self.out.write_all(&head)?;
        self.out.write_all(data)?;
        self.out.write_all(&[0; 3][..data.len().next_multiple_of(4) - data.len()])?;
        Ok(())
    }

    /// A folder, and those that it lies in.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) fn folder(&mut self, path: &Path) -> anyhow::Result<()> {
        let all: Vec<&Path> = path.ancestors().filter(|folder| folder.parent().is_some()).collect();
        for folder in all.into_iter().rev() {
            if self.written.insert(folder.to_path_buf()) {
                self.entry(folder, FOLDER, &[])?;
            }
        }
        Ok(())
    }

    fn place(&mut self, path: &Path, mode: u32, data: &[u8]) -> anyhow::Result<()> {
        self.folder(path.parent().context("a path has a folder")?)?;
        if self.written.insert(path.to_path_buf()) { self.entry(path, mode, data) } else { Ok(()) }
    }

    /// A file with these bytes.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) fn file(&mut self, path: &Path, permissions: u32, data: &[u8]) -> anyhow::Result<()> {
        self.place(path, FILE | permissions, data)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> anyhow::Result<()> {
        self.place(path, LINK, target.as_os_str().as_bytes())
    }

    /// A copy of a file of this machine.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let read = || Ok::<_, std::io::Error>((fs::metadata(from)?.permissions().mode() & 0o777, fs::read(from)?));
        let (permissions, data) = read().with_context(|| format!("read {}", from.display()))?;
        self.file(to, permissions, &data)
    }

    /// A copy of a program, with the shared libraries that it needs where its loader looks for them.
    ///
    /// # Errors
    /// It or a library cannot be read.
    pub(super) fn program(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        self.copy(from, to)?;
        // It fails for programs that need none.
        let Ok(told) = program::output(Command::new("ldd").arg(from)) else { return Ok(()) };
        ensure!(!told.contains("not found"), "{} lacks a library here: {told}", from.display());
        for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(library), Path::new(library))?;
        }
        Ok(())
    }

    /// A copy of a folder without the entries of these names.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub(super) fn tree(&mut self, folder: &Path, without: &[&str]) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if without.iter().any(|out| name.starts_with(out)) {
                continue;
            }
            if path.is_dir() { self.tree(&path, without)? } else { self.copy(&path, &path)? }
        }
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(mut self) -> anyhow::Result<W> {
        self.entry(Path::new("TRAILER!!!"), 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_once_and_everything_is_aligned() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/etc/a"), 0o644, b"12345").unwrap();
        archive.file(Path::new("/etc/b"), 0o600, b"").unwrap();
        archive.file(Path::new("/etc/a"), 0o644, b"again").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<_> = text.match_indices("070701").map(|(at, _)| &text[at + 110..at + 113]).collect();
        assert_eq!(names, ["etc", "etc", "etc", "TRA"], "{text}");
        assert!(text.contains("12345") && !text.contains("again"));
        assert!(text[6..].starts_with("00000001000041ed"), "inode 1, a folder");
    }
}
