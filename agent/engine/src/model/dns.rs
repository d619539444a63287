//! How a process gets on with those it asks for names.

use super::{Nanos, Pid};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a process asked since the look before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DnsLook {
    /// The process.
    pub pid: Pid,
    /// The look before.
    pub since: Nanos,
    /// This look.
    pub until: Nanos,
    /// Those it asked.
    pub resolvers: Vec<Resolver>,
}

/// One that answers for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Where.
    pub address: IpAddr,
    /// Questions sent; each is one packet.
    pub asked: u64,
    /// Answers that came, to questions of before too.
    pub answered: u64,
    /// Questions that reached nobody, as the network said.
    pub unreachable: u64,
    /// Answers that say that the resolver failed (`SERVFAIL`, `REFUSED`, ...).
    pub failed: u64,
    /// Answers that say that there is no such name (`NXDOMAIN`).
    pub unknown: u64,
    /// From the question until its answer, microseconds, added up.
    pub answer_us: u64,
}
