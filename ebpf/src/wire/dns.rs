//! What a process asked resolvers for, and what came of it.

/// Who asked whom.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResolverKey {
    /// The process, initial namespace.
    pub host_tgid: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u32,
    /// The resolver's address, network order; of IPv4 the first four bytes.
    pub address: [u64; 2],
}

/// What one CPU counted of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolverCount {
    /// Questions sent.
    pub asked: u64,
    /// Answers that came.
    pub answered: u64,
    /// Questions that could not be sent, and those that were told to have reached nobody.
    pub unreachable: u64,
    /// Answers that say that the resolver failed: any code but "no error" and "no such name".
    pub failed: u64,
    /// Answers that say that there is no such name.
    pub unknown: u64,
    /// From the socket's latest question to each answer, nanoseconds, added up.
    pub time: u64,
}

/// Pairs of a process and a resolver that are counted at a time.
pub const RESOLVERS_KEPT: u32 = 256;

#[cfg(not(target_arch = "bpf"))]
impl ResolverCount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What was added since an earlier count.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            asked: of(self.asked, other.asked),
            answered: of(self.answered, other.answered),
            unreachable: of(self.unreachable, other.unreachable),
            failed: of(self.failed, other.failed),
            unknown: of(self.unknown, other.unknown),
            time: of(self.time, other.time),
        }
    }
}
