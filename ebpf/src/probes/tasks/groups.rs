//! Threads in groups of one origin: a leak is a group that grows, and its place is the group's.

use crate::wire::{JOIN_NONE, TaskRecord};
use snowshed_engine::model::{Join, Nanos, SiteId, ThreadGroup, TraceId};
use std::collections::BTreeMap;

/// Groups that are told; the smallest are left out.
const MOST: usize = 32;
/// Requests that are told of a group.
const TRACES: usize = 4;

/// The groups, largest first, and how many threads are in those that are left out.
pub(super) fn group(records: &[TaskRecord], site: impl Fn(&TaskRecord) -> SiteId) -> (Vec<ThreadGroup>, u32) {
    let mut groups: BTreeMap<(u64, String), (ThreadGroup, Vec<(Nanos, TraceId)>)> = BTreeMap::new();
    for record in records {
        let (site, name) = (site(record), shape(&name(record)));
        let key = if site.0 == 0 { (0, name.clone()) } else { (site.0, String::new()) };
        let (group, traces) = groups.entry(key).or_insert_with(|| (empty(name, site), Vec::new()));
        group.live += 1;
        group.running += u32::from(record.state == 0 || record.on_cpu != 0);
        group.oldest = group.oldest.min(record.started);
        group.newest = group.newest.max(record.started);
        group.cpu_ns = group.cpu_ns.saturating_add(record.runtime);
        if record.origin.join != JOIN_NONE {
            let [high, low] = record.origin.context.trace.map(u64::to_ne_bytes);
            traces.extend(TraceId::from_bytes(&[high, low].concat()).map(|trace| (record.started, trace)));
        }
    }
    let mut groups: Vec<ThreadGroup> = groups.into_values().map(|(group, traces)| with_traces(group, traces)).collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.live), group.oldest));
    let rest = groups.get(MOST..).unwrap_or_default().iter().map(|group| group.live).sum();
    groups.truncate(MOST);
    (groups, rest)
}

fn empty(name: String, site: SiteId) -> ThreadGroup {
    let (live, running, cpu_ns) = (0, 0, 0);
    ThreadGroup {
        name,
        site,
        live,
        running,
        oldest: Nanos::MAX,
        newest: 0,
        cpu_ns,
        traces: Vec::new(),
        join: Join::None,
    }
}

fn with_traces(mut group: ThreadGroup, mut traces: Vec<(Nanos, TraceId)>) -> ThreadGroup {
    traces.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
    for (_, trace) in traces {
        if group.traces.len() < TRACES && !group.traces.contains(&trace) {
            group.traces.push(trace);
        }
    }
    // Whoever made a thread worked for that request; the thread itself need not.
    group.join = if group.traces.is_empty() { Join::None } else { Join::Inherited };
    group
}

/// A thread's name.
pub(super) fn name(record: &TaskRecord) -> String {
    let end = record.comm.iter().position(|byte| *byte == 0).unwrap_or(record.comm.len());
    String::from_utf8_lossy(&record.comm[..end]).into_owned()
}

/// A name with each run of digits as `#`: workers are numbered.
fn shape(name: &str) -> String {
    let mut shape = String::with_capacity(name.len());
    for letter in name.chars() {
        let letter = if letter.is_ascii_digit() { '#' } else { letter };
        if letter != '#' || !shape.ends_with('#') {
            shape.push(letter);
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u32, name: &str, started: Nanos) -> TaskRecord {
        let mut record = TaskRecord { host: [tid, 1], started, runtime: 10, state: 1, ..TaskRecord::default() };
        record.comm[..name.len()].copy_from_slice(name.as_bytes());
        record
    }

    #[test]
    fn threads_of_one_place_are_one_group_and_others_go_by_name() {
        let mut records = vec![thread(1, "main", 1), thread(2, "pool-11", 2), thread(3, "pool-2", 3)];
        records.extend((10..15).map(|tid| thread(tid, &format!("t{tid}x"), u64::from(tid))));
        records[5].origin.join = crate::wire::JOIN_THREAD;
        records[5].origin.context.trace = [7, 8];
        let (groups, rest) = group(&records, |record| SiteId(if record.host[0] >= 10 { 99 } else { 0 }));
        let told: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.live, group.site.0)).collect();
        assert_eq!(told, [("t#x", 5, 99), ("pool-#", 2, 0), ("main", 1, 0)]);
        assert_eq!((rest, groups[0].cpu_ns, groups[0].oldest, groups[0].newest), (0, 50, 10, 14));
        assert_eq!((groups[0].traces.len(), groups[0].join, groups[1].join), (1, Join::Inherited, Join::None));
    }

    #[test]
    fn many_groups_are_bounded_and_the_rest_is_counted() {
        let records: Vec<_> = (0..100_u32).map(|tid| thread(tid, "x", 1)).collect();
        let (groups, rest) = group(&records, |record| SiteId(u64::from(record.host[0]) + 1));
        assert_eq!((groups.len(), rest), (MOST, 100 - MOST as u32));
    }
}
