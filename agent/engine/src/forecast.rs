//! When a resource will be used up at the present rate, as an interval, or nothing at all.
//!
//! The slope is Theil–Sen's (the median over all pairs of points), its interval the union of two: the
//! rank interval (Kendall's variance; Sen 1968, Gilbert 1987) and Student's interval of the mean
//! increment, because the points of a level that accumulates are not independent and the rank interval
//! alone is then too narrow. The time also allows for what the increments to come will differ by, and for a load that is not
//! what it was: no statistics of the past know that.
//! Invariant: a forecast exists only if the slope's lower bound is above zero and its interval is narrow
//! enough to be of use. Cost: at most 60 points; where they rise on average, their 1,770 pairs.

use crate::{
    model::{Forecast, Nanos, Resource},
    series::Series,
    window::SECOND,
};
use serde::{Deserialize, Serialize};

/// When a resource counts as running out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExhaustionConfig {
    /// Below this share of the limit nothing is said without orphans, however steep the growth.
    pub gate: f64,
    /// Over how long a slope is fitted where no onset is known, seconds.
    pub fit_seconds: u64,
    /// An incident opens when even the latest estimate lies within this time, seconds.
    pub open_below_seconds: f64,
}

impl Default for ExhaustionConfig {
    fn default() -> Self {
        Self { gate: 0.5, fit_seconds: 40, open_below_seconds: 600.0 }
    }
}

/// Fewest and most points of a fit.
const POINTS: (usize, usize) = (5, 60);
/// An interval wider than this (latest by earliest) helps nobody and is not told.
const WIDEST: f64 = 8.0;
/// What leaks does so with the load, and with what the service becomes as it grows: within this share either way of the
/// time to come that is nobody's news.
const DRIFT: f64 = 0.1;
/// Two-sided 95 % of the normal distribution.
const NORMAL: f64 = 1.96;

/// Growth per second, as an interval that lies above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    low: f64,
    high: f64,
    steps: Increments,
}

impl Growth {
    /// The slope: least and most, a second.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// When a rise of `room` will be complete: earliest and latest, seconds.
    pub(crate) fn times(&self, room: f64) -> (f64, f64) {
        let (early, late) = self.steps.times(room);
        (early.min(room / self.high) * (1.0 - DRIFT), late.max(room / self.low) * (1.0 + DRIFT))
    }
}

/// Fits the growth of `points` (seconds, level; oldest first); `None` where it is not significant.
pub(crate) fn growth(points: &[(f64, f64)]) -> Option<Growth> {
    let points = &points[points.len().saturating_sub(POINTS.1)..];
    if points.len() < POINTS.0 {
        return None;
    }
    // First what is cheap: of a level that does not rise on average no interval lies above zero.
    let steps = Increments::of(points)?;
    let half = steps.student * steps.deviation / steps.count.sqrt();
    if steps.mean - half <= 0.0 {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, (x0, y0)) in points.iter().enumerate() {
        slopes.extend(points[index + 1..].iter().filter(|(x1, _)| x1 > x0).map(|(x1, y1)| (y1 - y0) / (x1 - x0)));
    }
    slopes.sort_by(f64::total_cmp);
    let ranks = rank_interval(&slopes, points.len())?;
    let (low, high) = (ranks.0.min(steps.mean - half), ranks.1.max(steps.mean + half));
    let growth = Growth { low, high, steps };
    (growth.low > 0.0 && growth.high <= WIDEST * growth.low).then_some(growth)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks among at most 1,770 slopes, clamped to them"
)]
fn rank_interval(slopes: &[f64], points: usize) -> Option<(f64, f64)> {
    let n = points as f64;
    let spread = NORMAL * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let count = slopes.len() as f64;
    let low = ((count - spread) / 2.0).floor().max(0.0) as usize;
    let high = ((count + spread) / 2.0).ceil().min(count - 1.0).max(0.0) as usize;
    Some((*slopes.get(low)?, *slopes.get(high)?))
}

