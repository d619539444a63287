//! A target's memory and the shortages around it, as people and programs are told of them.
//!
//! Invariant: a word on growth is no stronger than the engine's verdict; a place is called the one where pages
//! came in, never the leak itself.

use super::{
    Sites,
    allocators::{self, beyond_allocator},
    frames,
};
use serde::Serialize;
use snowshed_engine::model::{
    HostScope, HostSignal, HostView, MemorySite, MemoryTrend, MemoryVerdict, PageKind, TargetView, TraceId,
};

const MIB: f64 = 1_048_576.0;
/// From this ratio of what comes in to what stays, a place says little about what is kept.
const TURNOVER: f64 = 3.0;

/// The memory of a target. Bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) anon: Option<u64>,
    pub(crate) file: Option<u64>,
    pub(crate) shmem: Option<u64>,
    pub(crate) swap: Option<u64>,
    pub(crate) peak: Option<u64>,
    pub(crate) address_space: Option<u64>,
    pub(crate) address_space_data: Option<u64>,
    pub(crate) cgroup_current: Option<u64>,
    pub(crate) cgroup_limit: Option<u64>,
    /// Heap in use and its limit, as the target publishes them.
    pub(crate) heap_in_use: Option<u64>,
    pub(crate) heap_limit: Option<u64>,
    pub(crate) collections_total: Option<u64>,
    pub(crate) major_faults_total: Option<u64>,
    pub(crate) oom_kills_total: u64,
    pub(crate) trends: Vec<Trend>,
    pub(crate) sites: Vec<Site>,
}

/// What the memory of a kind does.
#[derive(Debug, Serialize)]
pub(crate) struct Trend {
    pub(crate) kind: PageKind,
    pub(crate) verdict: MemoryVerdict,
    pub(crate) growth_bytes_per_second: Option<(f64, f64)>,
    pub(crate) pages_in_bytes_per_second: Option<f64>,
    /// The verdict as a sentence.
    pub(crate) words: String,
}

/// Where pages came in lately.
#[derive(Debug, Serialize)]
pub(crate) struct Site {
    pub(crate) kind: PageKind,
    pub(crate) frames: Vec<String>,
    pub(crate) bytes: u64,
    pub(crate) trace_ids: Vec<TraceId>,
}

impl Record {
    pub(crate) fn new(target: &TargetView, names: &Sites) -> Self {
        let memory = &target.memory;
        let site = |site: &MemorySite| Site {
            kind: site.kind,
            frames: beyond_allocator(frames(names, site.site)),
            bytes: site.bytes,
            trace_ids: site.traces.clone(),
        };
        let sites: Vec<Site> = memory.sites.iter().map(site).collect();
        let trend = |trend: &MemoryTrend| Trend {
            kind: trend.kind,
            verdict: trend.verdict,
            growth_bytes_per_second: trend.growth,
            pages_in_bytes_per_second: trend.pages_in,
            words: words(trend, &sites, memory.rss_peak, memory.heap.map(|(used, _)| used)),
        };
        Self {
            anon: target.rss_anon,
            file: target.rss_file,
            shmem: memory.rss_shmem,
            swap: memory.swap,
            peak: memory.rss_peak,
            address_space: memory.address_space,
            address_space_data: memory.address_space_data,
            cgroup_current: memory.cgroup.map(|(current, _)| current),
            cgroup_limit: memory.cgroup.and_then(|(_, limit)| limit),
            heap_in_use: memory.heap.map(|(used, _)| used),
            heap_limit: memory.heap.and_then(|(_, limit)| limit),
            collections_total: memory.collections,
            major_faults_total: memory.major_faults,
            oom_kills_total: memory.oom_kills,
            trends: memory.trends.iter().map(trend).collect(),
            sites,
        }
    }
}

/// Bytes as people read them.
pub(crate) fn mib(bytes: f64) -> String {
    if bytes < 1024.0 * MIB { format!("{:.1} MiB", bytes / MIB) } else { format!("{:.2} GiB", bytes / MIB / 1024.0) }
}

fn words(trend: &MemoryTrend, sites: &[Site], peak: Option<u64>, heap: Option<u64>) -> String {
    let level = mib(trend.level as f64);
    match (trend.verdict, trend.growth) {
        (MemoryVerdict::Grows, Some((low, high))) => {
            let (low, high) = (low * 60.0 / MIB, high * 60.0 / MIB);
            let rate = if high - low < 0.1 * high { format!("{high:.1}") } else { format!("{low:.1} to {high:.1}") };
            format!("grows: {rate} MiB/min at {}{}", place(trend.kind, sites), doubt(trend))
        }
        (MemoryVerdict::Holds, _) => {
            let most = peak.map_or_else(String::new, |peak| format!(" (at most {} in all, ever)", mib(peak as f64)));
            let quiet = if trend.pages_in.is_some() { "hardly a page comes in" } else { "pages are not counted" };
            format!("holds what it once used: {level}{most}; {quiet}")
        }
        (MemoryVerdict::TurnsOver, _) => {
            let rate = trend.pages_in.unwrap_or(0.0) / MIB;
            format!("stays at {level} while {rate:.1} MiB/s come and go, most at {}", place(trend.kind, sites))
        }
        (MemoryVerdict::Retains, growth) => {
            let moves = if growth.is_some() { "grows" } else { "stays" };
            let heap = mib(heap.unwrap_or(0) as f64);
            format!(
                "{moves} at {level}, of which its heap says {heap} are in use and that this does not grow: the rest is kept by its allocator, or lies outside the heap"
            )
        }
        (MemoryVerdict::NotEnough | MemoryVerdict::Grows, _) => "not enough seen to say".to_owned(),
    }
}

