//! The connections that a process keeps to those it asks: whether all of them are in use all the time.
//!
//! A connection that carries one question at a time is in use from the question until the last byte of its answer, so these
//! times added up, over the time of the look and the connections that had answers, say for which share of the time the
//! pool is in use. A pool that may grow has more connections in use before that share comes near the whole: requests do
//! not come one exactly after the other. Near the whole it is used up. That is told only of a peer that answers as soon
//! as ever: late answers fill every pool, and soon ones at this share are of connections that carry several questions at
//! a time, which are no pool. What was so all along (a queue that is waited at, a worker's own connection) is usual.
//! What cannot be told: a connection that is held while nothing is asked over it rests, as far as the kernel knows.
//! Invariant: a peer of which few looks are known says nothing. Memory: [`PEERS`] peers, each with [`USUAL`] looks.
//! Cost: four medians of those a look and peer.

use crate::{
    model::{Nanos, Peer, TcpPeer},
    window::{SECOND, seconds},
};
use std::collections::{BTreeMap, VecDeque};

/// Peers that are told apart.
const PEERS: usize = 32;
/// Looks that are taken together: an answer may take longer than one.
const LOOKS: usize = 3;
/// Looks with answers before it is known what is usual, and the latest ones that say so.
const ENOUGH: usize = 8;
const USUAL: usize = 48;
/// Used up: in use for this share of the time, where less than the other was usual.
const FULL: (f64, f64) = (0.8, 0.6);
/// Fewer answers in the looks together say nothing.
const ANSWERS: u64 = 10;
/// It answers as soon as ever: within these times of what is usual, and half a tick of the kernel's clock.
const AS_EVER: (f64, f64, f64) = (0.5, 1.5, 0.002);
/// A look in which it is used up moves what is usual only so long after another one did.
const LEARN_EVERY: Nanos = 20 * SECOND;

/// A look at one pool.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    answers: u64,
    took: f64,
    /// Until the last bytes.
    used: f64,
    over: f64,
    connections: u32,
    active: u32,
}

/// A pool that is used up, as it is now and as is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Full {
    /// Open connections, and those that had answers.
    pub(crate) connections: u32,
    pub(crate) active: u32,
    /// The share of the time in which those were in use.
    pub(crate) busy: (f64, f64),
    /// How long an answer takes, seconds.
    pub(crate) answer: (f64, f64),
    /// Answers a second.
    pub(crate) rate: (f64, f64),
    /// Connections that had answers, as is usual.
    pub(crate) usually_active: f64,
    at: Nanos,
}

/// What is told of a few looks together: the share of the time in use, seconds until an answer, answers a second,
/// connections that had some.
type Figures = [f64; 4];

#[derive(Debug, Default)]
struct Pool {
    looks: VecDeque<Look>,
    /// The latest that are taken for usual.
    past: VecDeque<Figures>,
    learnt: Nanos,
    asked: Nanos,
    full: Option<Full>,
}

/// Pools by peer.
#[derive(Debug, Default)]
pub(crate) struct Pools(BTreeMap<Peer, Pool>);

impl Pools {
    /// Takes a look at a peer's connections: whether they are used up, as far as is known; `None`: no time has passed.
    pub(super) fn take(&mut self, peer: Peer, told: &TcpPeer, over: Nanos, at: Nanos) -> Option<bool> {
        if over == 0 {
            return None;
        }
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            let oldest = self.0.iter().min_by_key(|(_, pool)| pool.asked).map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.0.remove(&peer));
        }
        Some(self.0.entry(peer).or_default().take(told, over, at))
    }

    /// Of the pools that were used up at some time since a moment the one that has most answers a second.
    pub(crate) fn full(&self, since: Nanos) -> Option<(Peer, Full)> {
        let full = self.0.iter().filter_map(|(peer, pool)| Some((*peer, pool.full.filter(|full| full.at >= since)?)));
        full.max_by(|one, other| one.1.rate.0.total_cmp(&other.1.rate.0))
    }
}

impl Pool {
    /// What is usual: of each figure the median.
    fn usual(&self) -> Figures {
        std::array::from_fn(|n| {
            let mut values: Vec<f64> = self.past.iter().map(|figures| figures[n]).collect();
            let middle = values.len() / 2;
            if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts and microseconds, as shares and rates")]
    fn take(&mut self, told: &TcpPeer, over: Nanos, at: Nanos) -> bool {
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Look {
            answers: told.answers,
            took: told.answer_us as f64 / 1e6,
            used: told.in_use_us.max(told.answer_us) as f64 / 1e6,
            over: seconds(over),
            connections: told.connections,
            active: told.active,
        });
        let sum = self.looks.iter().fold(Look::default(), |all, one| Look {
            answers: all.answers.saturating_add(one.answers),
            took: all.took + one.took,
            used: all.used + one.used,
            over: all.over + one.over,
            connections: one.connections,
            active: all.active.max(one.active),
        });
        if sum.answers == 0 || sum.active == 0 {
            return false;
        }
        self.asked = at;
        let now = [
            (sum.used / (sum.over * f64::from(sum.active))).min(1.0),
            sum.took / sum.answers as f64,
            sum.answers as f64 / sum.over,
            f64::from(sum.active),
        ];
        let (usual, is_new) = (self.usual(), self.past.len() < ENOUGH);
        let as_ever = now[1] >= AS_EVER.0 * usual[1] - AS_EVER.2 && now[1] <= AS_EVER.1 * usual[1] + AS_EVER.2;
        let may_grow = self.looks.iter().any(|look| look.active > sum.connections);
        let is_full = !is_new
            && now[0] >= FULL.0
            && usual[0] < FULL.1
            && as_ever
            && sum.answers >= ANSWERS
            // Those that are made for one question each come and go.
            && !may_grow
            && self.looks.len() == LOOKS;
        if is_full {
            self.full = Some(Full {
                connections: sum.connections,
                active: sum.active,
                busy: (now[0], usual[0]),
                answer: (now[1], usual[1]),
                rate: (now[2], usual[2]),
                usually_active: usual[3],
                at,
            });
        }
        if !is_full || at.saturating_sub(self.learnt) >= LEARN_EVERY {
            self.learnt = if is_full { at } else { self.learnt };
            if self.past.len() >= USUAL {
                self.past.pop_front();
            }
            self.past.push_back(now);
        }
        is_full
    }
}

#[cfg(test)]
mod tests;
