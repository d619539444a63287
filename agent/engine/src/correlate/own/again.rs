//! What was made again while the last one lay idle: how a leak differs from a pool or a cache.
//!
//! A pool does not connect anew while a connection to the same peer lies idle in it, a cache does not open what it
//! holds, and a session does not make at each step what it made at the first. Pools and caches may be each thread's
//! own, so only what the same thread made counts, or anybody, once that thread has ended. Cost: a table entry or two
//! for each thing that was kept; the tables are emptied with each snapshot and keep their room.

use crate::model::{Holding, HoldingKind, Nanos, SiteId};
use std::collections::HashMap;

/// Things kept beyond their requests in this snapshot, as far as they say something about others.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// When the newest one was made that leads to the same, by its maker; 0 is anybody.
    newest: HashMap<(HoldingKind, u64, u32), Nanos>,
    /// The latest two exchanges of a connection for which something was made, by kind and site; no site is any.
    exchanges: HashMap<(u64, HoldingKind, Option<SiteId>), [u32; 2]>,
}

impl Again {
    /// Before a snapshot.
    pub(super) fn clear(&mut self) {
        self.newest.clear();
        self.exchanges.clear();
    }

    /// Something was made for an exchange on a connection that is still there.
    pub(super) fn made_for(&mut self, item: &Holding) {
        let Some((connection, exchange)) = item.owner.connection else { return };
        for site in [Some(item.site), None] {
            let [last, before] = self.exchanges.entry((connection, item.kind, site)).or_default();
            if exchange > *last {
                (*before, *last) = (*last, exchange);
            } else if exchange < *last {
                *before = (*before).max(exchange);
            }
        }
    }

    /// Whether two later exchanges of its connection made such a thing too: one may be the same request still, which
    /// a slow body or an interim answer cut in two.
    pub(super) fn was_made_by_later_exchanges(&self, item: &Holding) -> bool {
        let Some((connection, exchange)) = item.owner.connection else { return false };
        let latest = |site| self.exchanges.get(&(connection, item.kind, site)).copied().unwrap_or_default();
        // Stacks are sampled: what has no site may be from any.
        let count = |[last, before]: [u32; 2]| usize::from(last > exchange) + usize::from(before > exchange);
        match item.site {
            SiteId(0) => count(latest(None)) == 2,
            site => {
                let (own, unknown) = (latest(Some(site)), latest(Some(SiteId(0))));
                let shared = own.iter().filter(|one| **one > exchange && unknown.contains(one)).count();
                count(own) + count(unknown) >= 2 + shared
            }
        }
    }

    /// Something was kept beyond its request, and not used since.
    pub(super) fn kept(&mut self, item: &Holding, made: Nanos) {
        if item.leads_to == 0 {
            return;
        }
        for maker in [item.maker, 0] {
            let newest = self.newest.entry((item.kind, item.leads_to, maker)).or_default();
            *newest = (*newest).max(made);
        }
    }

    /// Whether another one like it was kept that was made after it had come to lie idle.
    pub(super) fn was_made_after(&self, item: &Holding, idle: Nanos) -> bool {
        item.leads_to != 0
            && self.newest.get(&(item.kind, item.leads_to, item.maker)).is_some_and(|newest| *newest > idle)
    }
}
