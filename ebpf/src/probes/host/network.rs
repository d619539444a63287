//! Counters of a network namespace, and of the CPUs' packet backlogs.
//!
//! Formats: `/proc/net/dev` and `/proc/net/softnet_stat` of net/core/net-procfs.c, `/proc/net/netstat` of
//! net/ipv4/proc.c of the Linux sources. Every read is tolerant: what cannot be parsed is unknown.

use crate::host::proc_file::{self, Kept};
use snowshed_engine::model::Pid;
use std::{fs, path::Path};

/// What an interface dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    received: u64,
    /// Received and dropped, for lack of room in the ring too.
    pub(super) rx_dropped: u64,
    pub(super) rx_fifo: u64,
    pub(super) tx_dropped: u64,
}

/// The interfaces that the process sees.
pub(super) fn interfaces(pid: Pid) -> Vec<Interface> {
    proc_file::read(format!("/proc/{pid}/net/dev")).map_or_else(|_| Vec::new(), |text| parse_interfaces(&text))
}

fn parse_interfaces(text: &str) -> Vec<Interface> {
    let parse = |line: &str| {
        let (name, values) = line.split_once(':')?;
        let values: Vec<u64> = values.split_whitespace().map_while(|value| value.parse().ok()).collect();
        // bytes packets errs drop fifo frame compressed multicast, then the same for sending
        let &[received, _, _, rx_dropped, rx_fifo, _, _, _, _, _, _, tx_dropped, ..] = values.as_slice() else {
            return None;
        };
        Some(Interface { name: name.trim().to_owned(), received, rx_dropped, rx_fifo, tx_dropped })
    };
    text.lines().filter_map(parse).collect()
}

/// The packets among [`Interface::rx_dropped`] for which the ring had no room. A sysfs shows the namespace that
/// it was mounted in, which need not be the process's: it is believed if its counters are the same ones.
pub(super) fn missed(pid: Pid, before: &Interface) -> Option<u64> {
    let name = &before.name;
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let roots = [format!("/proc/{pid}/root/sys/class/net/{name}"), format!("/sys/class/net/{name}")];
    let told = roots.iter().find_map(|root| {
        let number = |file: &str| {
            fs::read_to_string(Path::new(root).join("statistics").join(file)).ok()?.trim().parse::<u64>().ok()
        };
        Some((number("rx_bytes")?, number("rx_dropped")?, number("rx_missed_errors")?))
            .filter(|(bytes, dropped, missed)| *bytes >= before.received && dropped + missed >= before.rx_dropped)
    })?;
    let after = interfaces(pid).into_iter().find(|after| after.name == before.name)?;
    let (bytes, dropped, missed) = told;
    let same = bytes <= after.received && dropped + missed <= after.rx_dropped;
    same.then_some(missed)
}

/// Accept queues that were full, and connections that listeners dropped.
pub(super) fn listeners(pid: Pid) -> Option<(u64, u64)> {
    let text = proc_file::read(format!("/proc/{pid}/net/netstat")).ok()?;
    Some((extended(&text, "ListenOverflows")?, extended(&text, "ListenDrops")?))
}

/// A value of `TcpExt`: a line of names, then a line of values.
fn extended(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|found| found == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

/// CPU, packets dropped because its backlog was full, times that its budget or time ran out.
pub(super) fn backlogs() -> Vec<(u64, u64, u64)> {
    static BACKLOGS: Kept = Kept::new("/proc/net/softnet_stat");
    BACKLOGS.read().map_or_else(|_| Vec::new(), |text| parse_backlogs(&text))
}

fn parse_backlogs(text: &str) -> Vec<(u64, u64, u64)> {
    let parse = |(row, line): (usize, &str)| {
        let hex = |field: &str| u64::from_str_radix(field, 16).ok();
        let fields: Vec<u64> = line.split_whitespace().map_while(hex).collect();
        // Newer kernels say which CPU a row is of; without that an offline CPU moves the rows.
        let cpu = fields.get(12).copied().unwrap_or(row as u64);
        Some((cpu, *fields.get(1)?, *fields.get(2)?))
    };
    text.lines().enumerate().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_interfaces_also_without_a_blank_after_the_name() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets errs drop\n    lo: 10 2 0 3 4 0 0 0 20 5 0 6 0 0 0 0\n\
                    eth0:7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\nodd: 1 2 x\n";
        let found = parse_interfaces(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (found[0].name.as_str(), found[0].rx_dropped, found[0].rx_fifo, found[0].tx_dropped),
            ("lo", 3, 4, 6)
        );
        assert_eq!((found[1].name.as_str(), found[1].received), ("eth0", 7));
    }

    #[test]
    fn reads_backlogs_of_old_and_new_kernels() {
        let new = "00905fc5 00000002 0000000a 0 0 0 0 0 0 0 0 0 00000005 0 0\n";
        assert_eq!(parse_backlogs(new), [(5, 2, 10)]);
        assert_eq!(parse_backlogs("1 2 3 0 0 0 0 0 0 0\n1 4 5 0 0 0 0 0 0 0\nx\n"), [(0, 2, 3), (1, 4, 5)]);
    }

    #[test]
    fn finds_a_value_by_its_name() {
        let text =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 20 21\nIpExt: ListenDrops\nIpExt: 9\n";
        assert_eq!((extended(text, "ListenOverflows"), extended(text, "ListenDrops")), (Some(20), Some(21)));
        assert_eq!((extended(text, "Gone"), extended("", "ListenDrops")), (None, None));
    }

    #[test]
    fn this_machines_own_can_be_read() {
        let me = std::process::id();
        let loopback = interfaces(me).into_iter().find(|one| one.name == "lo");
        assert!(loopback.is_some());
        assert!(listeners(me).is_some());
        assert!(!backlogs().is_empty());
        assert!(interfaces(0).is_empty() && listeners(0).is_none());
    }
}
