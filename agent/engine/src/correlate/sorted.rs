//! A table by number that takes no more room than what is in it: sorted, and looked up by halving.
//!
//! For tables of which every snapshot leaves most as it was. What is new in a snapshot lies beside the rest until the
//! snapshot is over. A table that hashes keeps up to twice the room free, which matters with a hundred thousand things held.
//! Cost: some fourteen comparisons a look-up among ten thousand; at the end of a snapshot one pass, and a sort where
//! something is new.

use super::quick::QuickMap;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Sorted<V> {
    /// By key.
    old: Vec<(u64, V)>,
    /// As they came, and where each is.
    new: Vec<(u64, V)>,
    places: QuickMap<u64, usize>,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { old: Vec::new(), new: Vec::new(), places: QuickMap::default() }
    }
}

impl<V> Sorted<V> {
    fn place(&self, key: u64) -> Option<usize> {
        self.old.binary_search_by_key(&key, |(key, _)| *key).ok()
    }

    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        match self.place(key) {
            Some(at) => self.old.get(at),
            None => self.new.get(*self.places.get(&key)?),
        }
        .map(|(_, value)| value)
    }

    /// What is there, or else this, put there.
    pub(crate) fn get_or_insert(&mut self, key: u64, value: V) -> &mut V {
        if let Some(at) = self.place(key) {
            return &mut self.old[at].1;
        }
        let next = self.new.len();
        let at = *self.places.entry(key).or_insert(next);
        if at == next {
            self.new.push((key, value));
        }
        &mut self.new[at].1
    }

    /// Keeps what is to be kept, puts what is new in its place, and gives back the room that is left.
    pub(crate) fn settle(&mut self, mut is_kept: impl FnMut(u64, &V) -> bool) {
        self.old.retain(|(key, value)| is_kept(*key, value));
        self.new.retain(|(key, value)| is_kept(*key, value));
        if !self.new.is_empty() {
            self.old.reserve_exact(self.new.len());
            self.old.append(&mut self.new);
            self.old.sort_unstable_by_key(|(key, _)| *key);
        }
        // Room for as much again as comes and goes; what a burst needed is given back.
        self.old.shrink_to(self.old.len() + self.old.len() / 8);
        (self.new, self.places) = (Vec::new(), QuickMap::default());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.old.len() + self.new.len()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.old.capacity() + self.new.capacity() + self.places.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_a_map_would_and_little_more_room() {
        let (mut table, mut map) = (Sorted::default(), BTreeMap::new());
        let mut chance = 7_u64;
        for snapshot in 0..60_u64 {
            let most = if snapshot % 20 < 10 { 4_000 } else { 50 };
            for _ in 0..most {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = chance >> 51;
                *table.get_or_insert(key, snapshot) = snapshot;
                map.insert(key, snapshot);
                assert_eq!(table.get(key), Some(&snapshot));
            }
            table.settle(|key, last| *last + 2 > snapshot && key % 7 != snapshot % 7);
            map.retain(|key, last| *last + 2 > snapshot && key % 7 != snapshot % 7);
            assert_eq!(table.len(), map.len());
            assert!((0..1 << 13).all(|key| table.get(key) == map.get(&key)));
            assert!(table.capacity() <= table.len() + table.len() / 8, "{} for {}", table.capacity(), table.len());
        }
    }
}
