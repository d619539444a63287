//! Where threads compute: a thread that is suspected of a stall is sampled on its own CPU clock for a look or two.
//!
//! Cost: nothing while nobody is suspected; else up to [`HERTZ`] stacks a second of the suspect's CPU time, for at
//! most [`MOST`] threads at once.

use crate::{host::kernel::Kernel, host::sampler::Sampling};
use snowshed_engine::model::SiteId;
use std::collections::HashMap;

/// Threads that are sampled at once.
const MOST: usize = 8;
/// Stacks a second of CPU time.
const HERTZ: u64 = 99;
/// This many stacks are enough to say where it is.
const ENOUGH: u32 = 5;
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

    /// The site that was met most often, the first of equals; `None` if none was.
    pub(super) fn site(&self, host: u32) -> Option<SiteId> {
        commonest(&self.0.get(&host)?.sites)
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

fn commonest(sites: &[(SiteId, u32)]) -> Option<SiteId> {
    // The last of equals wins a maximum, so the list is gone through from its end.
    sites.iter().rev().max_by_key(|(_, count)| *count).map(|(site, _)| *site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_met_most_often_is_told() {
        assert_eq!(commonest(&[]), None);
        assert_eq!(commonest(&[(SiteId(1), 1), (SiteId(2), 3), (SiteId(3), 1)]), Some(SiteId(2)));
        assert_eq!(commonest(&[(SiteId(1), 2), (SiteId(2), 2)]), Some(SiteId(1)));
    }
}
