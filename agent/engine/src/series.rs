//! How a level went over the last minutes, as its lower envelope.
//!
//! Invariant: of each 2 s only the lowest value is kept, because what goes up and down with requests
//! touches its floor in between, while a leak lifts the floor. Cost: one comparison per value, and a look at
//! all 150 windows, 5 minutes, with the first value of each.

use crate::{
    model::Nanos,
    window::{SECOND, Windows, seconds},
};

#[derive(Clone, Copy, Debug)]
struct Lowest(u64);

impl Default for Lowest {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

/// The lower envelope of a level.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    floor: Windows<Lowest>,
    last: Option<(Nanos, u64)>,
    risen: Option<u64>,
}

impl Series {
    /// Without a value yet.
    pub(crate) fn new() -> Self {
        Self { floor: Windows::new(2 * SECOND, 150), last: None, risen: None }
    }

    /// Takes a value; one older than the last is ignored.
    pub(crate) fn record(&mut self, at: Nanos, value: u64) {
        let before = self.last;
        if before.is_some_and(|(last, _)| at < last) {
            return;
        }
        self.last = Some((at, value));
        if let Some(lowest) = self.floor.at(at) {
            lowest.0 = lowest.0.min(value);
        }
        // Which windows are complete changes with the window of the last value, and what they hold not at all.
        if before.is_none_or(|(last, _)| self.floor.number(last) != self.floor.number(at)) {
            let all = self.complete(0);
            let (lowest, last) = all.fold((u64::MAX, None), |(lowest, _), (_, level)| (lowest.min(level), Some(level)));
            self.risen = last.map(|last| last - lowest);
        }
    }

    /// The last value.
    pub(crate) fn level(&self) -> Option<u64> {
        self.last.map(|(_, value)| value)
    }

    /// The last value, and when it was taken.
    #[expect(clippy::cast_precision_loss, reason = "levels past 2^53 are no levels of anything counted here")]
    pub(crate) fn last(&self) -> Option<(Nanos, f64)> {
        self.last.map(|(at, value)| (at, value as f64))
    }

    /// When the last value was taken.
    pub(crate) fn updated(&self) -> Option<Nanos> {
        self.last.map(|(at, _)| at)
    }

    /// The floor of complete windows since `from`: seconds and level, oldest first. The window that is
    /// still being filled is left out: its floor may yet fall.
    #[expect(clippy::cast_precision_loss, reason = "levels past 2^53 are no levels of anything counted here")]
    pub(crate) fn points(&self, from: Nanos) -> Vec<(f64, f64)> {
        self.complete(from).map(|(start, level)| (seconds(start), level as f64)).collect()
    }

    /// How far the floor of the last complete window lies above the lowest; `None` without one.
    pub(crate) fn risen(&self) -> Option<u64> {
        self.risen
    }

    fn complete(&self, from: Nanos) -> impl Iterator<Item = (Nanos, u64)> + '_ {
        let now = self.last.map(|(now, _)| now);
        let windows = now.map(|now| self.floor.range(from, now).map(move |(start, lowest)| (start, lowest.0, now)));
        let is_over = |(start, _, now): &(Nanos, u64, Nanos)| start.saturating_add(self.floor.length()) <= *now;
        windows.into_iter().flatten().filter(is_over).map(|(start, level, _)| (start, level))
    }

    /// The floor of the last window before `time`; what is told as the level before an onset.
    pub(crate) fn before(&self, time: Nanos) -> Option<u64> {
        let end = self.floor.number(time).checked_sub(1)?.saturating_mul(self.floor.length());
        self.floor.range(0, end).last().map(|(_, lowest)| lowest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saw_keeps_its_floor_and_the_open_window_is_left_out() {
        let mut series = Series::new();
        for half_second in 0..20_u64 {
            series.record(half_second * SECOND / 2, 10 + (half_second % 4) * 5);
        }
        let floors: Vec<f64> = series.points(0).into_iter().map(|(_, level)| level).collect();
        assert_eq!(floors, [10.0; 4]);
        assert_eq!((series.level(), series.risen()), (Some(25), Some(0)));
        assert_eq!(series.before(5 * SECOND), Some(10));
        assert_eq!(series.before(0), None);
        series.record(0, 1);
        assert_eq!(series.level(), Some(25), "a late value changes nothing");
        (10..14).for_each(|second| series.record(second * SECOND, 10 + second));
        assert_eq!(series.risen(), Some(10), "above the lowest, without the open window");
        assert_eq!(Series::new().risen(), None);
    }
}
