//! Steady growth: a level that rises and does nothing else, since when, and how fast.
//!
//! Much that is healthy grows: a start warms up, a cache fills, a pool is made, a heap is a saw between two
//! collections. So a rise counts only if it is large, has lasted, is not slowing down (the last third rises about
//! as much as the one before), goes above everything seen before it, and has a slope whose interval lies above
//! zero (to be suspected it need not have that yet). It must last longer where it began with the watch or with the work: growth from the start on is what
//! warming up looks like. It begins where the last calm time before it ends; a heap that is collected is calm, too, as
//! long as its teeth stay small beside the rise. With less work, less growth is steady. Invariant: what cannot be
//! told from that is not called growth. Cost: a few passes over at most 150 windows; the slope only where all else
//! fits.

use crate::{
    forecast::{Growth, growth},
    model::Nanos,
    series::Series,
    window::SECOND,
};
use serde::{Deserialize, Serialize};

/// When a level counts as growing steadily.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrowthConfig {
    /// The least rise of memory, bytes.
    pub least_bytes: u64,
    /// The least rise of a number of threads or tasks.
    pub least_tasks: u64,
    /// How long it must last after a time at one level with about as much work, seconds.
    pub after_calm_seconds: u64,
    /// How long such a time at one level must be, seconds.
    pub calm_seconds: u64,
    /// How long it must last without one, seconds.
    pub from_start_seconds: u64,
    /// The least that the last third of it rises, as a share of what the third before did.
    pub steady: f64,
    /// Memory: no incident opens if its limit is further away than this at the earliest, seconds.
    pub open_below_seconds: f64,
    /// That it rises is enough: how fast it does need not be known yet.
    #[serde(skip)]
    pub rough: bool,
}

impl Default for GrowthConfig {
    fn default() -> Self {
        Self {
            least_bytes: 32 << 20,
            least_tasks: 24,
            after_calm_seconds: 45,
            calm_seconds: 20,
            from_start_seconds: 180,
            steady: 0.75,
            open_below_seconds: 14_400.0,
            rough: false,
        }
    }
}

/// What grows is suspected once it has grown for so long after a calm time, seconds, with a last third that may have
/// slowed down by so much more, and by this part of the bytes that an incident takes.
const EARLY: (u64, f64, u64) = (8, 0.5, 2);

impl GrowthConfig {
    /// When growth is only suspected: sooner, if all else is as it must be.
    pub(crate) fn early(&self) -> Self {
        Self {
            after_calm_seconds: self.after_calm_seconds.min(EARLY.0),
            steady: self.steady.min(EARLY.1),
            least_bytes: self.least_bytes / EARLY.2,
            rough: true,
            ..self.clone()
        }
    }
}

/// Levels within this share of the rise are still the level from which it began.
const AT_THE_FOOT: f64 = 0.1;
/// Before the rise there must have been at least this share of the work that there is now.
const AS_MUCH_WORK: f64 = 0.4;
/// Swings of at most this share of the rise may have come before it: a heap is collected, caches come and go.
const SWING: f64 = 0.4;
/// Within the last so many seconds it must have risen by at least this share of what it does on average.
const STILL: (f64, f64) = (10.0, 0.5);
/// With less work it may rise by less, but not with less than this share of it by nothing.
const LEAST_WORK: f64 = 0.25;
/// A rise goes above every earlier level by this share of itself.
const NEW_HIGH: f64 = 0.25;

/// A rise that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rise {
    /// When it began.
    pub(crate) since: Nanos,
    /// The level then.
    pub(crate) from: f64,
    /// The floor now.
    pub(crate) to: f64,
    /// A second, on average.
    slope: f64,
    /// With its interval, if that is known.
    growth: Option<Growth>,
}

impl Rise {
    /// How much it has risen.
    pub(crate) fn amount(&self) -> f64 {
        self.to - self.from
    }

    /// A second: least and most.
    pub(crate) fn rate(&self) -> (f64, f64) {
        self.growth.map_or((self.slope, self.slope), |growth| growth.bounds())
    }

    /// When it will have risen by `room` more: earliest and latest, seconds.
    pub(crate) fn seconds_to(&self, room: f64) -> Option<(f64, f64)> {
        let (early, late) = self.growth?.times(room);
        (early.is_finite() && late.is_finite()).then_some((early, late))
    }
}

/// The rise that a level is in, if it is one of at least `least`. `work` tells how much the process did, a
/// second, between two times, where that is known.
pub(crate) fn rise(
    series: &Series,
    least: u64,
    config: &GrowthConfig,
    work: impl Fn(Nanos, Nanos) -> Option<f64>,
) -> Option<Rise> {
    // Nearly always: nothing is copied for that.
    if series.risen()? < least.max(1) {
        return None;
    }
    let points = series.points(0);
    let last = points.last()?;
    let foot = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let near = foot + AT_THE_FOOT * (last.1 - foot);
    let onset = points.iter().rposition(|point| point.1 <= near)?;
    let calm = calm_since(&points[..onset], (foot, near), last.1);
    let from =
        |begun: usize, calm: Option<usize>| since(&points, begun, calm.map(|calm| points[calm].0), config, &work);
    if let Some((begun, end)) = pause(&points, onset, config) {
        // Since then, if that is a rise by itself; as a whole it must have lasted for longer.
        #[expect(clippy::cast_precision_loss, reason = "levels past 2^53 are no levels of anything counted here")]
        let enough = last.1 - points[end].1 >= least as f64;
        return enough.then(|| from(end, Some(begun))).flatten().or_else(|| from(onset, None));
    }
    let Some(calm) = calm else { return from(onset, None) };
    // Near the foot is what has risen by a tenth: the calm time ended before.
    if let Some((calm, end)) = pause(&points, calm, config) {
        return from(end, Some(calm));
    }
    // Or it swings, and then it rises since it last was as high as it had swung.
    let high = points[calm..=onset].iter().map(|point| point.1).fold(near, f64::max);
    from(points.iter().rposition(|point| point.1 <= high)?, Some(calm))
}

