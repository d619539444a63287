//! Which figures are followed: what they are called, and from when on they count.
//!
//! Invariant: a figure's bar lies above what healthy services show. Shares are of 1.

use super::track::Bar;
use crate::model::Layer;
use serde::{Deserialize, Serialize};

/// From when on figures count. Each is a least height; it must also be several times what is usual, for some seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignConfig {
    /// Figures are held against their past once it is so long, seconds.
    pub past_seconds: u64,
    /// Where nothing is known of requests, a shortage opens an incident only once it has lasted so long, seconds.
    pub alone_seconds: u64,
    /// Requests that are slow or fail open an incident without any other sign once that has lasted so long, seconds.
    pub suffering_seconds: u64,
    /// Segments sent again, of those sent with data.
    pub resent_ratio: f64,
    /// Threads that wait for locks, on average.
    pub lock_waiters: f64,
    /// Periods of the processor limit in which it was throttled, of all.
    pub throttled_ratio: f64,
    /// Time that threads were ready and had no processor, of the time that they were ready or ran.
    pub cpu_delay_ratio: f64,
    /// Threads blocked uninterruptibly, on average.
    pub blocked_threads: f64,
    /// Connections that its listeners dropped, a second.
    pub accept_drops_per_second: f64,
    /// Packets for which interfaces or backlogs had no room, a second.
    pub nic_drops_per_second: f64,
    /// Connects that failed, a second.
    pub failed_connects_per_second: f64,
    /// The longest round trip to those that it connected to, seconds.
    pub round_trip_seconds: f64,
    /// Of the time that answers of others took, the share that was unusually long.
    pub late_answer_ratio: f64,
    /// How long its own answers take on average, as its sockets tell, seconds.
    pub answer_seconds: f64,
    /// Requests that arrive, a second.
    pub arrivals_per_second: f64,
    /// Share of the looks in which the connections to somebody were all in use all the time.
    pub pool_full_ratio: f64,
    /// Requests that have been arriving for more than six seconds, at a moment.
    pub unfinished_requests: f64,
    /// Requests that have waited for their answer for two seconds, at a moment.
    pub unanswered: f64,
    /// Connections that nobody has accepted, at a moment.
    pub unaccepted: f64,
    /// Threads that stand in a write nobody reads, on average.
    pub blocked_writers: f64,
    /// Questions for names that came to nothing, of all.
    pub dns_failed_ratio: f64,
    /// How long an answer of a resolver takes on average, seconds.
    pub dns_answer_seconds: f64,
    /// Requests slower than is usual for their route, of all.
    pub slow_ratio: f64,
    /// Requests that failed, of all.
    pub failed_ratio: f64,
}