/// The place where most pages of a kind came in, with its share.
fn place(kind: PageKind, sites: &[Site]) -> String {
    let all: u64 = sites.iter().filter(|site| site.kind == kind).map(|site| site.bytes).sum();
    let Some(first) = sites.iter().find(|site| site.kind == kind && site.bytes > 0) else {
        return "an unknown place".to_owned();
    };
    let share = 100.0 * first.bytes as f64 / all as f64;
    match allocators::place_of_pages(&first.frames) {
        Some(frame) => format!("{frame} ({share:.0} % of the pages that came in)"),
        None => format!("an unknown place ({share:.0} % of the pages that came in)"),
    }
}

/// Where much more comes in than stays, the place where it comes in need not be what keeps it.
fn doubt(trend: &MemoryTrend) -> String {
    match (trend.pages_in, trend.growth) {
        (Some(rate), Some((_, high))) if rate > TURNOVER * high => {
            let times = rate / high;
            format!("; {times:.0} times as much comes in as stays, so this need not be what is kept")
        }
        _ => String::new(),
    }
}

/// A shortage.
#[derive(Debug, Serialize)]
pub(crate) struct Shortage {
    pub(crate) scope: HostScope,
    pub(crate) signal: HostSignal,
    pub(crate) place: String,
    /// Events, or seconds of waiting, since the agent began to look.
    pub(crate) total: f64,
    /// Events a second, or share of the time, in the last two seconds.
    pub(crate) rate: f64,
}

impl From<&HostView> for Shortage {
    fn from(view: &HostView) -> Self {
        let HostView { scope, signal, place, total, rate } = view.clone();
        Self { scope, signal, place, total, rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(verdict: MemoryVerdict, growth: Option<(f64, f64)>, pages_in: f64) -> MemoryTrend {
        MemoryTrend { kind: PageKind::Anon, level: 170 << 20, verdict, growth, pages_in: Some(pages_in) }
    }

    fn sites() -> Vec<Site> {
        let site = |name: &str, bytes| Site {
            kind: PageKind::Anon,
            frames: vec![format!("{name} (app.c:3)")],
            bytes,
            trace_ids: Vec::new(),
        };
        vec![site("keep_upload", 90), site("other", 10)]
    }

    #[test]
    fn growth_names_rate_and_place() {
        let rate = 2.0 * MIB / 60.0;
        let text = words(&trend(MemoryVerdict::Grows, Some((rate * 0.99, rate)), rate), &sites(), None, None);
        assert_eq!(text, "grows: 2.0 MiB/min at keep_upload (app.c:3) (90 % of the pages that came in)");
        let text = words(&trend(MemoryVerdict::Grows, Some((rate * 0.5, rate)), 20.0 * rate), &[], None, None);
        assert!(text.starts_with("grows: 1.0 to 2.0 MiB/min at an unknown place; 20 times as much"), "{text}");
    }

    #[test]
    fn what_the_allocator_keeps_is_told_from_what_is_in_use() {
        let kept = trend(MemoryVerdict::Retains, None, 0.0);
        let text = words(&kept, &sites(), None, Some(1 << 19));
        assert!(text.starts_with("stays at 170.0 MiB, of which its heap says 0.5 MiB are in use"), "{text}");
        assert!(!text.contains("keep_upload"), "nobody is accused: {text}");
    }

    #[test]
    fn what_stays_is_not_accused() {
        let text = words(&trend(MemoryVerdict::Holds, None, 0.0), &sites(), Some(171 << 20), None);
        assert_eq!(text, "holds what it once used: 170.0 MiB (at most 171.0 MiB in all, ever); hardly a page comes in");
        let text = words(&trend(MemoryVerdict::TurnsOver, None, 30.0 * MIB), &sites(), None, None);
        assert!(text.starts_with("stays at 170.0 MiB while 30.0 MiB/s come and go, most at keep_upload"), "{text}");
        assert_eq!(words(&trend(MemoryVerdict::NotEnough, None, 0.0), &sites(), None, None), "not enough seen to say");
    }
}
