//! The public record of a process's descriptors, version 1 of the contract.
//!
//! Invariant: every live descriptor is counted in exactly one site; the frames of an unknown site are empty.

use super::{Sites, frames, open::Waiting};
use serde::Serialize;
use snowshed_engine::model::{HoldingKind, Pid, SiteId, TargetView, TraceId};

/// A process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) pid: Pid,
    pub(crate) live: u64,
    pub(crate) orphaned: u64,
    /// What its TCP connections wait for; null where that cannot be seen.
    pub(crate) connections: Option<Waiting>,
    pub(crate) sites: Vec<Site>,
}

/// Descriptors of one kind, made at one place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Site {
    pub(crate) kind: HoldingKind,
    #[serde(skip)]
    pub(crate) site: SiteId,
    pub(crate) frames: Vec<String>,
    pub(crate) live: u64,
    pub(crate) orphaned: u64,
    pub(crate) oldest_seconds: f64,
    pub(crate) trace_ids: Vec<TraceId>,
    /// How many requests there are to choose from for each of these at most; 1: they are certain.
    pub(crate) ambiguity: u32,
    /// Numbers of orphaned ones; some of them if they are many.
    pub(crate) orphaned_fds: Vec<i32>,
}

impl Record {
    /// The record of a target; the sites with the most orphans, then the most descriptors, come first.
    pub(crate) fn new(target: &TargetView, names: &Sites) -> Self {
        let mut sites: Vec<Site> = target
            .fds
            .sites
            .iter()
            .map(|site| Site {
                kind: site.kind,
                site: site.site,
                frames: frames(names, site.site),
                live: site.live,
                orphaned: site.orphaned,
                oldest_seconds: site.oldest_seconds,
                trace_ids: site.traces.clone(),
                ambiguity: site.ambiguity,
                orphaned_fds: site.orphans.clone(),
            })
            .collect();
        sites.sort_by(|a, b| (b.orphaned, b.live, a.kind).cmp(&(a.orphaned, a.live, b.kind)));
        Self {
            pid: target.pid,
            live: target.fds.live,
            orphaned: target.fds.orphaned,
            connections: target.connections.as_ref().map(Waiting::from),
            sites,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snowshed_ebpf::Frame;
    use snowshed_engine::model::{FdView, SiteView};

    #[test]
    fn the_json_is_the_contracts() {
        let site = |kind, site, live, orphaned| SiteView {
            kind,
            site: SiteId(site),
            live,
            orphaned,
            oldest_seconds: 1.5,
            traces: Vec::new(),
            ambiguity: 1,
            orphans: Vec::new(),
        };
        let target = TargetView {
            pid: 1,
            name: "x".into(),
            started: 0,
            fds: FdView {
                live: 5,
                orphaned: 2,
                limit: Some(512),
                eta_seconds: None,
                sites: vec![site(HoldingKind::Pipe, 0, 3, 0), site(HoldingKind::File, 4, 2, 2)],
            },
            connections: None,
            rss_anon: None,
            rss_file: None,
            memory: snowshed_engine::model::MemoryView::default(),
            host: Vec::new(),
            threads: None,
            loops: Vec::new(),
            instances: Vec::new(),
            stalls_total: 0,
            retransmits_total: 0,
            tcp: snowshed_engine::model::TcpView::default(),
            in_flight: None,
            limit: None,
            requests_total: 0,
            latency_seconds: None,
            rules: Vec::new(),
            suspected: None,
        };
        let names =
            Sites::from([(SiteId(4), vec![Frame { function: "open".into(), location: Some(("a.py".into(), 3)) }])]);
        assert_eq!(
            serde_json::to_value(Record::new(&target, &names)).expect("serialises"),
            serde_json::json!({"pid":1,"live":5,"orphaned":2,"connections":null,"sites":[
                {"kind":"file","frames":["open (a.py:3)"],"live":2,"orphaned":2,"oldest_seconds":1.5,"trace_ids":[],"ambiguity":1,"orphaned_fds":[]},
                {"kind":"pipe","frames":[],"live":3,"orphaned":0,"oldest_seconds":1.5,"trace_ids":[],"ambiguity":1,"orphaned_fds":[]}]})
        );
    }
}