impl Default for SignConfig {
    fn default() -> Self {
        Self {
            past_seconds: 40,
            alone_seconds: 60,
            suffering_seconds: 30,
            resent_ratio: 0.01,
            lock_waiters: 1.0,
            throttled_ratio: 0.25,
            cpu_delay_ratio: 0.3,
            blocked_threads: 0.5,
            accept_drops_per_second: 0.5,
            nic_drops_per_second: 10.0,
            failed_connects_per_second: 0.5,
            round_trip_seconds: 0.05,
            late_answer_ratio: 0.3,
            answer_seconds: 0.03,
            arrivals_per_second: 5.0,
            pool_full_ratio: 0.5,
            unfinished_requests: 2.5,
            unanswered: 2.5,
            unaccepted: 2.5,
            blocked_writers: 0.7,
            dns_failed_ratio: 0.24,
            dns_answer_seconds: 0.3,
            slow_ratio: 0.3,
            failed_ratio: 0.2,
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Segments sent again, of those sent.
    Resent,
    /// The same of those sent to whom it connected to: what is asked is little beside what is answered.
    ResentThere,
    /// Threads that wait for a lock.
    LockWait,
    /// Periods in which the cgroup's processor limit held it back.
    Throttled,
    /// Waiting for a processor, of the time ready or running.
    CpuDelay,
    /// Threads blocked uninterruptibly.
    Blocked,
    /// Connections that listeners dropped, a second.
    AcceptDrops,
    /// Packets dropped for lack of room, a second.
    NicDrops,
    /// Connects that failed, a second.
    Refused,
    /// The longest round trip to a peer that it connected to.
    RoundTrip,
    /// Answers of those that it connected to that took unusually long: of the time that all answers took.
    LateAnswers,
    /// Requests slower than usual.
    Slow,
    /// Requests that failed.
    Failed,
    /// Requests open for longer than any took.
    Hung,
    /// Connections on which bytes lie unread for seconds.
    Unread,
    /// How long received bytes lie unread.
    ReadDelay,
    /// How long its own answers take, where it was connected to.
    Answer,
    /// Requests that arrive, a second, as its sockets tell: those that it answered.
    Arrivals,
    /// Requests that arrive, a second, as spans tell: by their begin.
    Asked,
    /// Looks in which the connections to somebody were all in use, although that one answers as soon as ever.
    PoolFull,
    /// Questions for names that came to nothing, of all: without an answer, unreachable, failed.
    DnsFailed,
    /// Names that were not there, of all that were asked for.
    DnsUnknown,
    /// How long resolvers take to answer.
    DnsTime,
    /// Threads that stand in a write because nobody reads.
    BlockedWrites,
    /// Requests that have been arriving for longer than anybody should wait for one.
    Unfinished,
    /// Connections that nobody has accepted.
    Unaccepted,
    /// Requests that wait for their answer for longer than most do.
    Unanswered,
}

impl Sign {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 27] = [
        Self::Resent,
        Self::ResentThere,
        Self::LockWait,
        Self::Throttled,
        Self::CpuDelay,
        Self::Blocked,
        Self::AcceptDrops,
        Self::NicDrops,
        Self::Refused,
        Self::RoundTrip,
        Self::LateAnswers,
        Self::Slow,
        Self::Failed,
        Self::Hung,
        Self::Unread,
        Self::ReadDelay,
        Self::Answer,
        Self::Arrivals,
        Self::Asked,
        Self::PoolFull,
        Self::DnsFailed,
        Self::DnsUnknown,
        Self::DnsTime,
        Self::BlockedWrites,
        Self::Unfinished,
        Self::Unaccepted,
        Self::Unanswered,
    ];
    /// Those that say that requests suffer; told by requests first.
    pub(crate) const SUFFERING: &'static [Self] = &[
        Self::Slow,
        Self::Failed,
        Self::Hung,
        Self::Unread,
        Self::ReadDelay,
        Self::Answer,
        Self::Unaccepted,
        Self::Unanswered,
    ];

    /// What it is called as evidence, its unit, and where it is measured.
    pub(crate) fn words(self) -> (&'static str, &'static str, Layer) {
        use Layer::{Application, Infrastructure, Network};
        match self {
            Self::Resent => ("tcp.resent_ratio", "ratio", Network),
            Self::ResentThere => ("tcp.resent_ratio_to_others", "ratio", Network),
            Self::LockWait => ("lock.waiting", "threads", Application),
            Self::Throttled => ("cpu.throttled_ratio", "ratio", Infrastructure),
            Self::CpuDelay => ("cpu.delay_ratio", "ratio", Infrastructure),
            Self::Blocked => ("disk.waiting", "threads", Infrastructure),
            Self::AcceptDrops => ("tcp.accept_drops", "connections/s", Network),
            Self::NicDrops => ("nic.dropped", "packets/s", Infrastructure),
            Self::Refused => ("tcp.failed_connects", "connects/s", Network),
            Self::RoundTrip => ("tcp.round_trip", "s", Network),
            Self::LateAnswers => ("tcp.late_answer_ratio", "ratio", Network),
            Self::Slow => ("requests.slow_ratio", "ratio", Application),
            Self::Failed => ("requests.failed_ratio", "ratio", Application),
            Self::Hung => ("requests.hung_ratio", "ratio", Application),
            Self::Unread => ("tcp.unread_ratio", "ratio", Network),
            Self::ReadDelay => ("tcp.read_delay", "s", Network),
            Self::Answer => ("tcp.answer_time", "s", Network),
            Self::Arrivals => ("tcp.arrivals", "requests/s", Network),
            Self::Asked => ("requests.arrivals", "requests/s", Application),
            Self::PoolFull => ("pool.full_ratio", "ratio", Application),
            Self::DnsFailed => ("dns.failed_ratio", "ratio", Network),
            Self::DnsUnknown => ("dns.unknown_ratio", "ratio", Network),
            Self::DnsTime => ("dns.answer_time", "s", Network),
            Self::Unfinished => ("tcp.unfinished_requests", "requests", Network),
            Self::Unanswered => ("tcp.unanswered", "requests", Network),
            Self::Unaccepted => ("tcp.unaccepted", "connections", Network),
            Self::BlockedWrites => ("write.blocked_threads", "threads", Application),
        }
    }