/// How the level moved from point to point.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Increments {
    /// Per second: mean and standard deviation.
    mean: f64,
    deviation: f64,
    count: f64,
    /// Seconds between two points.
    step: f64,
    student: f64,
}

impl Increments {
    #[expect(clippy::cast_precision_loss, reason = "at most 60 points")]
    fn of(points: &[(f64, f64)]) -> Option<Self> {
        let pairs = || points.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1));
        let rates = || pairs().filter(|(time, _)| *time > 0.0).map(|(time, rise)| rise / time);
        let count = rates().count();
        if count < 2 {
            return None;
        }
        let mean = rates().sum::<f64>() / count as f64;
        let variance = rates().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
        // Student's 97.5 % quantile, rounded up, for this many degrees of freedom.
        let student = match count - 1 {
            1 => 12.71,
            2 => 4.31,
            3 => 3.19,
            4..=6 => 2.78,
            7..=14 => 2.37,
            15..=29 => 2.14,
            _ => 2.05,
        };
        let step = pairs().map(|(time, _)| time).sum::<f64>() / count as f64;
        Some(Self { mean, deviation: variance.sqrt(), count: count as f64, step, student })
    }

    /// The rise within some seconds may differ from the mean by so much: what is not known of the mean,
    /// and what the increments to come will differ among themselves.
    fn spread(&self, seconds: f64) -> f64 {
        self.student * self.deviation * (seconds * self.step + seconds * seconds / self.count).sqrt()
    }

    /// When a rise of `room` may be complete: earliest and latest, seconds.
    fn times(&self, room: f64) -> (f64, f64) {
        let middle = room / self.mean;
        let early = bisect(0.0, middle, |time| self.mean * time + self.spread(time) >= room);
        let mut far = middle;
        while self.mean * far - self.spread(far) < room && far < 1e12 {
            far *= 2.0;
        }
        (early, bisect(middle, far, |time| self.mean * time - self.spread(time) >= room))
    }
}

/// The point between two from which on something holds, which it does at `high`.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = low + (high - low) / 2.0;
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

/// The forecast for a level with a limit, fitted since the onset where one is known, and no further back
/// than the last change of the load if enough has been seen since.
pub(crate) fn forecast(
    resource: Resource,
    series: &Series,
    limit: Option<u64>,
    onset: Option<Nanos>,
    changed: Option<Nanos>,
    config: &ExhaustionConfig,
) -> Option<Forecast> {
    let (limit, level, now) = (limit?, series.level()?, series.updated()?);
    let window = now.saturating_sub(config.fit_seconds.saturating_mul(SECOND));
    // The first window after an onset is partly from before it.
    let from = onset.map_or(window, |onset| onset.saturating_add(SECOND).max(now.saturating_sub(120 * SECOND)));
    let mut points = series.points(from);
    if let Some(changed) = changed.filter(|changed| *changed > from) {
        let since = series.points(changed.saturating_add(SECOND));
        points = if since.len() >= POINTS.0 { since } else { points };
    }
    let growth = growth(&points)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of descriptors or bytes, for an estimate")]
    let room = limit.saturating_sub(level) as f64;
    let eta_seconds = growth.times(room);
    (eta_seconds.0.is_finite() && eta_seconds.1.is_finite()).then_some(Forecast { resource, level, limit, eta_seconds })
}

impl ExhaustionConfig {
    /// Whether a level is high enough to speak of exhaustion without orphans.
    #[expect(clippy::cast_precision_loss, reason = "a share, for a threshold")]
    pub(crate) fn over_gate(&self, level: u64, limit: u64) -> bool {
        level as f64 >= self.gate * limit as f64
    }
}

