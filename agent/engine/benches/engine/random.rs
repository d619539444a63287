//! Numbers drawn by a seed: the same seed gives the same traffic (Marsaglia's xorshift).

use snowshed_engine::model::{SpanId, TraceId};

/// The draw.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// So often of a thousand times.
    pub(crate) fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    pub(crate) fn trace(&mut self) -> TraceId {
        TraceId((u128::from(self.next()) << 64 | u128::from(self.next() | 1)).to_be_bytes())
    }

    pub(crate) fn span(&mut self) -> SpanId {
        SpanId((self.next() | 1).to_be_bytes())
    }

    /// A time around a middle one: mostly half to twice as long, one in fifty ten times.
    pub(crate) fn time(&mut self, middle: u64) -> u64 {
        let spread = middle / 2 + self.below(middle) + self.below(middle / 2);
        if self.per_mille(20) { 10 * spread } else { spread }
    }
}
