//! The figures that rules may be about.
//!
//! Invariant: one line each in [`ALL`]; a figure tells when it was true, or that it is not known. Cost: a look-up.

use crate::{
    model::{Layer, Nanos, Resource},
    signs::Sign,
    target::Target,
};
use serde::{Deserialize, Serialize};

/// A figure and when it was true; `None`: nobody tells it.
type Read = fn(&Target, Nanos) -> Option<(Nanos, f64)>;

/// A figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) layer: Layer,
    pub(crate) read: Read,
}

const fn figure(name: &'static str, unit: &'static str, layer: Layer, read: Read) -> Figure {
    Figure { name, unit, layer, read }
}

use Layer::{Application, Infrastructure, Network};

/// Every figure, as `docs/joint-rules.md` lists them.
pub(crate) const ALL: &[Figure] = &[
    figure("fds", "fds", Application, |target, _| target.fds.last()),
    // What the process says is in use; else what is resident of its own.
    figure("memory", "bytes", Application, |target, now| {
        let heap = target.told(Resource::HeapInUse).filter(|(at, _)| now.saturating_sub(*at) <= super::watch::FRESH);
        heap.or_else(|| target.told(Resource::RssAnon))
    }),
    figure("heap_in_use", "bytes", Application, |target, _| target.told(Resource::HeapInUse)),
    figure("rss_anon", "bytes", Application, |target, _| target.told(Resource::RssAnon)),
    figure("swap", "bytes", Infrastructure, |target, _| target.told(Resource::Swap)),
    figure("cgroup_memory", "bytes", Infrastructure, |target, _| target.told(Resource::CgroupMemory)),
    figure("host_memory", "bytes", Infrastructure, |target, _| target.told(Resource::HostMemory)),
    figure("threads", "threads", Application, |target, _| target.told(Resource::Threads)),
    figure("tasks", "tasks", Application, |target, _| target.told(Resource::Tasks)),
    figure("collections", "collections", Application, |target, _| target.told(Resource::Collections)),
    figure("major_faults", "faults", Infrastructure, |target, _| target.told(Resource::MajorFaults)),
    figure("in_flight", "requests", Application, |target, _| {
        target.report.map(|report| (report.at, f64::from(report.in_flight)))
    }),
    figure("requests", "requests", Application, |target, now| target.requests_told(now)),
    figure("slow_ratio", "ratio", Application, |target, now| sign(target, now, Sign::Slow)),
    figure("failed_ratio", "ratio", Application, |target, now| sign(target, now, Sign::Failed)),
    figure("lock_waiters", "threads", Application, |target, now| sign(target, now, Sign::LockWait)),
    figure("resent_ratio", "ratio", Network, |target, now| sign(target, now, Sign::Resent)),
    figure("failed_connects", "connects/s", Network, |target, now| sign(target, now, Sign::Refused)),
    figure("cpu_delay_ratio", "ratio", Infrastructure, |target, now| sign(target, now, Sign::CpuDelay)),
    figure("blocked_threads", "threads", Infrastructure, |target, now| sign(target, now, Sign::Blocked)),
];

/// Over the last ten seconds.
fn sign(target: &Target, now: Nanos, sign: Sign) -> Option<(Nanos, f64)> {
    target.signs.height(sign, now).map(|height| (now, height))
}

/// The name of a figure that exists.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FigureName(&'static Figure);

impl FigureName {
    /// The figure.
    pub(crate) fn figure(self) -> &'static Figure {
        self.0
    }
}

impl PartialEq for FigureName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl TryFrom<String> for FigureName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        ALL.iter().find(|figure| figure.name == name).map(Self).ok_or_else(|| {
            let all: Vec<&str> = ALL.iter().map(|figure| figure.name).collect();
            format!("series: there is no \"{}\"; there are {}", name.escape_debug(), all.join(", "))
        })
    }
}

impl From<FigureName> for String {
    fn from(name: FigureName) -> Self {
        name.0.name.to_owned()
    }
}

/// A figure for people.
pub(crate) fn words(value: f64, unit: &str) -> String {
    const MIB: f64 = 1_048_576.0;
    match unit {
        "bytes" if value >= MIB => format!("{:.0} MiB", value / MIB),
        _ if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_name_is_documented_and_unknown_at_first() {
        let docs = include_str!("../../../../docs/joint-rules.md");
        let target = Target::new(1, 0, 0);
        for (number, figure) in ALL.iter().enumerate() {
            assert!(ALL[number + 1..].iter().all(|other| other.name != figure.name), "{}", figure.name);
            assert!(docs.contains(&format!("| `{}` |", figure.name)), "{} is not in the docs", figure.name);
            assert_eq!((figure.read)(&target, 0), None, "{}", figure.name);
        }
    }

    #[test]
    fn figures_are_told_in_units_that_suit_them() {
        assert_eq!(words(104_857_600.0, "bytes"), "100 MiB");
        assert_eq!(words(3_000.4, "fds"), "3000 fds");
        assert_eq!(words(1.25, "collections/s"), "1.25 collections/s");
    }
}
