//! What a network namespace counts of windows; the kernel keeps no such counter of a connection.
//!
//! Format: `/proc/net/netstat` of net/ipv4/proc.c of the Linux sources. What cannot be parsed is unknown.

use crate::host::proc_file;
use snowshed_engine::model::{Nanos, Pid};
use std::collections::BTreeMap;

/// A namespace is read so often: the kernel sums some hundred counters of each CPU for it.
const EVERY: Nanos = 2_000_000_000;

/// What namespaces counted when they were last read: targets often share one.
#[derive(Debug, Default)]
pub(super) struct Windows(BTreeMap<u64, (Nanos, Option<(u64, u64)>)>);

impl Windows {
    /// What the namespace of a process counts, which has this inode.
    pub(super) fn of(&mut self, pid: Pid, namespace: u64, now: Nanos) -> Option<(u64, u64)> {
        // What nobody asked for lately is nobody's any more.
        self.0.retain(|_, (at, _)| now < *at + EVERY);
        self.0.entry(namespace).or_insert_with(|| (now, windows(pid))).1
    }
}

/// Windows that went to zero, and window probes that were sent.
fn windows(pid: Pid) -> Option<(u64, u64)> {
    let text = proc_file::read(format!("/proc/{pid}/net/netstat")).ok()?;
    Some((value(&text, "TCPToZeroWindowAdv")?, value(&text, "TCPWinProbe")?))
}

/// A value of `TcpExt`: a line of names, then a line of values.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|found| found == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_values_by_name_and_guesses_none() {
        let text = "TcpExt: A TCPWinProbe\nTcpExt: 1 20\nIpExt: B\nIpExt: 9\n";
        assert_eq!((value(text, "TCPWinProbe"), value(text, "B"), value("", "A")), (Some(20), None, None));
        assert!(windows(std::process::id()).is_some());
        assert_eq!(windows(0), None);
        let mut all = Windows::default();
        assert!(all.of(std::process::id(), 1, 5).is_some() && all.of(0, 2, 5).is_none());
        assert!(all.of(0, 1, 4 + EVERY).is_some(), "it is read once");
        assert!(all.of(0, 1, 5 + EVERY).is_none(), "it is read anew");
    }
}
