//! Whom a figure is about: the lock, the peer, the listener, the interface, the thread that had most of it lately.
//!
//! Invariant: it only counts; that something is out of its ordinary is said by the figures. Memory is bounded by the
//! constants; of too many places those make room that had least. Cost: one map access per fact.

use super::track::WINDOW;
use crate::{
    model::{Nanos, Retransmit},
    window::Windows,
};
use std::collections::{BTreeMap, VecDeque};

/// Places of one kind.
const PLACES: usize = 32;
/// Windows that are kept of each: half a minute.
const KEPT: usize = 15;
/// Events that are kept one by one.
const EVENTS: usize = 64;

/// Amounts by place.
#[derive(Debug)]
pub(crate) struct Places<K, T> {
    known: BTreeMap<K, (Windows<f64>, T)>,
}

impl<K, T> Default for Places<K, T> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, T: Clone> Places<K, T> {
    /// Adds an amount to a place, and what is known of it.
    pub(crate) fn add(&mut self, key: K, at: Nanos, amount: f64, last: T) {
        if self.known.len() >= PLACES && !self.known.contains_key(&key) {
            let least = self.known.iter().min_by(|a, b| sum(&a.1.0, 0, at).total_cmp(&sum(&b.1.0, 0, at)));
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                self.known.remove(&least);
            }
        }
        let (windows, known) = self.known.entry(key).or_insert_with(|| (Windows::new(WINDOW, KEPT), last.clone()));
        *known = last;
        if let Some(sum) = windows.at(at).filter(|_| amount.is_finite()) {
            *sum = (*sum + amount.max(0.0)).min(1e12);
        }
    }

    /// What is known of a place.
    pub(crate) fn get(&self, key: &K) -> Option<&T> {
        self.known.get(key).map(|(_, known)| known)
    }

    /// Those that had any of it since a time, most first: place, share of all, what is known of it.
    pub(crate) fn since(&self, since: Nanos, now: Nanos) -> Vec<(&K, f64, &T)> {
        let mut all: Vec<_> =
            self.known.iter().map(|(key, (windows, known))| (key, sum(windows, since, now), known)).collect();
        all.retain(|(_, amount, _)| *amount > 0.0);
        let whole: f64 = all.iter().map(|(_, amount, _)| amount).sum();
        all.iter_mut().for_each(|(_, amount, _)| *amount /= whole);
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}

fn sum(windows: &Windows<f64>, since: Nanos, now: Nanos) -> f64 {
    windows.range(since, now).map(|(_, amount)| amount).sum()
}

/// The last segments that were sent again, one by one.
#[derive(Debug, Default)]
pub(crate) struct Resends(VecDeque<Retransmit>);

impl Resends {
    /// Takes one.
    pub(crate) fn add(&mut self, told: &Retransmit, at: Nanos) {
        if self.0.len() >= EVENTS {
            self.0.pop_front();
        }
        let mut told = told.clone();
        (told.at, told.candidates) = (at, told.candidates.into_iter().take(16).collect());
        self.0.push_back(told);
    }

    /// Those since a time, oldest first.
    pub(crate) fn since(&self, since: Nanos) -> impl Iterator<Item = &Retransmit> {
        self.0.iter().filter(move |told| told.at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::SECOND;

    #[test]
    fn who_had_most_lately_comes_first_and_old_amounts_do_not_count() {
        let mut places = Places::default();
        places.add("old", SECOND, 900.0, 1);
        places.add("a", 20 * SECOND, 30.0, 2);
        places.add("b", 21 * SECOND, 10.0, 3);
        places.add("a", 22 * SECOND, 0.0, 4);
        assert_eq!(places.since(10 * SECOND, 30 * SECOND), [(&"a", 0.75, &4), (&"b", 0.25, &3)]);
    }

    #[test]
    fn places_without_end_are_bounded_and_the_least_makes_room() {
        let mut places = Places::default();
        places.add(1_000, SECOND, 5.0, ());
        (0..1_000).for_each(|n| places.add(n, SECOND, 1.0, ()));
        places.add(2_000, SECOND, f64::NAN, ());
        assert_eq!((places.known.len(), places.since(0, SECOND)[0].0), (PLACES, &1_000));
    }
}
