//! When requests are due: a Poisson process from a seed, so that a run can be repeated.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::time::Duration;

/// An endless sequence of times since the start, at `rate` a second on average.
#[derive(Debug)]
pub(super) struct Poisson {
    random: StdRng,
    rate: f64,
    at: f64,
}

impl Poisson {
    /// `rate` is a positive number.
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), rate, at: 0.0 }
    }
}

impl Iterator for Poisson {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Inverse transform: 1 - u lies in (0, 1], so the logarithm is finite.
        self.at += -(1.0 - self.random.random::<f64>()).ln() / self.rate;
        Duration::try_from_secs_f64(self.at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| Poisson::new(3.0, seed).take(50).collect::<Vec<_>>();
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn the_rate_is_kept_and_the_gaps_are_exponential() {
        let times: Vec<f64> = Poisson::new(5.0, 1).take(20_000).map(|at| at.as_secs_f64()).collect();
        let mean = times[times.len() - 1] / times.len() as f64;
        assert!((mean - 0.2).abs() < 0.006, "{mean}");
        let longer = times.windows(2).filter(|pair| pair[1] - pair[0] > 0.2).count() as f64 / times.len() as f64;
        assert!((longer - (-1.0f64).exp()).abs() < 0.02, "{longer} of the gaps are longer than the mean");
    }
}
