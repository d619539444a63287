//! Where threads compute: a thread that is suspected of a stall is sampled on its own CPU clock for a look or two.
//!
//! Cost: nothing while nobody is suspected; else up to [`HERTZ`] stacks a second of the suspect's CPU time, for at
//! most [`MOST`] threads at once.

use crate::{host::kernel::Kernel, host::sampler::Sampling};
use snowshed_engine::model::SiteId;
use std::collections::{HashMap, HashSet};

/// Threads that are sampled at once.
const MOST: usize = 8;
/// Stacks a second of CPU time.
const HERTZ: u64 = 99;
/// This many stacks are enough to say where it is.
const ENOUGH: u32 = 5;
/// So many sites of a suspect are compared with each other.
const COMPARED: usize = 64;
/// At its clock.
pub(crate) const PROGRAM: &str = "loop_sampled";

/// One suspect.
struct Suspect {
    sampling: Sampling,
    /// Times that each site was met, in the order in which they were.
    sites: Vec<(SiteId, u32)>,
    looks: u32,
}

/// All of them, by their ids in the initial pid namespace.
#[derive(Default)]
pub(super) struct Hot(HashMap<u32, Suspect>);

impl Hot {
    /// Begins to sample a thread, if there is room; `tid` is its id in the agent's pid namespace.
    pub(super) fn suspect(&mut self, kernel: &mut Kernel, host: u32, tid: u32) {
        if self.0.contains_key(&host) || self.0.len() >= MOST {
            return;
        }
        // It may have ended meanwhile; then there is nothing to say of it.
        if let Ok(sampling) = kernel.sample(PROGRAM, tid, HERTZ) {
            self.0.insert(host, Suspect { sampling, sites: Vec::new(), looks: 0 });
        }
    }

    /// A stack of a thread came.
    pub(super) fn stack(&mut self, host: u32, site: SiteId) {
        let Some(suspect) = self.0.get_mut(&host) else { return };
        match suspect.sites.iter_mut().find(|(known, _)| *known == site) {
            Some((_, count)) => *count += 1,
            None => suspect.sites.push((site, 1)),
        }
    }

    /// The site that stands for all; `None` if none was met. `chain` answers the functions that led to one.
    pub(super) fn site(&self, host: u32, chain: impl Fn(SiteId) -> Vec<u64>) -> Option<SiteId> {
        let sites = &self.0.get(&host)?.sites;
        let chains: Vec<(SiteId, u32, Vec<u64>)> =
            sites.iter().take(COMPARED).map(|(site, count)| (*site, *count, chain(*site))).collect();
        representative(&chains)
    }

    /// Ends the samplings that have told enough, and those of threads that are suspected no more.
    pub(super) fn settle(&mut self, kernel: &mut Kernel, suspected: impl Fn(u32) -> bool) {
        let over = |host: &u32, suspect: &mut Suspect| {
            suspect.looks += 1;
            let stacks: u32 = suspect.sites.iter().map(|(_, count)| count).sum();
            !suspected(*host) || (stacks >= ENOUGH && suspect.looks > 1)
        };
        let over: Vec<u32> = self.0.iter_mut().filter_map(|(host, one)| over(host, one).then_some(*host)).collect();
        for suspect in over.into_iter().filter_map(|host| self.0.remove(&host)) {
            if let Err(error) = kernel.end_sampling(PROGRAM, suspect.sampling) {
                tracing::warn!(probe = "epoll", "end sampling: {error}");
            }
        }
    }
}

/// The one whose calls were met most often, on the average of them; the first of equals. A computation is rarely met at
/// the same instruction twice, and some of its stacks end early, as where a collector of garbage was called deep down:
/// such a one says least of whose work it is.
fn representative(chains: &[(SiteId, u32, Vec<u64>)]) -> Option<SiteId> {
    // A recursive call is one.
    let distinct: Vec<HashSet<u64>> = chains.iter().map(|(.., chain)| chain.iter().copied().collect()).collect();
    let mut met: HashMap<u64, u32> = HashMap::new();
    for ((_, count, _), calls) in chains.iter().zip(&distinct) {
        calls.iter().for_each(|call| *met.entry(*call).or_default() += count);
    }
    let common =
        |calls: &HashSet<u64>| calls.iter().map(|call| f64::from(met[call])).sum::<f64>() / calls.len().max(1) as f64;
    // The last of equals wins a maximum, so the list is gone through from its end.
    let each = chains.iter().zip(distinct.iter().map(common)).rev();
    each.max_by(|one, other| one.1.total_cmp(&other.1)).map(|((site, ..), _)| *site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_met_most_often_is_told() {
        let chains = |counts: &[u32]| -> Vec<_> {
            counts.iter().zip(1..).map(|(count, site)| (SiteId(site), *count, vec![site, 100])).collect()
        };
        assert_eq!(representative(&[]), None);
        assert_eq!(representative(&chains(&[1, 3, 1])), Some(SiteId(2)));
        assert_eq!(representative(&chains(&[2, 2])), Some(SiteId(1)));
    }

    #[test]
    fn a_stack_that_ends_early_does_not_stand_for_those_that_share_their_calls() {
        let cut_off = (SiteId(1), 2, vec![1, 2, 3, 4, 5]);
        let whole = |site: u64| (SiteId(site), 1, vec![site, 50, 51, 52]);
        assert_eq!(representative(&[cut_off.clone(), whole(10), whole(11), whole(12)]), Some(SiteId(10)));
        let recursive = (SiteId(2), 1, vec![50, 51, 51, 51, 52]);
        assert_eq!(representative(&[cut_off, recursive, whole(10), whole(11)]), Some(SiteId(2)));
    }
}
