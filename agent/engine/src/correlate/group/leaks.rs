//! Which groups leak, and which are suspected to.
//!
//! Invariant: a leak rests on orphans alone. What is idle as well makes one suspected, where no group leaks: it is an
//! orphan soon, or was used or given back after all, and then nobody was called.

use super::{Group, Groups, Known, OWNERS, traces};
use crate::{
    correlate::{OrphanConfig, join::JoinCount},
    model::{HoldingKind, Join, Nanos, SiteId, TraceId},
    window::SECOND,
};

/// A new peak older than this is no growth any more.
const GROWTH_FRESH: Nanos = 10 * SECOND;
/// Growth is so many more than a minute ago, or than five minutes ago.
const GROWTH: [(Nanos, u64); 2] = [(60 * SECOND, 3), (300 * SECOND, 5)];

/// Groups that leak together: one site, with those of its kind whose site was not sampled.
#[derive(Clone, Debug)]
pub(crate) struct Leak {
    pub(crate) kind: HoldingKind,
    pub(crate) site: SiteId,
    pub(crate) orphaned: u64,
    /// Most orphans at once since it was found.
    pub(crate) most: u64,
    pub(crate) reused: u64,
    pub(crate) returned: u64,
    pub(crate) growing: bool,
    pub(crate) join: Join,
    /// When the first of the orphans was made, and when its owner ended.
    pub(crate) onset: (Nanos, Nanos),
    /// Traces, newest last.
    pub(crate) traces: Vec<TraceId>,
    /// How many requests there are to choose from for each of them at most; 1: they are certain.
    pub(crate) ambiguity: u32,
}

impl Groups {
    /// After a snapshot: the groups that leak, and those that are suspected to where none does.
    pub(crate) fn close(&mut self, at: Nanos, config: &OrphanConfig) -> (Vec<Leak>, Vec<Leak>) {
        self.all.iter_mut().for_each(|group| group.close(at));
        let mut leaks = Vec::new();
        for members in self.candidates(false) {
            let leak = self.leak(&members, at, config, false);
            for member in &members {
                let group = &mut self.all[*member];
                group.leaking = leak.is_some();
                group.most = if group.leaking { group.most.max(group.orphaned) } else { 0 };
                if group.orphaned == 0 {
                    group.returned = 0;
                }
            }
            leaks.extend(leak);
        }
        leaks.sort_by_key(|leak| std::cmp::Reverse(leak.orphaned));
        let mut suspected = Vec::new();
        if leaks.is_empty() && self.all.iter().any(|group| group.idle > 0) {
            suspected.extend(self.candidates(true).iter().filter_map(|members| self.leak(members, at, config, true)));
            suspected.sort_by_key(|leak| std::cmp::Reverse(leak.orphaned));
        }
        (leaks, suspected)
    }

    /// Which groups are judged together. Stacks are sampled, so things of one kind without a site join
    /// the site that at least four in five of their kind's sited orphans come from. `early`: what is idle counts too.
    fn candidates(&self, early: bool) -> Vec<Vec<usize>> {
        let unused = |n: usize| self.all[n].unused(early);
        let mut sets: Vec<Vec<usize>> =
            (0..self.all.len()).filter(|n| unused(*n) > 0 || self.all[*n].leaking).map(|n| vec![n]).collect();
        for unknown in 0..self.all.len() {
            let kind = self.all[unknown].kind;
            if self.all[unknown].site != SiteId(0) || unused(unknown) == 0 {
                continue;
            }
            let sited =
                || self.all.iter().enumerate().filter(|(_, group)| group.kind == kind && group.site != SiteId(0));
            let total: u64 = sited().map(|(n, _)| unused(n)).sum();
            let Some((main, orphaned)) = sited().map(|(n, _)| (n, unused(n))).max_by_key(|(_, count)| *count) else {
                continue;
            };
            if orphaned >= 2 && orphaned.saturating_mul(5) >= total.saturating_mul(4) {
                sets.retain(|set| set[..] != [unknown]);
                if let Some(set) = sets.iter_mut().find(|set| set[..] == [main]) {
                    set.push(unknown);
                }
            }
        }
        sets
    }

    fn leak(&self, members: &[usize], at: Nanos, config: &OrphanConfig, early: bool) -> Option<Leak> {
        let groups = || members.iter().map(|n| &self.all[*n]);
        let first = groups().next()?;
        let sum = |count: fn(&Group) -> u64| groups().map(count).sum::<u64>();
        let (orphaned, reused) = (groups().map(|group| group.unused(early)).sum::<u64>(), sum(|group| group.reused));
        let parts = if early { 2 } else { 1 };
        let mut owners: Vec<Known> = Vec::new();
        for known in
            groups().flat_map(|group| [&group.owners, &group.idlers].into_iter().take(parts).flatten().copied())
        {
            if owners.iter().all(|other| other.key != known.key) {
                owners.push(known);
            }
        }
        owners.sort_by_key(|known| known.made);
        let kept = sum(Group::beyond);
        let fresh = groups().any(|group| group.peak > 0 && at.saturating_sub(group.peak_at) <= GROWTH_FRESH);
        let growing = fresh
            && GROWTH.iter().any(|(ago, more)| {
                kept >= groups().map(|group| group.kept_before(at, *ago)).sum::<u64>().saturating_add(*more)
            });
        let enough = orphaned >= u64::from(config.count) && owners.len() as u64 >= u64::from(config.owners);
        let leaking = groups().any(|group| group.leaking) || (growing && reused.saturating_mul(3) <= orphaned);
        if !enough || !leaking {
            return None;
        }
        let mut joins = JoinCount::default();
        groups().flat_map(|group| &group.joins[..parts]).for_each(|told| joins.merge(told));
        let onset = groups().flat_map(|group| &group.first[..parts]).min().copied().unwrap_or_default();
        let (traces, ambiguity) = traces(owners[owners.len().saturating_sub(OWNERS)..].iter());
        Some(Leak {
            kind: first.kind,
            site: first.site,
            orphaned,
            most: groups().map(|group| group.most.max(group.unused(early))).sum(),
            reused,
            returned: sum(|group| group.returned),
            growing,
            join: joins.commonest(),
            onset,
            traces,
            ambiguity,
        })
    }
}
