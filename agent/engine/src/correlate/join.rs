//! How sure a join is, as a number, and the join that most of a group was made by.

use crate::model::Join;

const JOINS: [Join; 5] = [Join::ThreadContext, Join::Socket, Join::Inherited, Join::Window, Join::None];

/// The share of joins of this kind that may be taken for right.
pub(crate) fn certainty(join: Join) -> f64 {
    match join {
        Join::ThreadContext => 0.96,
        Join::Socket => 0.88,
        Join::Inherited => 0.78,
        Join::Window => 0.5,
        Join::None => 0.3,
    }
}

/// Counts joins; tells the commonest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JoinCount([u32; 5]);

impl JoinCount {
    /// Counts one.
    pub(crate) fn add(&mut self, join: Join) {
        let index = JOINS.iter().position(|known| *known == join).unwrap_or(JOINS.len() - 1);
        self.0[index] = self.0[index].saturating_add(1);
    }

    /// Counts what another counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
    }

    /// The commonest; of equally common ones the surest.
    pub(crate) fn commonest(&self) -> Join {
        let most = self.0.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Join::None;
        }
        JOINS.into_iter().zip(self.0).find(|(_, count)| *count == most).map_or(Join::None, |(join, _)| join)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_joins_are_surer_and_ties_go_to_the_surer() {
        assert!(JOINS.windows(2).all(|pair| certainty(pair[0]) > certainty(pair[1])));
        let mut count = JoinCount::default();
        assert_eq!(count.commonest(), Join::None);
        count.add(Join::Socket);
        count.add(Join::ThreadContext);
        assert_eq!(count.commonest(), Join::ThreadContext);
        count.add(Join::Socket);
        assert_eq!(count.commonest(), Join::Socket);
    }
}
