//! The heap that a process says is in use.
//!
//! Invariant: it counts only while it is fresh; where the process also tells its garbage collections, growth
//! counts only once a few of them lie within it, because between two a heap only ever grows.

use crate::{
    model::{Level, Nanos},
    series::Series,
    window::SECOND,
};
use std::collections::VecDeque;

/// So long after it was told it is no longer known.
const FRESH: Nanos = 30 * SECOND;
/// Counts of collections that are kept.
const KEPT: usize = 128;
/// Collections that must lie within a growth.
const COLLECTIONS: u64 = 2;
/// Of what the resident size rises, the heap must rise at least this share, or it is not the heap that grows.
const SHARE: f64 = 0.4;
/// Less between resident size and heap is nothing to speak of.
const SLACK: u64 = 32 << 20;

/// The heap.
#[derive(Debug)]
pub(super) struct Heap {
    pub(super) floor: Series,
    at: Option<Nanos>,
    collections: VecDeque<(Nanos, u64)>,
}

impl Default for Heap {
    fn default() -> Self {
        Self { floor: Series::new(), at: None, collections: VecDeque::new() }
    }
}

impl Heap {
    /// Takes what is in use.
    pub(super) fn level(&mut self, told: &Level, at: Nanos) {
        self.at = Some(at);
        self.floor.record(at, told.value);
    }

    /// Takes how often it was collected.
    pub(super) fn collections(&mut self, count: u64, at: Nanos) {
        if self.collections.len() >= KEPT {
            self.collections.pop_front();
        }
        self.collections.push_back((at, count));
    }

    /// It was told lately.
    pub(super) fn is_fresh(&self, now: Nanos) -> bool {
        self.at.is_some_and(|at| now.saturating_sub(at) <= FRESH)
    }

    /// Much of a resident size is not in use.
    pub(super) fn is_less_than(&self, resident: u64) -> bool {
        self.floor.level().is_some_and(|heap| {
            let rest = resident.saturating_sub(heap);
            rest >= SLACK && rest >= resident / 2
        })
    }

    /// Whether it has risen as a resident size did, which is told by its first and last point.
    pub(super) fn has_risen_with(&self, points: &[(f64, f64)], since: f64) -> bool {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
        let own = self.floor.points(0);
        let then = own.iter().rfind(|point| point.0 <= since).or_else(|| own.first());
        let (Some(then), Some(now)) = (then, own.last()) else { return false };
        now.1 - then.1 >= SHARE * (last.1 - first.1)
    }

    /// Enough collections lie between a moment and now, or it is not told how many there were.
    pub(super) fn was_collected(&self, since: Nanos) -> bool {
        let Some((_, now)) = self.collections.back() else { return true };
        let then = self.collections.iter().rfind(|(at, _)| *at <= since).or_else(|| self.collections.front());
        then.is_some_and(|(_, then)| now.saturating_sub(*then) >= COLLECTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Resource, window::seconds};

    fn told(heap: &mut Heap, second: u64, value: u64) {
        let at = second * SECOND;
        heap.level(&Level { pid: 1, resource: Resource::HeapInUse, value, limit: None, at }, at);
    }

    #[test]
    fn a_heap_that_is_told_no_more_is_not_known() {
        let mut heap = Heap::default();
        assert!(!heap.is_fresh(0) && !heap.is_less_than(1 << 40) && !heap.has_risen_with(&[(0.0, 1.0)], 0.0));
        told(&mut heap, 5, 10 << 20);
        assert!(heap.is_fresh(35 * SECOND) && !heap.is_fresh(36 * SECOND));
        assert!(
            heap.is_less_than(100 << 20) && !heap.is_less_than(15 << 20),
            "90 of 100 MiB are not in use, or 5 of 15"
        );
    }

    #[test]
    fn collections_decide_where_they_are_told() {
        let mut heap = Heap::default();
        assert!(heap.was_collected(0), "nobody tells");
        (0..200).for_each(|second| heap.collections(7 + second / 60, second * SECOND));
        assert!(heap.was_collected(80 * SECOND) && !heap.was_collected(150 * SECOND));
        assert_eq!(heap.collections.len(), KEPT);
        assert!(seconds(heap.collections[0].0) > 70.0);
    }

    #[test]
    fn it_has_risen_only_if_it_rose_by_a_fair_part() {
        let mut heap = Heap::default();
        (0..60).for_each(|second| told(&mut heap, second, second * 1_000));
        assert!(heap.has_risen_with(&[(10.0, 0.0), (59.0, 100_000.0)], 10.0));
        assert!(!heap.has_risen_with(&[(10.0, 0.0), (59.0, 500_000.0)], 10.0));
    }
}
