//! Who is in, and who may come in.
//!
//! Invariant: every request that was let in is counted until its [`Permit`] is dropped, and the list of open requests
//! is bounded ([`LISTED`]): more are counted but not listed. Cost: one uncontended lock and one map entry per request.

use super::Overloaded;
use crate::context::TraceContext;
use crate::{Lease, clock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open requests that are listed one by one.
const LISTED: usize = 4096;
/// Longest route that is kept, in bytes; the rest is cut off.
const ROUTE_BYTES: usize = 64;

/// A request in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The ids that its handler's thread published, if any.
    pub context: Option<TraceContext>,
    /// Method and route.
    pub route: String,
    /// When it was let in, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
}

/// What is going on at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests in progress.
    pub in_flight: u32,
    /// The limit that holds now.
    pub limit: Option<u32>,
    /// Requests refused since the start.
    pub rejected_total: u64,
    /// Nothing is missing in `open`.
    pub complete: bool,
    /// Requests in progress, oldest first.
    pub open: Vec<OpenRequest>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    in_flight: u32,
    rejected_total: u64,
    /// Numbered in the order of arrival, so that iteration is oldest first.
    open: BTreeMap<u64, OpenRequest>,
    next: u64,
}

/// Counts requests and decides who may come in. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Limiter {
    state: Arc<Mutex<State>>,
}

impl Default for Limiter {
    fn default() -> Self {
        let state = State { lease: Lease::open(), in_flight: 0, rejected_total: 0, open: BTreeMap::new(), next: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl Limiter {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock; if it did, counting on is better than failing every request.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the lease.
    pub fn renew(&self, lease: Lease) {
        self.state().lease = lease;
    }

    /// Lets a request in, or says why not. `now_ns` is [`crate::monotonic_ns`].
    ///
    /// # Errors
    /// The limit is reached.
    pub fn try_enter(&self, now_ns: u64, context: Option<TraceContext>, route: &str) -> Result<Permit, Overloaded> {
        let mut state = self.state();
        if let Some(limit) = state.lease.limit(now_ns)
            && state.in_flight >= limit
        {
            state.rejected_total += 1;
            return Err(Overloaded::new(limit, state.lease.retry_after_s(), state.lease.reason()));
        }
        state.in_flight += 1;
        let number = state.next;
        state.next += 1;
        if state.open.len() < LISTED {
            let route = route[..route.floor_char_boundary(ROUTE_BYTES)].to_owned();
            state.open.insert(number, OpenRequest { context, route, since_ns: now_ns });
        }
        drop(state);
        Ok(Permit { limiter: self.clone(), number })
    }

    /// What is going on at `now_ns`, with at most `most` open requests, oldest first.
    #[must_use]
    pub fn snapshot(&self, now_ns: u64, most: usize) -> Snapshot {
        let state = self.state();
        let open: Vec<_> = state.open.values().take(most).cloned().collect();
        Snapshot {
            in_flight: state.in_flight,
            limit: state.lease.limit(now_ns),
            rejected_total: state.rejected_total,
            complete: open.len() == state.in_flight as usize,
            open,
        }
    }

    /// The same, now.
    #[must_use]
    pub fn now(&self, most: usize) -> Snapshot {
        self.snapshot(clock::monotonic_ns(), most)
    }
}

/// A request's place; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Limiter,
    number: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn limited(limit: u32) -> Limiter {
        let limiter = Limiter::default();
        limiter.renew(Lease::granted(0, Duration::from_secs(2), Some(limit), 2, "fd_leak".into()));
        limiter
    }

    #[test]
    fn refuses_at_the_limit_and_lets_in_when_one_leaves() {
        let limiter = limited(2);
        let first = limiter.try_enter(1, None, "a").expect("room");
        let _second = limiter.try_enter(2, None, "b").expect("room");
        let refused = limiter.try_enter(3, None, "c").expect_err("full");
        assert_eq!((refused.limit(), refused.retry_after_s()), (2, 2));
        assert_eq!(limiter.snapshot(3, 10).rejected_total, 1);
        drop(first);
        assert!(limiter.try_enter(4, None, "c").is_ok());
    }

    #[test]
    fn opens_fully_when_the_lease_runs_out() {
        let limiter = limited(0);
        assert!(limiter.try_enter(2 * SECOND - 1, None, "a").is_err());
        assert!(limiter.try_enter(2 * SECOND, None, "a").is_ok());
        assert_eq!(limiter.snapshot(2 * SECOND, 1).limit, None);
    }

    #[test]
    fn lowering_the_limit_throws_nobody_out() {
        let limiter = Limiter::default();
        let held: Vec<_> = (0..5).filter_map(|at| limiter.try_enter(at, None, "a").ok()).collect();
        limiter.renew(Lease::granted(5, Duration::from_secs(2), Some(1), 1, String::new()));
        assert_eq!(limiter.snapshot(6, 10).in_flight, 5);
        assert!(limiter.try_enter(6, None, "a").is_err());
        drop(held);
        assert!(limiter.try_enter(7, None, "a").is_ok());
    }

    #[test]
    fn lists_the_oldest_and_says_when_it_leaves_some_out() {
        let limiter = Limiter::default();
        let _held: Vec<_> = (0..10).map(|at| limiter.try_enter(at, None, "r").expect("open")).collect();
        let all = limiter.snapshot(20, 10);
        assert!(all.complete);
        assert_eq!(all.open.iter().map(|open| open.since_ns).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        let some = limiter.snapshot(20, 3);
        assert!(!some.complete);
        assert_eq!((some.in_flight, some.open.len(), some.open[2].since_ns), (10, 3, 2));
    }

    #[test]
    fn the_list_is_bounded_and_long_routes_are_cut_between_characters() {
        let limiter = Limiter::default();
        let held: Vec<_> = (0..LISTED + 5).map(|_| limiter.try_enter(0, None, "é".repeat(99).as_str())).collect();
        let snapshot = limiter.snapshot(1, usize::MAX);
        assert_eq!((snapshot.in_flight as usize, snapshot.open.len(), snapshot.complete), (LISTED + 5, LISTED, false));
        assert_eq!(snapshot.open[0].route, "é".repeat(ROUTE_BYTES / 2));
        drop(held);
        let empty = limiter.snapshot(1, usize::MAX);
        assert_eq!((empty.in_flight, empty.open.len(), empty.complete), (0, 0, true));
    }
}
