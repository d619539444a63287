//! Spans that were taken: exporters send a batch again when its answer was lost, and the same span must count once.
//!
//! Invariant: bounded; a repetition that comes later than [`KEPT`] other spans is not recognised. What is remembered of a
//! span is a number of 64 bits that nobody outside can foretell: one span in 10^14 is taken for another's repetition, and
//! three times as many fit into the processor's cache.

use crate::{
    correlate::{quick::Secret, recent::Recent},
    model::{SpanId, TraceId},
};
use std::hash::BuildHasher as _;

/// Spans remembered: more than a second at the highest rate that is meant to be taken. Just as many as leave half of a
/// table's room free: with one more it would be twice as large.
const KEPT: usize = 28_672;

/// The memory of spans.
#[derive(Debug, Default)]
pub(crate) struct Once {
    secret: Secret,
    seen: Recent<u64, ()>,
}

impl Once {
    /// Whether a span comes for the first time; one without an id always does.
    pub(crate) fn is_first(&mut self, trace: TraceId, span: Option<SpanId>) -> bool {
        let Some(span) = span else { return true };
        let mark = self.secret.hash_one((trace, span));
        if self.seen.contains(&mark) {
            return false;
        }
        self.seen.push(mark, ());
        if self.seen.len() > KEPT {
            self.seen.pop();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_first_once_and_the_memory_is_bounded() {
        let mut once = Once::default();
        let span = |n: u64| Some(SpanId(n.to_be_bytes()));
        let trace = TraceId([1; 16]);
        assert!(once.is_first(trace, span(1)) && !once.is_first(trace, span(1)));
        assert!(once.is_first(TraceId([2; 16]), span(1)), "another trace");
        assert!(once.is_first(trace, None) && once.is_first(trace, None));
        (2..2 * KEPT as u64).for_each(|n| assert!(once.is_first(trace, span(n))));
        assert_eq!(once.seen.len(), KEPT);
    }
}
