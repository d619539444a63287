//! The program of `mill.c`, which holds descriptors and makes and closes others at a given rate.
//!
//! Cost: compiling it takes a moment; it ends with whoever started it.

use crate::{
    process::{self, Child, Spawn},
    program,
};
use anyhow::Context as _;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Compiles it into a folder.
pub(in crate::bench) fn compile(folder: &Path) -> anyhow::Result<PathBuf> {
    let (source, mill) = (folder.join("mill.c"), folder.join("mill"));
    std::fs::write(&source, include_str!("mill.c")).with_context(|| format!("write {}", source.display()))?;
    program::run(Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(&mill).arg(&source))?;
    Ok(mill)
}

/// A running one.
pub(in crate::bench) struct Mill {
    child: Child,
}

impl Mill {
    /// Starts it; it holds nothing yet.
    pub(in crate::bench) fn start(
        program: &Path,
        folder: &Path,
        number: u32,
        held: u32,
        rate: u32,
    ) -> anyhow::Result<Self> {
        let arguments = [held, rate, number].map(|number| number.to_string());
        let mut child = Spawn::new(&format!("mill-{number}"), program).args(arguments).start(folder)?;
        child.wait_line("listening", PATIENCE)?;
        Ok(Self { child })
    }

    pub(in crate::bench) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Has it take what it is to hold.
    pub(in crate::bench) fn fill(&mut self) -> anyhow::Result<()> {
        process::signal(self.pid(), libc::SIGUSR1)?;
        self.child.wait_line("ready", PATIENCE)?;
        Ok(())
    }

    /// Has it make and close descriptors from now on.
    pub(in crate::bench) fn turn(&mut self) -> anyhow::Result<()> {
        process::signal(self.pid(), libc::SIGUSR1)?;
        self.child.wait_line("turned", PATIENCE)?;
        Ok(())
    }

    /// Descriptors made and closed so far.
    pub(in crate::bench) fn turned(&self) -> u64 {
        let said = self.child.output();
        let told = said.lines().rev().find_map(|line| line.strip_prefix("turned ")?.parse().ok());
        told.unwrap_or(0)
    }
}
