//! The last so many of something, found by a key that a peer chooses.
//!
//! What is kept lies in the order in which it came, and the table of keys holds places in it alone: to take in a new one and to
//! let the oldest go touches two short rows of memory and nothing that has grown cold. Invariant: no key is in it twice.
//! Bounded by whoever pushes. Cost: a hash and one or two cache lines of a small table each way.

use super::quick::Secret;
use hashbrown::HashTable;
use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hash},
};

/// What came last, oldest first.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    secret: Secret,
    /// Numbers of what is kept and was not taken.
    numbers: HashTable<u32>,
    kept: VecDeque<(K, V)>,
    /// The number of the oldest; they rise by one each, and begin anew after the largest.
    first: u32,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { secret: Secret::default(), numbers: HashTable::new(), kept: VecDeque::new(), first: 0 }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// How much room is used, by what was taken too.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    fn place(&self, key: &K) -> Option<usize> {
        let place = |number: u32| number.wrapping_sub(self.first) as usize;
        let is_it = |number: &u32| self.kept.get(place(*number)).is_some_and(|(known, _)| known == key);
        self.numbers.find(self.secret.hash_one(key), is_it).map(|number| place(*number))
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.place(key).is_some()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.kept.get(self.place(key)?).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        self.kept.get_mut(place).map(|(_, value)| value)
    }

    /// The value of a key, taken in if it is not there yet.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let place = self.place(&key).unwrap_or_else(|| {
            self.push(key, new());
            self.kept.len() - 1
        });
        &mut self.kept[place].1
    }

    /// Takes in what is not there yet.
    pub(crate) fn push(&mut self, key: K, value: V) {
        let Self { secret, numbers, kept, first } = self;
        #[expect(clippy::cast_possible_truncation, reason = "numbers begin anew, and far fewer are kept")]
        let number = first.wrapping_add(kept.len() as u32);
        let hash = secret.hash_one(&key);
        kept.push_back((key, value));
        let again = |number: &u32| {
            kept.get(number.wrapping_sub(*first) as usize).map_or(0, |(known, _)| secret.hash_one(known))
        };
        numbers.insert_unique(hash, number, again);
    }

    /// Lets the oldest go; nothing if it was taken, or there is none.
    pub(crate) fn pop(&mut self) -> Option<(K, V)> {
        let (key, value) = self.kept.pop_front()?;
        let oldest = self.first;
        self.first = oldest.wrapping_add(1);
        let found = self.numbers.find_entry(self.secret.hash_one(&key), |number| *number == oldest);
        found.ok().map(|entry| {
            entry.remove();
            (key, value)
        })
    }

    /// Takes the value of a key out of it.
    pub(crate) fn take(&mut self, key: &K) -> Option<V>
    where
        V: Default,
    {
        let place = self.place(key)?;
        #[expect(clippy::cast_possible_truncation, reason = "as in `push`")]
        let wanted = self.first.wrapping_add(place as u32);
        self.numbers.find_entry(self.secret.hash_one(key), |number| *number == wanted).ok()?.remove();
        self.kept.get_mut(place).map(|(_, value)| std::mem::take(value))
    }

    /// What is there, oldest first; what was taken has left its default.
    #[cfg(test)]
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.kept.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn numbers_begin_anew_without_anything_lost() {
        let mut recent = Recent { first: u32::MAX - 2, ..Recent::default() };
        for n in 0..8_u64 {
            *recent.entry(n, || 0) += n;
        }
        assert!((0..8).all(|n| recent.get(&n) == Some(&n)));
        assert_eq!((recent.pop(), recent.take(&4), recent.take(&4)), (Some((0, 0)), Some(4), None));
        assert_eq!(std::iter::from_fn(|| (recent.len() > 0).then(|| recent.pop())).flatten().count(), 6);
    }

    #[test]
    fn it_is_a_table_that_forgets_the_oldest() {
        let (mut recent, mut order, mut table) = (Recent::default(), VecDeque::new(), HashMap::new());
        let mut state = 1_u64;
        for at in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (what, key) = ((state >> 60) % 4, (state >> 40) % 24);
            match what {
                0 if table.contains_key(&key) => {
                    assert_eq!(recent.take(&key), table.remove(&key).map(|(value, _)| value));
                }
                1 => {
                    let oldest = order.pop_front();
                    let known = oldest.filter(|(key, came)| table.get(key).is_some_and(|(_, known)| known == came));
                    let value = known.and_then(|(key, _)| table.remove(&key).map(|(value, _)| (key, value)));
                    assert_eq!(recent.pop(), value);
                }
                _ if table.contains_key(&key) => {
                    *recent.get_mut(&key).unwrap() += 1;
                    table.get_mut(&key).unwrap().0 += 1;
                }
                _ => {
                    recent.push(key, at);
                    order.push_back((key, at));
                    table.insert(key, (at, at));
                }
            }
            assert_eq!(recent.len(), order.len());
            assert!((0..24).all(|key| recent.get(&key) == table.get(&key).map(|(value, _)| value)));
            assert!((0..24).all(|key| recent.contains(&key) == table.contains_key(&key)));
        }
    }
}
