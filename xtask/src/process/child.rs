//! Starting and ending one child process.
//!
//! Invariant: output goes to files, never to a pipe that could fill up; the child has its own process group, so that
//! Ctrl-C reaches the starter alone, which then ends its children in order.

use super::{signal, wait_until};
use anyhow::{Context as _, bail};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

/// How to start a child.
#[derive(Debug)]
pub struct Spawn {
    name: String,
    command: Command,
    limits: Limits,
}

/// What the child may have.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    descriptors: Option<u64>,
    data: Option<u64>,
}

impl Spawn {
    /// A child that messages call `name`.
    #[must_use]
    pub fn new(name: &str, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(std::process::Stdio::null());
        Self { name: name.into(), command, limits: Limits::default() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = impl Into<OsString>>>(mut self, args: I) -> Self {
        self.command.args(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Gives it this many file descriptors at most (soft and hard limit).
    #[must_use]
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.limits.descriptors = Some(limit);
        self
    }

    /// Gives it this many bytes of private writable memory at most (`RLIMIT_DATA`), and no core dump.
    #[must_use]
    pub fn data(mut self, bytes: u64) -> Self {
        self.limits.data = Some(bytes);
        self
    }

    /// Starts it, with its output in `NAME.out` and `NAME.err` of this folder.
    ///
    /// # Errors
    /// The program or the folder is not there.
    pub fn start(mut self, logs: &Path) -> anyhow::Result<Child> {
        let out = logs.join(format!("{}.out", self.name));
        let err = logs.join(format!("{}.err", self.name));
        let open = |path: &PathBuf| File::create(path).with_context(|| format!("create {}", path.display()));
        self.command.stdout(open(&out)?).stderr(open(&err)?).process_group(0);
        let limits = self.limits;
        // SAFETY: between fork and exec only async-signal-safe calls are made, on values copied before the fork.
        unsafe { self.command.pre_exec(move || prepare(limits)) };
        let inner = self.command.spawn().with_context(|| format!("start {}", self.name))?;
        Ok(Child { name: self.name, inner, out, err, status: None })
    }
}

fn prepare(limits: Limits) -> std::io::Result<()> {
    // SAFETY: prctl with PR_SET_PDEATHSIG takes an integer; it asks the kernel for SIGKILL when the starter dies.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // What is meant to run out of memory should not write it to disk.
    let core = limits.data.map(|_| 0);
    let all = [(libc::RLIMIT_NOFILE, limits.descriptors), (libc::RLIMIT_DATA, limits.data), (libc::RLIMIT_CORE, core)];
    for (resource, limit) in all {
        let Some(limit) = limit else { continue };
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: the structure lives on this stack for the length of the call.
        if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A running child; dropping it ends it.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    status: Option<ExitStatus>,
}

impl Child {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.out)
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        read(&self.err)
    }

    /// Its exit status, once it has ended.
    ///
    /// # Errors
    /// The kernel does not know the child.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.inner.try_wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(self.status)
    }

    /// Waits until a line of its standard output starts with `prefix`, and gives the whole line.
    ///
    /// # Errors
    /// It ended before, or took longer than `bound`; the message holds the end of its errors.
    pub fn wait_line(&mut self, prefix: &str, bound: Duration) -> anyhow::Result<String> {
        let what = format!("{} to say {prefix:?}", self.name);
        let waited = wait_until(&what, bound, || {
            // The end is asked first: what it said until then is complete when the output is read.
            let ended = self.ended()?;
            // A line without its end may still be growing.
            let said = self.output();
            let line = said.split_inclusive('\n').find(|line| line.starts_with(prefix) && line.ends_with('\n'));
            match (line, ended) {
                (Some(line), _) => Ok(Some(line.trim_end().to_owned())),
                (None, Some(status)) => bail!("{} ended with {status} before it was ready", self.name),
                (None, None) => Ok(None),
            }
        });
        waited.with_context(|| format!("{} said on standard error: {}", self.name, tail(&self.errors())))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It takes longer than `bound`.
    pub fn wait_end(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        wait_until(&format!("{} to end", self.name), bound, || self.ended())
    }

    /// SIGTERM, and how it ended and how long that took.
    ///
    /// # Errors
    /// It did not end within `bound`.
    pub fn stop(&mut self, bound: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        if let Some(status) = self.ended()? {
            return Ok((status, Duration::ZERO));
        }
        signal(self.pid(), libc::SIGTERM)?;
        Ok((self.wait_end(bound)?, start.elapsed()))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_none() {
            self.inner.kill().with_context(|| format!("kill {}", self.name))?;
            self.status = Some(self.inner.wait().with_context(|| format!("wait for {}", self.name))?);
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_some() || !matches!(self.inner.try_wait(), Ok(None)) {
            return;
        }
        // Not `stop`: that gives up on Ctrl-C, and here the child must go.
        if signal(self.inner.id(), libc::SIGTERM).is_ok() {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(3) {
                if !matches!(self.inner.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if let Err(error) = self.inner.kill().and_then(|()| self.inner.wait().map(drop)) {
            eprintln!("could not end {} (pid {}): {error}", self.name, self.inner.id());
        }
    }
}

/// Output need not be UTF-8, and a file that vanished says nothing.
fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::is_alive;

    #[test]
    fn a_child_says_something_ends_and_is_gone_on_drop() {
        let logs = tempfile::tempdir().unwrap();
        let script = "echo ready 7; ulimit -n; trap '' TERM; while :; do sleep 0.05; done";
        let spawn = Spawn::new("stubborn", "sh").args(["-c", script]).descriptors(77);
        let mut child = spawn.start(logs.path()).unwrap();
        assert_eq!(child.wait_line("ready", Duration::from_secs(5)).unwrap(), "ready 7");
        assert_eq!(child.wait_line("77", Duration::from_secs(5)).unwrap(), "77");
        let pid = child.pid();
        assert!(is_alive(pid));
        assert!(child.stop(Duration::from_millis(200)).is_err(), "it ignores SIGTERM");
        drop(child);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_child_that_ends_early_is_named_with_its_errors() {
        let logs = tempfile::tempdir().unwrap();
        let mut child = Spawn::new("brief", "sh").args(["-c", "echo why not >&2; exit 3"]).start(logs.path()).unwrap();
        let error = format!("{:#}", child.wait_line("ready", Duration::from_secs(5)).unwrap_err());
        assert!(error.contains("why not") && error.contains("brief"), "{error}");
    }
}
