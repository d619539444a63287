//! A small disk of its own: a file system on a loop device.
//!
//! Invariant: it is unmounted, and its device let go, with the value.

use crate::program;
use anyhow::Context as _;
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Its size, bytes.
const SIZE: u64 = 128 << 20;

/// A mounted disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// Where it is mounted.
    pub(super) folder: PathBuf,
    /// Its number, as `MAJOR:MINOR`.
    pub(super) number: String,
}

impl Disk {
    /// Makes one below this folder.
    ///
    /// # Errors
    /// There are no loop devices, no `mkfs.ext4`, or no right to mount.
    pub(super) fn make(parent: &Path) -> anyhow::Result<Self> {
        let (image, folder) = (parent.join("disk.img"), parent.join("disk"));
        File::create(&image).and_then(|file| file.set_len(SIZE)).context("image of the disk")?;
        fs::create_dir(&folder)?;
        let mkfs = program::find("mkfs.ext4").context("mkfs.ext4 is missing")?;
        program::output(Command::new(mkfs).args(["-q", "-F"]).arg(&image))?;
        program::output(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&folder))?;
        let device = fs::metadata(&folder)?.dev();
        let number = format!("{}:{}", libc::major(device), libc::minor(device));
        Ok(Self { folder, number })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = program::output(Command::new("umount").arg(&self.folder)) {
            eprintln!("{error:#}");
        }
    }
}
