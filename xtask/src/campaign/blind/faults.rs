//! What can go wrong, and be well again. Adding one is a line of the enumeration and its arms.

use super::super::shop::{Kind, Shop};
use crate::rig::{Hosts, Names};
use serde::Serialize;
use serde_json::json;

/// What a round is played in.
pub(super) struct Town {
    // In the order in which they end.
    pub(super) shop: Shop,
    pub(super) prices: Shop,
    pub(super) resolver: Names,
    pub(super) hosts: Hosts,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// The service that is asked for prices stands still.
    PricesDown,
    /// It answers late.
    PricesLate,
    /// Nothing comes through to it.
    Partition,
    /// Some packets do not.
    Loss,
    /// The resolver is silent.
    NamesSilent,
    /// Each request leaves a file open.
    FilesKept,
    /// Every twentieth request blocks the loop.
    Pauses,
}

/// Those on the way to the prices: one hides the other, so a round has one of them.
pub(super) const ON_THE_WAY: [Fault; 5] =
    [Fault::PricesDown, Fault::PricesLate, Fault::Partition, Fault::Loss, Fault::NamesSilent];
/// Those in the shop itself.
pub(super) const INSIDE: [Fault; 2] = [Fault::FilesKept, Fault::Pauses];

impl Fault {
    /// The kinds of cause that are true then. Nothing that comes through looks like a service that is down, and is lost
    /// packets just as well.
    pub(super) const fn truths(self) -> &'static [&'static str] {
        match self {
            Self::PricesDown | Self::PricesLate => &["downstream_slow"],
            Self::Partition => &["tcp_retransmits", "downstream_slow"],
            Self::Loss => &["tcp_retransmits"],
            Self::NamesSilent => &["dns_failure"],
            Self::FilesKept => &["fd_leak"],
            Self::Pauses => &["event_loop_stall"],
        }
    }

    /// Whether a service of this kind can have it.
    pub(super) fn suits(self, kind: Kind) -> bool {
        self != Self::Pauses || kind == Kind::Node
    }

    /// It begins.
    pub(super) fn begin(self, town: &Town) -> anyhow::Result<()> {
        match self {
            Self::PricesDown => town.prices.stand(true),
            Self::PricesLate => town.prices.knob().turn(&json!({"answer_ms": 700})),
            Self::Partition => town.hosts.lose(1, 1.0),
            Self::Loss => town.hosts.lose(1, 0.08),
            Self::NamesSilent => town.resolver.fall_silent(),
            Self::FilesKept => town.shop.knob().turn(&json!({"theme_kept": 1})),
            Self::Pauses => town.shop.knob().turn(&json!({"pause_ms": 400, "pause_every": 20})),
        }
    }

    /// It ends.
    pub(super) fn end(self, town: &Town) -> anyhow::Result<()> {
        match self {
            Self::PricesDown => town.prices.stand(false),
            Self::PricesLate => town.prices.knob().turn(&json!({"answer_ms": 0})),
            Self::Partition | Self::Loss => town.hosts.mend(1),
            Self::NamesSilent => town.resolver.speak_again(),
            Self::FilesKept => town.shop.knob().turn(&json!({"theme_kept": 0})),
            Self::Pauses => town.shop.knob().turn(&json!({"pause_every": 0})),
        }
    }
}

/// A fault and its time, seconds after the healthy past.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Drawn {
    pub(super) fault: Fault,
    pub(super) from: f64,
    pub(super) until: f64,
}
