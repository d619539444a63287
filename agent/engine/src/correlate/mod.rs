//! What belongs together: whose a thing held is, how surely, and which cause explains which symptom.

pub(crate) mod ends;
pub(crate) mod group;
pub(crate) mod join;
pub(crate) mod own;
pub(crate) mod quick;
pub(crate) mod rank;
pub(crate) mod recent;
pub(crate) mod requests;
pub(crate) mod sorted;

use crate::{
    model::{Holding, HoldingKind, Nanos},
    window::SECOND,
};
use serde::{Deserialize, Serialize};

/// When something held counts as orphaned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrphanConfig {
    /// Unused for so long after its owner's end: orphaned, seconds.
    pub after_seconds: u64,
    /// The same for outbound sockets, which idle in pools, unless another was made to the same peer meanwhile, seconds.
    pub socket_after_seconds: u64,
    /// The same for what was used after its owner's end (pools, caches), seconds.
    pub reused_after_seconds: u64,
    /// Where spans arrive, how long a later exchange on the same connection is not yet proof that a
    /// request ended: on a multiplexed connection it is not, and the span will tell. Seconds.
    pub span_wait_seconds: u64,
    /// Fewest orphans of one group that are a leak.
    pub count: u32,
    /// Fewest owners among them.
    pub owners: u32,
}

impl Default for OrphanConfig {
    fn default() -> Self {
        Self {
            after_seconds: 5,
            socket_after_seconds: 60,
            reused_after_seconds: 600,
            span_wait_seconds: 30,
            count: 5,
            owners: 3,
        }
    }
}

impl OrphanConfig {
    /// How long something may lie unused after its owner's end; `again`: the same was made while it lay idle.
    /// `None` is for ever: what has a name may be in a cache, and a file that is read shows no use.
    pub(crate) fn grace(&self, item: &Holding, reused: bool, again: bool) -> Option<Nanos> {
        let seconds = match item.kind {
            _ if reused => self.reused_after_seconds,
            _ if again => self.after_seconds,
            // One of a pair, as pipes are: nobody can ask for it by a name.
            HoldingKind::Unix if item.leads_to == 0 => self.after_seconds,
            HoldingKind::Tcp | HoldingKind::Udp | HoldingKind::Unix | HoldingKind::Netlink | HoldingKind::Socket => {
                self.socket_after_seconds
            }
            _ if item.leads_to != 0 => return None,
            _ => self.after_seconds,
        };
        Some(seconds.saturating_mul(SECOND))
    }
}

/// Kinds that a service keeps on purpose. An accepted connection stays open as long as its client
/// wants it, and nothing in a snapshot says that the client has left.
pub(crate) fn is_kept_on_purpose(kind: HoldingKind) -> bool {
    matches!(kind, HoldingKind::Listener | HoldingKind::TcpAccepted)
}