/// The rise that began at one of some points, after a calm time that began at `calm`.
fn since(
    points: &[(f64, f64)],
    onset: usize,
    calm: Option<f64>,
    config: &GrowthConfig,
    work: impl Fn(Nanos, Nanos) -> Option<f64>,
) -> Option<Rise> {
    let (before, rising) = (&points[..onset], &points[onset..]);
    let ((begun, from), last) = (*rising.first()?, *rising.last()?);
    let highest = before.iter().map(|point| point.1).fold(from, f64::max);
    if last.1 < highest + NEW_HIGH * (last.1 - from) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a configuration")]
    let (calm_enough, after_calm, from_start) =
        (config.calm_seconds as f64, config.after_calm_seconds as f64, config.from_start_seconds as f64);
    let as_before = |calm: f64| {
        let (then, now) = (work(nanos(calm), nanos(begun)), work(nanos(begun), nanos(last.0)));
        then.zip(now).is_some_and(|(then, now)| then >= AS_MUCH_WORK * now)
    };
    let was_calm = calm.is_some_and(|calm| begun - calm >= calm_enough && as_before(calm));
    let needed = if was_calm { after_calm } else { from_start };
    // Less work may well leave less behind.
    let less = |usual: (f64, f64), lately: (f64, f64)| {
        let (usual, lately) = (work(nanos(usual.0), nanos(usual.1)), work(nanos(lately.0), nanos(lately.1)));
        let known = usual.filter(|usual| *usual > 0.0).zip(lately);
        known.map_or(1.0, |(usual, lately)| (lately / usual).clamp(LEAST_WORK, 1.0))
    };
    if last.0 - begun < needed || !is_steady(rising, config.steady, less) || !goes_on(rising, less) {
        return None;
    }
    let growth = growth(rising);
    let slope = (last.1 - from) / (last.0 - begun).max(1.0);
    (growth.is_some() || config.rough).then_some(Rise { since: nanos(begun), from, to: last.1, slope, growth })
}

/// The pause in what has risen since one of some points, if there was one: where it began and ended. It ends where the
/// level lies furthest below the straight way from first to last, and is a calm time in which it rises by hardly
/// anything: not by a tenth of what it has risen since, nor of what it now rises in as long a time.
#[expect(clippy::cast_precision_loss, reason = "seconds of a configuration")]
fn pause(points: &[(f64, f64)], onset: usize, config: &GrowthConfig) -> Option<(usize, usize)> {
    let (first, last) = (*points.get(onset)?, *points.last()?);
    let slope = (last.1 - first.1) / (last.0 - first.0).max(1.0);
    let below = |point: &(f64, f64)| first.1 + slope * (point.0 - first.0) - point.1;
    let all = points.iter().enumerate().skip(onset + 1);
    let (end, knee) = all.max_by(|one, other| below(one.1).total_cmp(&below(other.1)))?;
    let (risen, lasted, calm) = (last.1 - knee.1, last.0 - knee.0, config.calm_seconds as f64);
    let width = AT_THE_FOOT * risen * (calm / lasted.max(1.0)).min(1.0);
    let begun = onset + calm_since(&points[onset..end], (knee.1 - width, knee.1 + width), last.1)?;
    (knee.0 - points[begun].0 >= calm).then_some((begun, end))
}

/// Since which of some points the level has not risen: the first from which on its lowest lies in a range, while it
/// swings above that by no more than a share of the way to what it has become.
fn calm_since(points: &[(f64, f64)], (low, near): (f64, f64), became: f64) -> Option<usize> {
    let high = near.max(low + SWING * (became - low));
    let swings = |(_, point): &(usize, &(f64, f64))| (low..=high).contains(&point.1);
    let touches = points.iter().enumerate().rev().take_while(swings).filter(|(_, point)| point.1 <= near);
    touches.last().map(|(index, _)| index)
}

/// Whether some points still rise at their end. `less` tells how much work there was in a time, of that in another.
fn goes_on(points: &[(f64, f64)], less: impl Fn((f64, f64), (f64, f64)) -> f64) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
    let Some(lately) = points.iter().find(|point| point.0 >= last.0 - STILL.0) else { return false };
    let usual = (last.1 - first.1) / (last.0 - first.0).max(1.0) * less((first.0, last.0), (lately.0, last.0));
    last.1 - lately.1 >= STILL.1 * usual * (last.0 - lately.0)
}

/// Whether the last third of some points rises as the one before did.
fn is_steady(points: &[(f64, f64)], share: f64, less: impl Fn((f64, f64), (f64, f64)) -> f64) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
    let third = (last.0 - first.0) / 3.0;
    let mean = |number: f64| {
        let within = |point: &&(f64, f64)| {
            let at = point.0 - first.0;
            at >= number * third && (at < (number + 1.0) * third || number >= 2.0)
        };
        let (sum, count) = points.iter().filter(within).fold((0.0, 0.0), |(sum, n), point| (sum + point.1, n + 1.0));
        (count > 0.0).then_some(sum / count)
    };
    let (Some(one), Some(two), Some(three)) = (mean(0.0), mean(1.0), mean(2.0)) else { return false };
    // From the middle of one third to that of the next.
    let [begin, middle, end] = [0.5, 1.5, 2.5].map(|thirds| first.0 + thirds * third);
    two > one && three - two >= share * (two - one) * less((begin, middle), (middle, end))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that was one before")]
fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9) as Nanos / SECOND * SECOND
}

#[cfg(test)]
mod tests;
