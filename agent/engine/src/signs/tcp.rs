//! What connections and listeners say: who is late, who refuses, what waits.

use super::{LISTENERS, LONGEST_LOOK, Sign, Signs, answers::Late};
use crate::{
    model::{Nanos, Peer, TcpListener, TcpLook},
    window::{SECOND, seconds},
};
use std::collections::BTreeMap;

/// `ECONNREFUSED`. A connect that meets what is left of an earlier connection is sent once more before it is refused: both
/// got through, so nothing was lost.
const REFUSED: u32 = 111;

impl Signs {
    /// Takes a look at its connections.
    #[expect(clippy::cast_precision_loss, reason = "counts, as shares and rates")]
    pub(crate) fn tcp(&mut self, told: &TcpLook, at: Nanos) {
        let over = self.looked.replace(at).map_or(0, |last| at.saturating_sub(last)).min(LONGEST_LOOK);
        let (mut failed, mut slowest, mut arrived) = (0.0, None::<f64>, 0.0);
        let (mut full, mut unfinished, mut unanswered) = (None::<bool>, 0.0, 0.0);
        for one in &told.peers {
            let refused: u64 = one.failures.iter().filter(|(errno, _)| *errno == REFUSED).map(|(_, count)| count).sum();
            let resent = one.resent.saturating_sub(refused);
            let (resent, sent) = (resent as f64, one.data_segments.max(resent) as f64);
            self.add(Sign::Resent, at, resent, sent);
            let Some(peer) = one.peer else { continue };
            if one.resent > 0 {
                self.peers.add(peer, at, resent, ());
            }
            if peer.port.is_none() {
                arrived += one.answers as f64;
                unanswered += f64::from(one.unanswered);
                if one.unfinished > 0 {
                    unfinished += f64::from(one.unfinished);
                    self.slow_senders.add(peer.address, at, one.unfinished.into(), one.unfinished_us);
                }
                self.heard = self.heard.max((one.reads > 0).then_some(at));
                self.add(Sign::ReadDelay, at, one.read_delay_us as f64 / 1e6, one.reads as f64);
                self.add(Sign::Answer, at, one.answer_us as f64 / 1e6, one.answers as f64);
                continue;
            }
            self.add(Sign::ResentThere, at, resent, sent);
            if let Some(is_full) = self.pools.take(peer, one, over, at) {
                full = Some(full.unwrap_or(false) || is_full);
            }
            self.answers.turns(&peer, one.answers as f64, one.unasked as f64);
            if one.awaited > 0 {
                self.awaited(peer, one.awaited, one.awaited_us as f64 / 1e6, over, at);
            }
            // Of a peer that answers late it is told how late.
            if one.answers > 0 {
                self.answered(peer, one.answer_us as f64 / 1e6, one.answers as f64, over, at);
            }
            for (errno, count) in one.failures.iter().take(8) {
                failed += *count as f64;
                self.failures.add((peer, *errno), at, *count as f64, ());
            }
            if let Some(trip) = one.rtt_us.filter(|_| one.connections > 0) {
                let trip = f64::from(trip) / 1e6;
                slowest = Some(slowest.map_or(trip, |known| known.max(trip)));
                self.trips.add(peer, at, trip, trip);
            }
        }
        self.add(Sign::Refused, at, failed, seconds(over));
        self.add(Sign::Arrivals, at, arrived, seconds(over));
        self.add(Sign::Unfinished, at, unfinished, 1.0);
        let waiting: f64 = told.listeners.iter().take(LISTENERS).map(|one| f64::from(one.queue)).sum();
        // Where nothing at all is answered, who is not accepted waits behind who is not answered: few workers hold few.
        let behind = if unanswered > 0.0 && arrived == 0.0 { waiting } else { 0.0 };
        self.add(Sign::Unanswered, at, unanswered + behind, 1.0);
        if !told.listeners.is_empty() {
            self.add(Sign::Unaccepted, at, waiting, 1.0);
        }
        if let Some(full) = full {
            self.add(Sign::PoolFull, at, if full { 1.0 } else { 0.0 }, 1.0);
        }
        if let Some(slowest) = slowest {
            self.add(Sign::RoundTrip, at, slowest, 1.0);
        }
        self.listeners(&told.listeners, at, over);
    }

    /// Takes answers of a peer that took so many seconds in all.
    fn answered(&mut self, peer: Peer, took: f64, count: f64, over: Nanos, at: Nanos) {
        let mean = took / count.max(1.0);
        // The first look has no length.
        let rate = count / seconds(over.max(SECOND));
        match self.answers.take(peer, mean, rate, at) {
            Some(true) => {
                self.add(Sign::LateAnswers, at, took, took);
                self.late.add(peer, at, took, Late { time: mean, awaited: 0, at });
            }
            // Whom it has just begun to ask is not late by any measure.
            Some(false) | None => self.add(Sign::LateAnswers, at, 0.0, took.max(1e-6)),
        }
    }

    /// Takes answers that a peer owes, the oldest for so many seconds: what passed of that since the look before.
    fn awaited(&mut self, peer: Peer, count: u32, longest: f64, over: Nanos, at: Nanos) {
        if self.answers.is_overdue(&peer, longest, at) == Some(true) {
            let waited = longest.min(seconds(over)) * f64::from(count);
            self.add(Sign::LateAnswers, at, waited, waited);
            let late = Late { time: longest, awaited: count, at }.and_before(self.late.get(&peer));
            self.late.add(peer, at, waited, late);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count, as a rate")]
    fn listeners(&mut self, told: &[TcpListener], at: Nanos, over: Nanos) {
        let mut dropped = BTreeMap::new();
        for one in told.iter().take(LISTENERS) {
            // Several sockets may listen at one address.
            let sum: &mut u64 = dropped.entry(one.address).or_default();
            *sum = sum.saturating_add(one.dropped);
        }
        let mut all = 0.0;
        for one in told.iter().take(LISTENERS) {
            let (now, before) = (dropped.get(&one.address), self.dropped.remove(&one.address));
            let gain = now.zip(before).map_or(0, |(now, before)| now.saturating_sub(before)) as f64;
            if gain > 0.0 {
                self.listeners.add(one.address, at, gain, *one);
            }
            all += gain;
        }
        self.dropped = dropped;
        self.add(Sign::AcceptDrops, at, all, seconds(over));
    }
}
