//! Pressure stall information: time in which somebody, or everybody, waited for a resource.
//!
//! Format: Documentation/accounting/psi.rst of the Linux sources; `total` counts microseconds.

use crate::host::{cgroup::Group, proc_file::Kept};
use snowshed_engine::model::HostSignal;

/// Resource, and the signals of its two lines.
const RESOURCES: [(&str, HostSignal, HostSignal); 3] = [
    ("cpu", HostSignal::CpuSome, HostSignal::CpuFull),
    ("memory", HostSignal::MemorySome, HostSignal::MemoryFull),
    ("io", HostSignal::IoSome, HostSignal::IoFull),
];

/// The machine's, nanoseconds since it started; empty where the kernel tells none.
pub(super) fn machine() -> Vec<(HostSignal, u64)> {
    static FILES: [Kept; 3] =
        [Kept::new("/proc/pressure/cpu"), Kept::new("/proc/pressure/memory"), Kept::new("/proc/pressure/io")];
    let place = |resource: &str| RESOURCES.iter().position(|(name, ..)| *name == resource);
    totals(|resource| FILES[place(resource)?].read().ok())
}

/// A cgroup's. The root is not one: it shows the machine's again.
pub(super) fn group(group: &Group) -> Vec<(HostSignal, u64)> {
    if group.read("cgroup.events").is_none() {
        return Vec::new();
    }
    totals(|resource| group.read(&format!("{resource}.pressure")))
}

fn totals(read: impl Fn(&str) -> Option<String>) -> Vec<(HostSignal, u64)> {
    let mut found = Vec::new();
    for (resource, some, full) in RESOURCES {
        let Some(text) = read(resource) else { continue };
        found.extend(total(&text, "some").map(|nanos| (some, nanos)));
        found.extend(total(&text, "full").map(|nanos| (full, nanos)));
    }
    found
}

fn total(text: &str, line: &str) -> Option<u64> {
    let line = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
    let micros: u64 = line.split_whitespace().find_map(|field| field.strip_prefix("total="))?.parse().ok()?;
    micros.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_lines_and_says_nothing_of_garbage() {
        let text = "some avg10=64.56 avg60=64.73 avg300=63.51 total=7264592935\nfull avg10=0.00 total=12\n";
        assert_eq!(total(text, "some"), Some(7_264_592_935_000));
        assert_eq!(total(text, "full"), Some(12_000));
        for text in ["", "some", "some total=x", "somewhat total=3", "some total=99999999999999999999"] {
            assert_eq!(total(text, "some"), None, "{text:?}");
        }
        assert_eq!(totals(|_| None), Vec::new());
    }
}
