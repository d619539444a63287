//! Signs that something is short or slow: figures over time, and whom they are about.
//!
//! Causes of shortage rest on these. A sign alone says no more than that a figure is out of its ordinary; what makes
//! it an incident is that requests suffer from it (`causes/shortage.rs`). Invariant: facts only add up; what deviates
//! is said in [`Signs::judge`]. Memory per target is fixed by [`track`] and [`who`].

mod answers;
pub(crate) mod names;
pub(crate) mod pools;
mod requests;
mod shown;
mod sign;
mod tcp;
pub(crate) mod track;
pub(crate) mod who;

pub(crate) use shown::Shown;
pub(crate) use sign::Sign;
pub use sign::SignConfig;

use crate::{
    model::{
        Blocked, BlockedWrite, Connections, CpuTime, DnsLook, HostLook, HostScope, HostSignal, LockKind, LockWait,
        Nanos, OpenRequests, Peer, Request, Retransmit, TcpListener, WriteEnd,
    },
    window::{SECOND, seconds},
};
use answers::{Answers, Late};
use names::Names;
use pools::Pools;
use requests::Routes;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};
use track::{Deviation, Past, Track};
use who::{Places, Resends};

/// A service of whose requests nothing was heard for so long is not known to serve any.
const HEARD: Nanos = 60 * SECOND;
/// The longest time that one look at the connections may stand for.
const LONGEST_LOOK: Nanos = 30 * SECOND;
/// Listeners whose drops are followed.
const LISTENERS: usize = 32;
/// The most requests that one sampled span stands for.
const WEIGHT: f64 = 1e6;
/// The period of a processor limit, unless somebody chose another: seconds.
const PERIOD: f64 = 0.1;

/// A place that locks are waited for at; without a place, one lock.
pub(crate) type LockPlace = (u64, u64, LockKind);

/// What is known of one target's shortages.
#[derive(Debug)]
pub(crate) struct Signs {
    tracks: [Track; Sign::ALL.len()],
    routes: Routes,
    /// How long those answer that it asks.
    pub(crate) answers: Answers,
    /// Seconds of late answers, by who gave them or owes them.
    pub(crate) late: Places<Peer, Late>,
    /// The connections that it keeps to those that it asks.
    pub(crate) pools: Pools,
    /// Those that it asks for names.
    pub(crate) names: Names,
    /// When the latest request began of which a span was told.
    asked: Option<Nanos>,
    /// Requests that arrive for too long, by who sends them, and for how many microseconds the longest does.
    pub(crate) slow_senders: Places<IpAddr, u64>,
    /// Thread-seconds in writes, by who does not read.
    pub(crate) writes: Places<WriteEnd, BlockedWrite>,
    /// Thread-seconds of waiting.
    pub(crate) locks: Places<LockPlace, LockWait>,
    /// Segments sent again.
    pub(crate) peers: Places<Peer, ()>,
    pub(crate) resends: Resends,
    /// Connects that failed, by peer and errno.
    pub(crate) failures: Places<(Peer, u32), ()>,
    /// Round trips of those that the process connected to, seconds.
    pub(crate) trips: Places<Peer, f64>,
    /// Connections dropped.
    pub(crate) listeners: Places<SocketAddr, TcpListener>,
    dropped: BTreeMap<SocketAddr, u64>,
    /// Packets dropped, by interface; of a CPU's backlog: no name.
    pub(crate) interfaces: Places<String, ()>,
    /// Thread-seconds of uninterruptible waiting.
    pub(crate) blocked: Places<String, Blocked>,
    /// Share of the time in which some task of the machine or the cgroup waited, as last told.
    pressure: BTreeMap<(HostScope, HostSignal), (Nanos, f64)>,
    /// When an accept queue of its network namespace last overflowed; `None`: not known to have.
    pub(crate) overflowed: Option<Nanos>,
    looked: Option<Nanos>,
    heard: Option<Nanos>,
}

