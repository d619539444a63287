//! The agent's word, and how long it holds. Pure: every function takes the time.
//!
//! Invariant: a lease that nobody renewed is no limit (fail open).

use std::time::Duration;

/// The longest that one answer may bind the service, whatever it says.
const LONGEST: Duration = Duration::from_secs(10);

/// What the agent allows, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    limit: Option<u32>,
    until_ns: u64,
    retry_after_s: u32,
    reason: String,
}

impl Lease {
    /// No limit.
    #[must_use]
    pub const fn open() -> Self {
        Self { limit: None, until_ns: 0, retry_after_s: 1, reason: String::new() }
    }

    /// An answer that arrived at `now_ns` and holds for `lease` (at most ten seconds).
    #[must_use]
    pub fn granted(now_ns: u64, lease: Duration, limit: Option<u32>, retry_after_s: u32, reason: String) -> Self {
        let lease = u64::try_from(lease.min(LONGEST).as_nanos()).unwrap_or(u64::MAX);
        Self { limit, until_ns: now_ns.saturating_add(lease), retry_after_s: retry_after_s.clamp(1, 3600), reason }
    }

    /// The limit that holds at `now_ns`.
    #[must_use]
    pub fn limit(&self, now_ns: u64) -> Option<u32> {
        self.limit.filter(|_| now_ns < self.until_ns)
    }

    /// What to tell those who are refused: seconds.
    #[must_use]
    pub fn retry_after_s(&self) -> u32 {
        self.retry_after_s
    }

    /// Why, in the agent's words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn granted(limit: Option<u32>) -> Lease {
        Lease::granted(5 * SECOND, Duration::from_secs(2), limit, 2, "why".into())
    }

    #[test]
    fn holds_until_it_runs_out_then_opens() {
        let lease = granted(Some(3));
        assert_eq!(lease.limit(5 * SECOND), Some(3));
        assert_eq!(lease.limit(7 * SECOND - 1), Some(3));
        assert_eq!(lease.limit(7 * SECOND), None);
        assert_eq!(lease.limit(u64::MAX), None);
    }

    #[test]
    fn null_is_no_limit_and_zero_is_one() {
        assert_eq!(granted(None).limit(5 * SECOND), None);
        assert_eq!(granted(Some(0)).limit(5 * SECOND), Some(0));
        assert_eq!(Lease::open().limit(0), None);
    }

    #[test]
    fn no_answer_binds_for_long() {
        let lease = Lease::granted(0, Duration::from_secs(86_400), Some(1), 0, String::new());
        assert_eq!(lease.limit(10 * SECOND), None);
        assert_eq!(lease.retry_after_s(), 1, "a client is never told to come back at once");
    }
}
