//! A quick hash for keys that are numbers: tables of things held are looked through whole at every snapshot.
//!
//! Not for keys that a peer chooses, unless it begins with a [`Secret`]: it does not withstand somebody who looks for
//! collisions. Identities of open files are made of kernel addresses and times, sites of code addresses.
//! Cost: a multiplication for each word.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

/// A table with this hash.
pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// A table for keys that a peer chooses, such as trace ids.
pub(crate) type SecretMap<K, V> = HashMap<K, V, Secret>;

/// The same hash from a start that nobody outside knows: it is drawn anew for each table, and without it no two keys can
/// be made that meet.
#[derive(Clone, Debug)]
pub(crate) struct Secret(u64);

impl Default for Secret {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Secret {
    type Hasher = Quick;

    fn build_hasher(&self) -> Quick {
        Quick(self.0)
    }
}

/// The hash.
#[derive(Debug, Default)]
pub(crate) struct Quick(u64);

impl Quick {
    /// Adds a word.
    pub(crate) fn word(&mut self, word: u64) {
        // An odd number without a pattern (that of the golden ratio); the high half, which it mixes well, comes down.
        let product = u128::from(self.0.rotate_left(5) ^ word) * 0x9e37_79b9_7f4a_7c15;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used, one after the other")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high;
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.word(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_isize(&mut self, number: isize) {
        // What a derived hash writes for the variant of an enum.
        self.word(number.cast_unsigned() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_a_bit_or_by_a_step_fall_far_apart() {
        let hash = |number: u64| {
            let mut quick = Quick::default();
            quick.word(number);
            quick.finish()
        };
        for step in [1, 8, 64, 4096, 1 << 17, 1 << 40] {
            let mut low = std::collections::HashSet::new();
            let mut high = std::collections::HashSet::new();
            for n in 0..1024_u64 {
                let hash = hash(n * step);
                low.insert(hash & 1023);
                high.insert(hash >> 57);
            }
            // Thrown at random, 1,024 balls leave about a third of as many boxes empty.
            assert!(low.len() > 550 && high.len() > 120, "step {step}: {} and {}", low.len(), high.len());
        }
    }
}
