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

    /// Forgets a pair; what it counts after this begins anew.
    pub(crate) fn forget_resolver(&mut self, key: &ResolverKey) {
        drop(self.resolvers.remove(key));
    }
}
