//! The breaker inside the service: leases that the guard layer fetches with each report.
//!
//! Invariant: a limit is handed out only for a lease of two seconds, and never past the engine's own
//! expiry; without a new answer the service opens by itself, whatever became of the agent.
//! Cost: one short lock for each report (four a second for each service).

use super::Unit;
use snowshed_engine::model::{Act, Acted, ActuatorKind, Change, Nanos, Observation, Pid};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// This unit.
pub(crate) const UNIT: Unit = Unit { kind: ActuatorKind::Guard, name: "guard" };

/// How long an answer holds.
pub(crate) const LEASE: Nanos = 2_000_000_000;
/// What refused clients are told to wait.
const RETRY_AFTER_SECONDS: u32 = 2;
/// Processes with a wish at the same time.
const PIDS: usize = 256;

/// What a service may do until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// How long it holds, milliseconds.
    pub(crate) lease_ms: u64,
    /// At most this many requests at once.
    pub(crate) limit: Option<u32>,
    /// For `Retry-After`, seconds.
    pub(crate) retry_after_s: u32,
    /// Why.
    pub(crate) reason: String,
}

/// The limits that are wished for, by process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<Pid, Wish>>>);

#[derive(Debug)]
struct Wish {
    limit: Option<u32>,
    reason: String,
    expires: Nanos,
    /// The limit that the engine was last told to be in force.
    told: Option<Option<u32>>,
}

impl Leases {
    /// Takes a command of the engine. What comes of it follows with the service's next reports.
    pub(crate) fn act(&self, act: Act, now: Nanos) -> Option<Observation> {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wishes.contains_key(&act.pid) && wishes.len() >= PIDS {
            return Some(Observation::Acted(Acted {
                actuator: ActuatorKind::Guard,
                pid: act.pid,
                limit: None,
                error: Some(format!("already limiting {PIDS} processes")),
                at: now,
            }));
        }
        let limit = match act.change {
            Change::Limit(limit) => Some(limit),
            Change::Release => None,
        };
        let told = wishes.get(&act.pid).and_then(|wish| wish.told);
        wishes.insert(act.pid, Wish { limit, reason: act.reason, expires: act.expires, told });
        None
    }

    /// Answers a report in which the service said which limit it enforces now. The second value is for
    /// the engine: the limit has come into force, or has gone.
    pub(crate) fn answer(&self, pid: Pid, in_force: Option<u32>, now: Nanos) -> (Lease, Option<Observation>) {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wish) = wishes.get_mut(&pid) else {
            return (Lease::open(String::new()), None);
        };
        let wished = wish.limit.filter(|_| now < wish.expires);
        let news = (in_force == wished && wish.told != Some(in_force)).then(|| {
            wish.told = Some(in_force);
            Observation::Acted(Acted { actuator: ActuatorKind::Guard, pid, limit: in_force, error: None, at: now })
        });
        let lease = match wished {
            Some(limit) => Lease {
                lease_ms: LEASE.min(wish.expires - now) / 1_000_000,
                limit: Some(limit),
                retry_after_s: RETRY_AFTER_SECONDS,
                reason: wish.reason.clone(),
            },
            None => Lease::open(wish.reason.clone()),
        };
        // Given back, and the service has said so: nothing is left to remember.
        if wished.is_none() && in_force.is_none() {
            wishes.remove(&pid);
        }
        (lease, news)
    }

    /// Gives everything back: the next report of each service is answered without a limit.
    /// Says how many processes are still limited.
    pub(crate) fn release_all(&self) -> usize {
        let mut wishes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.retain(|_, wish| wish.limit.is_some());
        for wish in wishes.values_mut() {
            wish.limit = None;
            "the agent is ending".clone_into(&mut wish.reason);
        }
        wishes.len()
    }

    /// Processes for which something is remembered.
    pub(crate) fn pending(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Forgets a process that ended.
    pub(crate) fn forget(&self, pid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }
}

impl Lease {
    fn open(reason: String) -> Self {
        Self { lease_ms: LEASE / 1_000_000, limit: None, retry_after_s: RETRY_AFTER_SECONDS, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn limit(to: u32, expires: Nanos) -> Act {
        Act { actuator: ActuatorKind::Guard, pid: 7, change: Change::Limit(to), reason: "fd_leak".into(), expires }
    }

    #[test]
    fn nothing_is_limited_unless_the_engine_said_so() {
        let (lease, news) = Leases::default().answer(7, None, SECOND);
        assert_eq!(lease.limit, None);
        assert!(news.is_none());
    }

    #[test]
    fn it_counts_as_done_only_when_the_service_says_so() {
        let leases = Leases::default();
        assert!(leases.act(limit(4, 30 * SECOND), 0).is_none());
        let (lease, news) = leases.answer(7, None, SECOND);
        assert_eq!((lease.limit, lease.lease_ms), (Some(4), 2000));
        assert!(news.is_none(), "the service has not enforced it yet");
        let (_, news) = leases.answer(7, Some(4), 2 * SECOND);
        assert!(matches!(news, Some(Observation::Acted(Acted { limit: Some(4), error: None, .. }))));
        let (_, news) = leases.answer(7, Some(4), 3 * SECOND);
        assert!(news.is_none(), "told once");
    }

    #[test]
    fn a_wish_ends_by_itself_and_no_lease_outlives_it() {
        let leases = Leases::default();
        leases.act(limit(4, 3 * SECOND), 0);
        assert_eq!(leases.answer(7, Some(4), 2 * SECOND).0.lease_ms, 1000);
        assert_eq!(leases.answer(7, Some(4), 3 * SECOND).0.limit, None);
        let (_, news) = leases.answer(7, None, 4 * SECOND);
        assert!(matches!(news, Some(Observation::Acted(Acted { limit: None, .. }))), "told that it is over");
        assert_eq!(leases.pending(), 0);
    }

    #[test]
    fn a_release_is_answered_and_told() {
        let leases = Leases::default();
        leases.act(limit(4, 60 * SECOND), 0);
        leases.answer(7, Some(4), SECOND);
        leases.act(Act { change: Change::Release, ..limit(0, 60 * SECOND) }, 0);
        let (lease, news) = leases.answer(7, Some(4), 2 * SECOND);
        assert_eq!(lease.limit, None);
        assert!(news.is_none());
        assert!(leases.answer(7, None, 3 * SECOND).1.is_some());
    }

    #[test]
    fn the_end_of_the_agent_gives_everything_back() {
        let leases = Leases::default();
        leases.act(limit(4, 60 * SECOND), 0);
        assert_eq!(leases.release_all(), 1);
        assert_eq!(leases.answer(7, Some(4), SECOND).0.limit, None);
        assert_eq!(leases.pending(), 1, "until the service has said that it is open");
        leases.answer(7, None, SECOND);
        assert_eq!(leases.pending(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let leases = Leases::default();
        for pid in 0..PIDS as u32 {
            assert!(leases.act(Act { pid, ..limit(1, SECOND) }, 0).is_none());
        }
        assert!(leases.act(Act { pid: 9999, ..limit(1, SECOND) }, 0).is_some());
    }
}
