//! The table of questions to resolvers.
//!
//! Cost: two system calls for each pair of a process and a resolver, one where there is none.

use super::kernel::Kernel;
use crate::wire::{ResolverCount, ResolverKey};
use std::collections::BTreeMap;

impl Kernel {
    /// Who asked whom, and what came of it since the pair was first seen.
    pub(crate) fn resolvers(&self) -> BTreeMap<ResolverKey, ResolverCount> {
        // An entry that goes while the table is read is one that nobody used for long.
        let counts = self.resolvers.iter().flatten();
        counts.map(|(key, cpus)| (key, cpus.iter().fold(ResolverCount::default(), |sum, one| sum.plus(*one)))).collect()
    }

    /// Forgets whom a process asked.
    pub(crate) fn forget_resolvers(&mut self, host_tgid: u32) {
        let all: Vec<_> = self.resolvers.keys().flatten().filter(|key| key.host_tgid == host_tgid).collect();
        for key in all {
            drop(self.resolvers.remove(&key));
        }
    }
}
