//! A ring of equally long windows of time, each holding a fold of what fell into it.
//!
//! Invariant: windows are aligned to multiples of their length, so that a replay lands in the same
//! ones. A fact older than the ring covers is refused, never filed in a wrong window. Cost: one
//! division per fact; memory is fixed at construction.

use crate::model::Nanos;

/// One second.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// A duration as seconds, for people and formulas.
#[expect(clippy::cast_precision_loss, reason = "a duration past 2^53 ns is 104 days: its last digits do not matter")]
pub(crate) fn seconds(duration: Nanos) -> f64 {
    duration as f64 / 1e9
}

#[derive(Clone, Debug)]
struct Slot<T> {
    /// The window's number: its start divided by its length.
    number: u64,
    fold: Option<T>,
}

/// The ring.
#[derive(Clone, Debug)]
pub(crate) struct Windows<T> {
    length: Nanos,
    slots: Box<[Slot<T>]>,
    newest: u64,
}

impl<T: Default> Windows<T> {
    /// `count` windows of `length` each; both at least 1.
    pub(crate) fn new(length: Nanos, count: usize) -> Self {
        let slots = (0..count.max(1)).map(|_| Slot { number: 0, fold: None }).collect();
        Self { length: length.max(1), slots, newest: 0 }
    }

    /// The number of the window that a time falls into.
    pub(crate) fn number(&self, time: Nanos) -> u64 {
        time / self.length
    }

    /// The window's length.
    pub(crate) fn length(&self) -> Nanos {
        self.length
    }

    /// How many windows the ring holds.
    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn position(&self, number: u64) -> usize {
        usize::try_from(number % self.capacity()).unwrap_or(0)
    }

    /// The fold of the window that `time` falls into, made if need be; `None` if the ring has moved on.
    pub(crate) fn at(&mut self, time: Nanos) -> Option<&mut T> {
        let number = self.number(time);
        let position = self.position(number);
        let slot = &mut self.slots[position];
        if slot.fold.is_some() && slot.number > number {
            return None;
        }
        if slot.fold.is_none() || slot.number < number {
            *slot = Slot { number, fold: Some(T::default()) };
        }
        self.newest = self.newest.max(number);
        slot.fold.as_mut()
    }

    /// The fold of one window, if anything fell into it and it is still there.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let slot = &self.slots[self.position(number)];
        (slot.number == number).then_some(slot.fold.as_ref()).flatten()
    }

    /// Windows that overlap `from..=to` and have a fold, oldest first, with their start.
    pub(crate) fn range(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = (Nanos, &T)> {
        let last = self.number(to).min(self.newest);
        let first = self.number(from).max(self.newest.saturating_add(1).saturating_sub(self.capacity()));
        // Counted on: to divide takes longer than to look at a window.
        let mut position = self.position(first);
        (first..=last).filter_map(move |number| {
            let slot = &self.slots[position];
            position = if position + 1 == self.slots.len() { 0 } else { position + 1 };
            let fold = slot.fold.as_ref().filter(|_| slot.number == number)?;
            Some((number.saturating_mul(self.length), fold))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_fold_into_their_own_window_and_old_ones_are_refused() {
        let mut windows: Windows<u32> = Windows::new(10, 3);
        for time in [0, 5, 12, 29] {
            *windows.at(time).unwrap() += 1;
        }
        let seen: Vec<_> = windows.range(0, 100).map(|(start, fold)| (start, *fold)).collect();
        assert_eq!(seen, [(0, 2), (10, 1), (20, 1)]);
        *windows.at(35).unwrap() += 7;
        assert!(windows.at(3).is_none(), "window 0 made room for window 3");
        assert_eq!(windows.get(0), None);
        assert_eq!(windows.range(0, 100).count(), 3);
    }

    #[test]
    fn a_jump_to_the_end_of_time_leaves_one_window() {
        let mut windows: Windows<u32> = Windows::new(10, 4);
        *windows.at(7).unwrap() = 1;
        *windows.at(u64::MAX).unwrap() = 2;
        assert_eq!(windows.range(u64::MAX - 5, u64::MAX).count(), 1);
    }
}
