//! A process's memory and what is short around it, for a person.

use super::text::Page;
use crate::render::{
    memory::{Record, Shortage, mib},
    place_of_pages, wire_name,
};
use snowshed_engine::model::{MemoryVerdict, PageKind};

/// Places shown where pages come in.
const SITES: usize = 4;
/// Less pressure than this share of the time is not worth a line.
const PRESSURE: f64 = 0.02;

/// What its memory does, kind by kind.
pub(super) fn memory(page: &mut Page, memory: &Record) {
    let kinds = [("files", memory.file), ("shared", memory.shmem), ("swapped", memory.swap)];
    let others: Vec<String> = kinds
        .iter()
        .filter_map(|(name, bytes)| {
            bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("{} {name}", mib(bytes as f64)))
        })
        .collect();
    let space = memory.address_space.map(|bytes| format!("{} of address space", mib(bytes as f64)));
    let line: Vec<String> = others.into_iter().chain(space).collect();
    if !line.is_empty() {
        page.line(format!("           {}", line.join(", ")));
    }
    if let Some(used) = memory.heap_in_use {
        let limit = memory.heap_limit.map_or_else(String::new, |limit| format!(" of {}", mib(limit as f64)));
        let collected = memory.collections_total.map_or_else(String::new, |count| format!(", collected {count} times"));
        page.line(format!("           {} of heap in use{limit}, as it publishes{collected}", mib(used as f64)));
    }
    for trend in &memory.trends {
        let kind = if trend.kind == PageKind::Anon { "" } else { "shared: " };
        page.line(format!("           {kind}{}", trend.words));
    }
    let moves = |kind: PageKind| {
        let stays =
            |verdict| matches!(verdict, MemoryVerdict::Holds | MemoryVerdict::NotEnough | MemoryVerdict::Retains);
        memory.trends.iter().any(|trend| trend.kind == kind && !stays(trend.verdict))
    };
    for site in memory.sites.iter().filter(|site| moves(site.kind)).take(SITES) {
        let place = place_of_pages(&site.frames).unwrap_or_else(|| "an unknown place".to_owned());
        page.line(format!("           {:>12} came in at {place}", mib(site.bytes as f64)));
    }
    if let (Some(current), Some(limit)) = (memory.cgroup_current, memory.cgroup_limit) {
        page.line(format!("           its cgroup: {} of {}", mib(current as f64), mib(limit as f64)));
    }
    if memory.oom_kills_total > 0 {
        page.head("1;31", "           the kernel chose it for lack of memory");
    }
}

/// What a process's namespace and cgroup went short of.
pub(super) fn shortages(page: &mut Page, all: &[Shortage]) {
    for one in all.iter().filter(|one| is_told(one)) {
        page.line(format!("  short    {}", words(one)));
    }
}

/// What the machine went short of.
pub(super) fn machine(page: &mut Page, all: &[Shortage]) {
    if all.iter().any(is_told) {
        page.head("1", "The machine");
        all.iter().filter(|one| is_told(one)).for_each(|one| page.line(format!("  {}", words(one))));
        page.line("");
    }
}

fn is_told(one: &Shortage) -> bool {
    if one.signal.is_time() { one.rate >= PRESSURE } else { one.total > 0.0 }
}

fn words(one: &Shortage) -> String {
    let name = wire_name(one.signal).replace('_', " ");
    if one.signal.is_time() {
        return format!("{name}: waited for {:.0} % of the time", one.rate * 100.0);
    }
    let place = if one.place.is_empty() { String::new() } else { format!(" on {}", one.place) };
    format!("{name}{place}: {:.0}", one.total)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::render::memory::{Site, Trend};
    use snowshed_engine::model::{HostScope, HostSignal};

    pub(in super::super) fn record() -> Record {
        Record {
            anon: Some(2 << 20),
            file: Some(3 << 20),
            shmem: Some(0),
            swap: Some(0),
            peak: Some(5 << 20),
            address_space: Some(2 << 30),
            address_space_data: None,
            cgroup_current: Some(40 << 20),
            cgroup_limit: Some(64 << 20),
            heap_in_use: Some(1 << 20),
            heap_limit: None,
            collections_total: Some(9),
            major_faults_total: Some(0),
            oom_kills_total: 0,
            trends: vec![Trend {
                kind: PageKind::Anon,
                verdict: MemoryVerdict::Grows,
                growth_bytes_per_second: Some((1.0, 2.0)),
                pages_in_bytes_per_second: Some(2.0),
                words: "grows: 2.0 MiB/min at keep (a.c:1)".to_owned(),
            }],
            sites: vec![Site {
                kind: PageKind::Anon,
                frames: vec!["keep (a.c:1)".to_owned()],
                bytes: 1 << 20,
                trace_ids: Vec::new(),
            }],
        }
    }

    #[test]
    fn growth_its_place_and_the_cgroup_are_shown() {
        let mut page = Page::plain();
        memory(&mut page, &record());
        for part in [
            "3.0 MiB files, 2.00 GiB of address",
            "1.0 MiB of heap in use, as it publishes, collected 9 times",
            "grows: 2.0",
            "1.0 MiB came in at keep (a.c:1)",
            "40.0 MiB of 64.0",
        ] {
            assert!(page.text().contains(part), "{part} is missing in:\n{}", page.text());
        }
        let mut page = Page::plain();
        let mut still = record();
        still.trends[0].verdict = MemoryVerdict::Holds;
        memory(&mut page, &still);
        assert!(!page.text().contains("came in at"), "what stays is not accused:\n{}", page.text());
    }

    #[test]
    fn only_what_is_short_is_told() {
        let one =
            |signal, total, rate| Shortage { scope: HostScope::Network, signal, place: "eth0".into(), total, rate };
        let mut page = Page::plain();
        shortages(&mut page, &[one(HostSignal::NicRxDropped, 0.0, 0.0), one(HostSignal::CpuSome, 9.0, 0.001)]);
        assert_eq!(page.text(), "");
        machine(&mut page, &[one(HostSignal::NicRxMissed, 7.0, 0.0), one(HostSignal::IoFull, 9.0, 0.31)]);
        assert!(page.text().contains("nic rx missed on eth0: 7"), "{}", page.text());
        assert!(page.text().contains("io full: waited for 31 % of the time"), "{}", page.text());
    }
}
