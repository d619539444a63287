//! Loading, attaching, targets and polling. (Interface; the body follows.)

use crate::ProbeStatus;
use snowshed_engine::model::{Ask, Nanos, Observation, Pid, SiteId};

/// How to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Do not use BPF at all (`/proc` fallbacks only); for tests and for `--no-bpf`.
    pub no_bpf: bool,
}

/// A frame of a resolved site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled function name, or the module and offset where there is no symbol.
    pub function: String,
    /// Source file and line.
    pub location: Option<(String, u32)>,
}

/// What can go wrong with one target; the session itself always starts, in a lower tier if it must.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No such process in this pid namespace.
    #[error("pid {0}: no such process")]
    NoSuchProcess(Pid),
    /// It may not be looked at.
    #[error("pid {0}: not permitted: {1}")]
    NotPermitted(Pid, String),
    /// The table of targets is full.
    #[error("pid {0}: already watching {1} processes, the most this version can")]
    TooMany(Pid, usize),
}

/// Attached probes. Lives on one thread; dropping it detaches everything.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Attaches what can be attached. Never fails: see [`Session::status`].
    #[must_use]
    pub fn start(_options: Options) -> Self {
        Self {}
    }
    /// Watches a process and, from now on, the processes it forks.
    ///
    /// # Errors
    /// The process does not exist or may not be read, or the table is full.
    pub fn add_target(&mut self, _pid: Pid) -> Result<(), SessionError> {
        Ok(())
    }
    /// Stops watching a process.
    pub fn remove_target(&mut self, _pid: Pid) {}
    /// The processes watched now, forked children included.
    #[must_use]
    pub fn targets(&self) -> Vec<Pid> {
        Vec::new()
    }
    /// Waits up to `timeout` for kernel events, then appends what they and the due samples say.
    pub fn poll(&mut self, _timeout: std::time::Duration, _out: &mut Vec<Observation>) {}
    /// Answers the engine.
    pub fn ask(&mut self, _ask: Ask) {}
    /// The frames of a site, innermost first; empty if unknown. Resolved lazily and kept.
    pub fn frames(&mut self, _site: SiteId) -> Vec<Frame> {
        Vec::new()
    }
    /// State and cost of each probe.
    #[must_use]
    pub fn status(&self) -> Vec<ProbeStatus> {
        Vec::new()
    }
    /// `CLOCK_MONOTONIC` now.
    #[must_use]
    pub fn now() -> Nanos {
        0
    }
}
