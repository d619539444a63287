//! A figure with its uncertainty: the median of several values, with 95 % bounds of that median.
//!
//! The bounds are those of the percentile bootstrap (Efron 1979): values are drawn with replacement, as many as there
//! are, and the median of the draw is taken; 95 % of these medians lie between the bounds. Cost: two thousand draws.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

/// Draws with replacement.
const DRAWS: usize = 2000;

/// A median and its 95 % bounds; not a number where there was no value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Figure {
    /// Of these values, for example the differences of pairs. The same values give the same bounds.
    pub(crate) fn of(values: &[f64]) -> Self {
        Self::of_turns(values, |turns| median(&mut turns.iter().map(|value| **value).collect::<Vec<_>>()))
    }

    /// A statistic of several turns taken together, as a percentile of all that they measured. Whole turns are drawn.
    pub(crate) fn of_turns<T>(turns: &[T], statistic: impl Fn(&[&T]) -> f64) -> Self {
        if turns.is_empty() {
            return Self::exact(f64::NAN);
        }
        let mut random = StdRng::seed_from_u64(0);
        let mut drawn: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let draw: Vec<&T> = turns.iter().map(|_| &turns[random.random_range(0..turns.len())]).collect();
                statistic(&draw)
            })
            .collect();
        drawn.sort_by(f64::total_cmp);
        let (low, high) = (drawn[DRAWS / 40], drawn[DRAWS - 1 - DRAWS / 40]);
        Self { value: statistic(&turns.iter().collect::<Vec<_>>()), low, high }
    }

    /// Something counted, which has no uncertainty.
    pub(crate) const fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// A share of so many, with Wilson's bounds (1927): the draws of a share near 1 would all be 1.
    pub(crate) fn share(of: u64, all: u64) -> Self {
        const Z: f64 = 1.96;
        let (n, p) = (all as f64, of as f64 / all as f64);
        let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        Self { value: p, low: middle - half, high: middle + half }
    }
}

/// The middle one, or the mean of the two in the middle. There is at least one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_around_the_median_and_narrow_with_more_values() {
        let values = |count: u32| (0..count).map(|at| f64::from(at % 10)).collect::<Vec<_>>();
        let (few, many) = (Figure::of(&values(20)), Figure::of(&values(2000)));
        assert_eq!((few.value, many.value), (4.5, 4.5));
        assert!(few.low < 4.5 && few.high > 4.5, "{few:?}");
        assert!(many.high - many.low < few.high - few.low, "{few:?} {many:?}");
        assert_eq!(Figure::of(&[7.0]), Figure::exact(7.0));
        assert!(Figure::of(&[]).value.is_nan());
    }

    #[test]
    fn turns_are_taken_together_and_drawn_whole() {
        let sum = |turns: &[&u32]| turns.iter().map(|turn| f64::from(**turn)).sum::<f64>();
        let figure = Figure::of_turns(&[1, 1, 1, 9], sum);
        assert_eq!(figure.value, 12.0);
        assert!(figure.low >= 4.0 && figure.low < 12.0 && figure.high > 12.0 && figure.high <= 36.0, "{figure:?}");
        assert!(Figure::of_turns(&[], sum).value.is_nan());
    }

    #[test]
    fn a_share_of_everything_is_not_certain() {
        let all = Figure::share(50, 50);
        assert!((all.value - 1.0).abs() < 1e-12 && all.low < 0.95 && all.low > 0.9, "{all:?}");
    }
}