/// An interval of time for a person, as in `48 to 61 seconds` or `4 to 6 minutes`.
pub(crate) fn span_words((earliest, latest): (f64, f64)) -> String {
    let (unit, name) = match latest {
        latest if latest < 180.0 || earliest < 60.0 => (1.0, "seconds"),
        latest if latest < 3.0 * 3600.0 => (60.0, "minutes"),
        latest if latest < 3.0 * 86_400.0 => (3600.0, "hours"),
        _ => (86_400.0, "days"),
    };
    let (low, high) = ((earliest / unit).floor(), (latest / unit).ceil().min(9_999.0));
    if low >= high { format!("{high:.0} {name}") } else { format!("{low:.0} to {high:.0} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slope: f64, noise: f64, count: u32) -> Vec<(f64, f64)> {
        (0..count)
            .map(|n| (f64::from(n) * 2.0, 30.0 + f64::from(n) * 2.0 * slope + noise * f64::from(n * 7 % 5)))
            .collect()
    }

    #[test]
    fn a_steady_leak_is_bracketed() {
        let growth = growth(&line(8.0, 2.0, 12)).unwrap();
        assert!(growth.low > 6.0 && growth.low <= 8.0 && growth.high >= 8.0 && growth.high < 10.0, "{growth:?}");
    }

    #[test]
    fn flat_falling_short_and_odd_series_say_nothing() {
        assert_eq!(growth(&line(0.0, 3.0, 30)), None);
        assert_eq!(growth(&line(-2.0, 1.0, 30)), None);
        assert_eq!(growth(&line(8.0, 0.0, 4)), None);
        assert_eq!(growth(&[(1.0, 5.0); 20]), None, "all at one time");
        assert_eq!(growth(&[]), None);
    }

    #[test]
    fn one_step_up_is_not_growth() {
        let points: Vec<_> = (0..20).map(|n| (f64::from(n), if n < 10 { 10.0 } else { 60.0 })).collect();
        assert_eq!(growth(&points), None);
    }

    #[test]
    fn the_interval_holds_the_truth() {
        let mut series = Series::new();
        (0..=20_u64).for_each(|n| series.record(n * SECOND, 40 + 10 * n));
        let config = ExhaustionConfig::default();
        let told = forecast(Resource::Fds, &series, Some(512), Some(0), None, &config).unwrap();
        assert_eq!((told.level, told.limit), (240, 512));
        assert!(told.eta_seconds.0 <= 27.3 && told.eta_seconds.1 >= 27.1, "{told:?}");
        assert_eq!(forecast(Resource::Fds, &series, None, Some(0), None, &config), None);
        let late = forecast(Resource::Fds, &series, Some(512), Some(18 * SECOND), None, &config);
        assert_eq!(late, None, "too little is known since that onset");
    }

    #[test]
    fn after_a_change_of_load_the_old_slope_no_longer_counts() {
        let mut series = Series::new();
        (0..=20_u64).for_each(|n| series.record(n * SECOND, 40 + 10 * n));
        (21..=40_u64).for_each(|n| series.record(n * SECOND, 220 + n));
        let config = ExhaustionConfig::default();
        let told = |changed| forecast(Resource::Fds, &series, Some(512), Some(0), changed, &config);
        let slow = told(Some(20 * SECOND)).unwrap();
        assert!(slow.eta_seconds.0 <= 252.0 && slow.eta_seconds.1 >= 251.0 && slow.eta_seconds.1 < 300.0, "{slow:?}");
        assert!(slow.eta_seconds.0 < 230.0 && slow.eta_seconds.1 > 275.0, "a tenth either way is no news: {slow:?}");
        assert_eq!(told(Some(36 * SECOND)), told(None), "too little is known since then");
    }

    #[test]
    fn words() {
        assert_eq!(span_words((48.2, 60.4)), "48 to 61 seconds");
        assert_eq!(span_words((241.0, 359.0)), "4 to 6 minutes");
        assert_eq!(span_words((21.5, 195.0)), "21 to 195 seconds");
        assert_eq!(span_words((0.0, 0.0)), "0 seconds");
        assert_eq!(span_words((1e3, 1e300)), "0 to 9999 days");
    }
}
