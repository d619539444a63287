//! What the descriptors of each place lead to: a few examples, orphans first.
//!
//! Invariant: bounded: so many of a place, so many places, whatever the process holds.

use crate::render::{fds, open::example, wire_name};
use snowshed_ebpf::Session;
use snowshed_engine::model::{Holding, HoldingKind, SiteId};
use std::collections::BTreeMap;

/// Examples of a place.
const EXAMPLES: usize = 2;
/// Rings, which are all told: what they hold is in no descriptor table.
const RINGS: usize = 4;
/// Looked up of a place, because many may lead to the same.
const TRIED: usize = 8;
/// Places.
const PLACES: usize = 16;

/// Examples for each place of the record, in its order.
pub(super) fn examples(session: &mut Session, fds: &fds::Record) -> Vec<Vec<String>> {
    let Some(holdings) = session.holdings(fds.pid) else { return Vec::new() };
    let mut places: BTreeMap<(String, SiteId), Vec<&Holding>> = BTreeMap::new();
    for item in &holdings.items {
        places.entry((wire_name(item.kind), item.site)).or_default().push(item);
    }
    places.values_mut().for_each(|items| items.sort_by_key(|item| item.number));
    let mut all = Vec::new();
    for site in fds.sites.iter().take(PLACES) {
        let of = places.get(&(wire_name(site.kind), site.site)).map_or(&[][..], Vec::as_slice);
        let orphans = site.orphaned_fds.iter().copied();
        // The highest numbers are likely the newest: what piles up is among them, standard output is not.
        let others = of.iter().rev().map(|item| item.number).filter(|number| !site.orphaned_fds.contains(number));
        let wanted: Vec<i32> = orphans.chain(others).take(TRIED).collect();
        let most = if site.kind == HoldingKind::IoUring { RINGS } else { EXAMPLES };
        all.push((wanted, most));
    }
    let numbers: Vec<i32> = all.iter().flat_map(|(wanted, _)| wanted.iter().copied()).collect();
    let open = session.open(fds.pid, &numbers).unwrap_or_default();
    let told = |(wanted, most): &(Vec<i32>, usize)| {
        let mut told: Vec<String> = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for number in wanted {
            let Some(one) = open.iter().find(|one| one.item.number == *number) else { continue };
            let name = one.to_string();
            if told.len() < *most && !seen.contains(&name) {
                told.push(example(one));
                seen.push(name);
            }
        }
        told
    };
    all.iter().map(told).collect()
}
