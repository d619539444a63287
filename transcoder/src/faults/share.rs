//! Which requests a fault infects: an exact share of them, not a drawn one.
//!
//! Invariant: of any `n` requests in a row, the number infected is `n` times the share, give or take less than one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the requests that a fault has seen.
pub(super) struct Share(AtomicU64);

impl Share {
    /// None seen.
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether the next request is one of them.
    pub(super) fn takes(&self, share: f64) -> bool {
        let seen = self.0.fetch_add(1, Ordering::Relaxed) as f64;
        // Whenever the running total passes a whole number.
        ((seen + 1.0) * share).floor() > (seen * share).floor()
    }
}

/// Reads a share.
///
/// # Errors
/// What would have been right.
pub(super) fn parse(value: &str) -> Result<f64, String> {
    let share = value.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "a ratio over 0, at most 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_over_any_window() {
        for (share, of_hundred) in [(1.0, 100), (0.5, 50), (0.25, 25), (0.01, 1)] {
            let requests = Share::new();
            for _ in 0..3 {
                assert_eq!((0..100).filter(|_| requests.takes(share)).count(), of_hundred, "{share}");
            }
        }
        let thirds = Share::new();
        assert!([333, 334].contains(&(0..1000).filter(|_| thirds.takes(1.0 / 3.0)).count()));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for wrong in ["", "0", "-1", "1.01", "NaN", "inf", "half"] {
            assert!(parse(wrong).is_err(), "{wrong:?} passed");
        }
        assert_eq!(parse("0.5"), Ok(0.5));
    }
}