    /// From when on it counts. Rare events need fewer high windows; what goes up with every burst needs nearly all.
    pub(crate) fn bar(self, config: &SignConfig) -> Bar {
        let is_share = self.words().1 == "ratio";
        // More than usual cannot be told without a usual.
        let needs_past = matches!(self, Self::Arrivals | Self::Asked | Self::DnsUnknown);
        let bar = |least, times, events, hold, needed| Bar { least, times, is_share, needs_past, events, hold, needed };
        match self {
            Self::Resent | Self::ResentThere => bar(config.resent_ratio, 5.0, 10.0, 5, 3),
            // A burst of work and a lock that is held for ten seconds are nobody's business.
            Self::LockWait => bar(config.lock_waiters, 4.0, 6.0, 7, 6),
            Self::Throttled => bar(config.throttled_ratio, 3.0, 20.0, 7, 6),
            // Of the last fourteen seconds threads waited for six, added up.
            Self::CpuDelay => bar(config.cpu_delay_ratio, 3.0, 6.0, 7, 6),
            Self::Blocked => bar(config.blocked_threads, 4.0, 4.0, 5, 3),
            Self::AcceptDrops => bar(config.accept_drops_per_second, 4.0, 5.0, 5, 3),
            Self::NicDrops => bar(config.nic_drops_per_second, 10.0, 100.0, 5, 3),
            Self::Refused => bar(config.failed_connects_per_second, 4.0, 5.0, 5, 3),
            Self::RoundTrip => bar(config.round_trip_seconds, 5.0, 0.0, 5, 3),
            Self::LateAnswers => bar(config.late_answer_ratio, 3.0, 1.0, 5, 4),
            // Spans come late and in batches.
            Self::Slow => bar(config.slow_ratio, 3.0, 5.0, 8, 4),
            Self::Failed => bar(config.failed_ratio, 4.0, 5.0, 8, 4),
            Self::Hung => bar(0.5, 3.0, 10.0, 5, 3),
            Self::Unread => bar(0.2, 3.0, 3.0, 5, 3),
            Self::ReadDelay => bar(0.05, 5.0, 0.5, 5, 3),
            Self::Answer => bar(config.answer_seconds, 4.0, 0.5, 5, 4),
            Self::Arrivals | Self::Asked => bar(config.arrivals_per_second, 2.0, 20.0, 5, 4),
            Self::Unfinished => bar(config.unfinished_requests, 4.0, 9.0, 5, 3),
            // Callers give up, and wait anew.
            Self::Unanswered => bar(config.unanswered, 4.0, 9.0, 5, 3),
            Self::Unaccepted => bar(config.unaccepted, 4.0, 9.0, 5, 4),
            // Whoever reads in bursts is nobody's business. Sooner than the lock that the writer may hold.
            Self::BlockedWrites => bar(config.blocked_writers, 4.0, 4.0, 6, 5),
            Self::DnsFailed => bar(config.dns_failed_ratio, 3.0, 4.0, 7, 3),
            Self::DnsUnknown => bar(0.5, 3.0, 4.0, 7, 4),
            Self::DnsTime => bar(config.dns_answer_seconds, 5.0, 1.0, 5, 3),
            Self::PoolFull => Bar { is_share: false, ..bar(config.pool_full_ratio, 1.5, 3.0, 6, 4) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_has_its_place_and_its_own_name() {
        for (number, sign) in Sign::ALL.into_iter().enumerate() {
            assert_eq!(sign as usize, number);
            assert!(Sign::ALL[number + 1..].iter().all(|other| other.words().0 != sign.words().0), "{sign:?}");
            let bar = sign.bar(&SignConfig::default());
            assert!(bar.least > 0.0 && bar.times > 1.0 && 0 < bar.needed && bar.needed <= bar.hold, "{bar:?}");
        }
    }
}
