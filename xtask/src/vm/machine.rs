//! One virtual machine, from its start to its end.
//!
//! Invariant: it ends by itself, at its bound, or with whoever started it; it has no network and no disk. Cost: one core,
//! about ten times slower than it.

use super::guest::OVER;
use anyhow::Context as _;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Lines of the kernel's own console that are told of a guest that did not come to its end.
const LAST_WORDS: usize = 12;

/// What is booted, and where its console goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    pub(super) image: &'a Path,
    pub(super) system: &'a Path,
    pub(super) log: &'a Path,
}

/// What it said until its end.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its lines.
    pub(super) said: Vec<String>,
    /// It came to its end by itself.
    pub(super) over: bool,
    /// The last lines of the kernel's console.
    pub(super) console: String,
}

/// Ends the machine when it goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Machine<'_> {
    /// The command line that starts it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1G"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(self.image)
            .arg("-initrd")
            .arg(self.system)
            // An emulated processor leaks nothing to others: what would guard against that only costs time.
            .args(["-append", "console=ttyS0 loglevel=4 panic=-1 rdinit=/init mitigations=off"])
            .arg("-serial")
            .arg(format!("file:{}", self.log.display()))
            .args(["-serial", "stdio"]);
        command
    }

    /// Starts it, and hands on each line that it says until it ends or its time is up.
    ///
    /// # Errors
    /// It could not be started.
    pub(super) fn run(&self, bound: Duration, mut each: impl FnMut(&str)) -> anyhow::Result<Ended> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // SAFETY: between fork and exec only prctl is called, which takes integers: the kernel ends it with its starter.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let mut running = Running(command.spawn().context("start qemu-system-x86_64")?);
        let output = running.0.stdout.take().context("the machine's serial line")?;
        let (tell, lines) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // Anything may come, also no UTF-8; the machine's end is the end of its line.
            while matches!(output.read_until(b'\n', &mut line), Ok(length) if length > 0) {
                if tell.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let (begun, mut said, mut over) = (Instant::now(), Vec::new(), false);
        while !over && let Ok(line) = lines.recv_timeout(bound.saturating_sub(begun.elapsed())) {
            each(&line);
            over = line == OVER;
            said.push(line);
        }
        drop(running);
        let console = String::from_utf8_lossy(&fs::read(self.log).unwrap_or_default()).into_owned();
        let lines: Vec<_> = console.lines().collect();
        let console = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        Ok(Ended { said, over, console })
    }
}
