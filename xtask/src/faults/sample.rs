//! What was seen of a service at one moment.
//!
//! Invariant: what could not be read is missing, never zero.

use crate::process::{self, Descriptor};
use serde::Serialize;
use std::collections::BTreeMap;

/// A look at a service.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Seconds since the fault was switched on; negative before.
    pub at: f64,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors by kind.
    pub fds: BTreeMap<&'static str, usize>,
    /// Threads.
    pub threads: Option<usize>,
    /// Tasks of the event loop, as `/metrics` tells.
    pub tasks: Option<f64>,
    /// The last answer of `/livez`, or how long it has been waited for, milliseconds.
    pub livez_ms: Option<f64>,
    /// Median first byte of the requests that ended in the last second, milliseconds. One that failed for want of
    /// time counts with its time.
    pub first_byte_ms: Option<f64>,
}

impl Sample {
    /// What `/proc` says of a process.
    pub(super) fn of_process(pid: u32, at: f64) -> Self {
        let mut fds = BTreeMap::new();
        for descriptor in process::descriptors(pid).unwrap_or_default() {
            *fds.entry(kind(&descriptor)).or_default() += 1;
        }
        // A process that is gone has none; a living one has some.
        let threads = Some(process::threads(pid).len()).filter(|threads| *threads > 0);
        Self { at, resident_bytes: process::resident(pid), fds, threads, ..Self::default() }
    }

    /// All open file descriptors.
    pub(super) fn open_fds(&self) -> Option<usize> {
        (!self.fds.is_empty()).then(|| self.fds.values().sum())
    }
}

/// What a descriptor leads to, in one word.
fn kind(descriptor: &Descriptor) -> &'static str {
    match descriptor.target.split_once(':') {
        Some(("socket", _)) => "socket",
        Some(("pipe", _)) => "pipe",
        Some(("anon_inode", _)) => "anonymous",
        _ if descriptor.target.ends_with(" (deleted)") => "deleted file",
        _ if descriptor.regular => "file",
        _ => "device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_on_this_process() {
        let before = Sample::of_process(std::process::id(), 0.0);
        let held = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::io::pipe().unwrap());
        let file = tempfile::tempfile().unwrap();
        let after = Sample::of_process(std::process::id(), 1.0);
        let more = |kind: &str| after.fds.get(kind).unwrap_or(&0) > before.fds.get(kind).unwrap_or(&0);
        assert!(more("socket") && more("pipe") && more("deleted file"), "{before:?} {after:?}");
        assert!(after.open_fds() > Some(3) && after.threads > Some(0) && after.resident_bytes > Some(0));
        drop((held, file));
    }

    #[test]
    fn nothing_is_known_of_a_process_that_is_gone() {
        let sample = Sample::of_process(u32::MAX, 0.0);
        assert_eq!((sample.open_fds(), sample.threads, sample.resident_bytes), (None, None, None));
    }
}