impl Signs {
    /// Of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            tracks: std::array::from_fn(|_| Track::new()),
            routes: Routes::default(),
            answers: Answers::default(),
            late: Places::default(),
            pools: Pools::default(),
            names: Names::default(),
            asked: None,
            slow_senders: Places::default(),
            writes: Places::default(),
            locks: Places::default(),
            peers: Places::default(),
            resends: Resends::default(),
            failures: Places::default(),
            trips: Places::default(),
            listeners: Places::default(),
            dropped: BTreeMap::new(),
            interfaces: Places::default(),
            blocked: Places::default(),
            pressure: BTreeMap::new(),
            overflowed: None,
            looked: None,
            heard: None,
        }
    }

    fn add(&mut self, sign: Sign, at: Nanos, amount: f64, of: f64) {
        self.tracks[sign as usize].add(at, amount, of);
    }

    /// Says which figures are out of their ordinary now.
    pub(crate) fn judge(&mut self, now: Nanos, config: &SignConfig) {
        for sign in Sign::ALL {
            self.tracks[sign as usize].judge(now, &sign.bar(config), Past { seconds: config.past_seconds });
        }
    }

    /// A figure's deviation, if it deviates.
    pub(crate) fn of(&self, sign: Sign) -> Option<&Deviation> {
        self.tracks[sign as usize].found()
    }

    /// A figure that is about to deviate, if it lasts.
    fn early(&self, sign: Sign) -> Option<&Deviation> {
        self.tracks[sign as usize].early()
    }

    /// A figure over the last ten seconds, where it was measured.
    pub(crate) fn height(&self, sign: Sign, now: Nanos) -> Option<f64> {
        self.tracks[sign as usize].height(now, 10 * SECOND)
    }

    /// A figure as it usually was before a moment, and as it has been since; `None` where it has no past, or was not measured.
    pub(crate) fn since(&self, sign: Sign, since: Nanos, now: Nanos, config: &SignConfig) -> Option<(f64, f64)> {
        self.tracks[sign as usize].since(since, now, Past { seconds: config.past_seconds })
    }

    /// Whether a figure is out of its ordinary, or would be if it lasted.
    pub(crate) fn is_high(&self, sign: Sign, now: Nanos, config: &SignConfig) -> bool {
        let deviates = self.of(sign).is_some();
        deviates || self.tracks[sign as usize].is_high(now, &sign.bar(config), Past { seconds: config.past_seconds })
    }

    /// Whether it would be known if requests suffered.
    pub(crate) fn hears_of_requests(&self, now: Nanos) -> bool {
        self.heard.is_some_and(|at| now.saturating_sub(at) <= HEARD)
    }

    /// Share of the time in which somebody waited, of the machine or else of the cgroup, over the last look.
    pub(crate) fn pressure(&self, signal: HostSignal, now: Nanos) -> Option<f64> {
        let told = |scope| self.pressure.get(&(scope, signal)).filter(|(at, _)| now.saturating_sub(*at) <= 20 * SECOND);
        [HostScope::Cgroup, HostScope::Machine].into_iter().find_map(told).map(|(_, share)| *share)
    }

    /// Takes a request that ended; tells whether it was slow, where that is known, and whether it failed. `None`: it was
    /// refused at the door.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos) -> Option<(Option<bool>, bool)> {
        self.arrived(told, ended);
        let judged = self.routes.ended(told, ended)?;
        self.heard = self.heard.max(judged.slow.map(|_| ended));
        let one = |is: bool| if is { 1.0 } else { 0.0 };
        self.add(Sign::Failed, ended, one(judged.failed), 1.0);
        // What fails at once is not quick.
        if let Some(slow) = judged.slow.filter(|slow| *slow || !judged.failed) {
            self.add(Sign::Slow, ended, one(slow), 1.0);
        }
        Some((judged.slow, judged.failed))
    }

    /// A request began. Spans come late and in batches: a rate is measured by the time from one begin to the next.
    fn arrived(&mut self, told: &Request, ended: Nanos) {
        let began = told.started.min(ended);
        let gap = self.asked.map_or(0, |last| began.saturating_sub(last)).min(LONGEST_LOOK);
        self.asked = self.asked.max(Some(began));
        let weight = if told.weight.is_finite() { told.weight.clamp(1.0, WEIGHT) } else { 1.0 };
        self.add(Sign::Asked, began, weight, seconds(gap));
    }

    /// Takes the service's own report.
    pub(crate) fn open_requests(&mut self, told: &OpenRequests, at: Nanos) {
        let (hung, all) = self.routes.open(told, at);
        if all > 0 {
            self.heard = self.heard.max(Some(at));
            self.add(Sign::Hung, at, hung.into(), all.into());
        }
    }

    /// Takes what connections wait for.
    #[expect(clippy::cast_precision_loss, reason = "counts, as a share")]
    pub(crate) fn connections(&mut self, told: &Connections, at: Nanos) {
        if told.counts.all > 0 {
            self.add(Sign::Unread, at, told.counts.unread as f64, told.counts.all as f64);
        }
    }

    /// Takes CPU time. It is told every second as long as the process lives, so the figures that are told only when
    /// there is something to tell are measured by it.
    #[expect(clippy::cast_precision_loss, reason = "counts, as a share")]
    pub(crate) fn cpu(&mut self, told: &CpuTime, at: Nanos) {
        let over = seconds(told.over_ns);
        self.add(Sign::LockWait, at, 0.0, over);
        self.add(Sign::Blocked, at, 0.0, over);
        self.add(Sign::BlockedWrites, at, 0.0, over);
        self.add(Sign::CpuDelay, at, seconds(told.delay_ns), seconds(told.delay_ns.saturating_add(told.used_ns)));
        if let Some(throttled) = told.throttled {
            let periods = over / PERIOD;
            self.add(Sign::Throttled, at, (throttled.periods as f64).min(periods), periods);
        }
    }

    /// Takes waits for a lock.
    pub(crate) fn lock(&mut self, told: &LockWait, at: Nanos) {
        self.add(Sign::LockWait, at, seconds(told.wait_ns), 0.0);
        let place = (told.site.0, if told.site.0 == 0 { told.word } else { 0 }, told.kind);
        let mut told = told.clone();
        // Who held it is not seen at every look.
        if let Some(known) = self.locks.get(&place) {
            told.holder = told.holder.or_else(|| known.holder.clone());
            told.longest_ns = told.longest_ns.max(known.longest_ns);
        }
        self.locks.add(place, at, seconds(told.wait_ns), told);
    }

    /// Takes uninterruptible waits.
    pub(crate) fn blocked(&mut self, told: &Blocked, at: Nanos) {
        self.add(Sign::Blocked, at, seconds(told.wait_ns), 0.0);
        let device = short(told.device.as_deref().unwrap_or_default());
        let longest = self.blocked.get(&device).filter(|known| known.longest_ns > told.longest_ns);
        let told = longest.cloned().unwrap_or_else(|| told.clone());
        self.blocked.add(device, at, seconds(told.wait_ns), told);
    }

    /// Takes writes that wait for a reader.
    pub(crate) fn blocked_write(&mut self, told: &BlockedWrite, at: Nanos) {
        self.add(Sign::BlockedWrites, at, seconds(told.wait_ns), 0.0);
        let mut told = told.clone();
        (told.thread, told.syscall) = (short(&told.thread), short(&told.syscall));
        if let WriteEnd::Pipe { name: Some(name), .. } = &mut told.to {
            *name = short(name);
        }
        let longest = self.writes.get(&told.to).filter(|known| known.longest_ns > told.longest_ns).cloned();
        self.writes.add(told.to.clone(), at, seconds(told.wait_ns), longest.unwrap_or(told));
    }

    /// Takes a segment that was sent again.
    pub(crate) fn resent(&mut self, told: &Retransmit, at: Nanos) {
        self.resends.add(told, at);
    }

    /// Takes what it asked resolvers for.
    pub(crate) fn dns(&mut self, told: &DnsLook, at: Nanos) {
        let sums = self.names.take(told, at);
        self.add(Sign::DnsFailed, at, sums.failed, sums.asked);
        self.add(Sign::DnsUnknown, at, sums.unknown, sums.asked);
        self.add(Sign::DnsTime, at, sums.took, sums.answered);
    }

    /// Takes what its network namespace, its cgroup or the machine went short of.
    #[expect(clippy::cast_precision_loss, reason = "counts, as a rate")]
    pub(crate) fn host(&mut self, told: &HostLook, at: Nanos) {
        let over = seconds(told.until.saturating_sub(told.since));
        let mut by_interface: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for item in told.items.iter().take(512) {
            if item.signal.is_time() && over > 0.0 {
                let share = (seconds(item.amount) / over).min(1.0);
                self.pressure.insert((told.scope, item.signal), (at, share));
            }
            if item.signal == HostSignal::ListenOverflows && item.amount > 0 {
                self.overflowed = self.overflowed.max(Some(at));
            }
            // What an interface dropped for no lack of room, unknown protocols among it, is of no account.
            let counts = by_interface.entry(item.place.as_str()).or_default();
            match (told.scope, item.signal) {
                // Drivers count the same packets in one of the two, or in both.
                (HostScope::Network, HostSignal::NicRxMissed | HostSignal::NicRxFifo) => {
                    counts.0 = counts.0.max(item.amount);
                }
                (HostScope::Network, HostSignal::NicTxDropped) | (HostScope::Machine, HostSignal::SoftnetDropped) => {
                    counts.1 = counts.1.saturating_add(item.amount);
                }
                _ => {}
            }
        }
        let mut all = 0.0;
        for (place, (received, sent)) in by_interface {
            let count = received.saturating_add(sent) as f64;
            if count > 0.0 {
                self.interfaces.add(place.chars().take(32).collect(), at, count, ());
            }
            all += count;
        }
        match told.scope {
            HostScope::Network => self.add(Sign::NicDrops, at, all, over),
            HostScope::Machine => self.add(Sign::NicDrops, at, all, 0.0),
            HostScope::Cgroup => {}
        }
    }
}

/// A name, cut where it is too long for one.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
