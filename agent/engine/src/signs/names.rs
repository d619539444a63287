//! Names that a process asks resolvers for: which share of the questions comes to nothing, and whose.
//!
//! Invariant: a question counts in the look in which it was sent; one whose answer is still under way then is no failure
//! yet, so as many as the last look left open may be answered in this one. Memory: [`RESOLVERS`] resolvers, and the places.

use super::who::Places;
use crate::model::{DnsLook, Nanos, Resolver};
use std::{collections::BTreeMap, net::IpAddr};

/// Resolvers of a look that are told apart.
const RESOLVERS: usize = 32;

/// What comes of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Unanswered,
    Unreachable,
    Failed,
    Unknown,
    Late,
}

/// Questions of a look, all resolvers together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) asked: f64,
    pub(super) failed: f64,
    pub(super) unknown: f64,
    pub(super) answered: f64,
    /// Seconds until the answers, added up.
    pub(super) took: f64,
}

/// Who is behind it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    places: Places<(IpAddr, Trouble), ()>,
    /// Questions that the last look left open.
    open: BTreeMap<IpAddr, u64>,
}

impl Names {
    #[expect(clippy::cast_precision_loss, reason = "counts and microseconds, as shares and seconds")]
    pub(super) fn take(&mut self, told: &DnsLook, at: Nanos) -> Sums {
        let (mut sums, before) = (Sums::default(), std::mem::take(&mut self.open));
        for one in told.resolvers.iter().take(RESOLVERS) {
            let Resolver { address, asked, answered, unreachable, failed, unknown, answer_us } = *one;
            // Those that were open then and are not answered by now never are.
            let open = before.get(&address).copied().unwrap_or(0);
            let ended = answered.saturating_add(unreachable);
            let lost = open.saturating_sub(ended);
            let left = asked.saturating_sub(ended.saturating_sub(open));
            self.open.insert(address, left);
            let took = answer_us as f64 / 1e6;
            for (trouble, count) in [
                (Trouble::Unanswered, lost as f64),
                (Trouble::Unreachable, unreachable as f64),
                (Trouble::Failed, failed as f64),
                (Trouble::Unknown, unknown as f64),
                (Trouble::Late, took),
            ] {
                if count > 0.0 {
                    self.places.add((address, trouble), at, count, ());
                }
            }
            let of = lost.saturating_add(ended);
            sums.asked += of as f64;
            sums.failed += (lost.saturating_add(unreachable).saturating_add(failed).min(of)) as f64;
            sums.unknown += unknown.min(of) as f64;
            sums.answered += answered as f64;
            sums.took += took;
        }
        // Whoever was asked before and is not told of now has answered nothing since.
        for (address, lost) in before.into_iter().filter(|(_, open)| *open > 0) {
            if self.open.contains_key(&address) {
                continue;
            }
            self.places.add((address, Trouble::Unanswered), at, lost as f64, ());
            sums.asked += lost as f64;
            sums.failed += lost as f64;
        }
        sums
    }

    /// Whoever had most of such trouble since a time, which it is, and how many others had such.
    pub(crate) fn worst(
        &self,
        since: Nanos,
        now: Nanos,
        is_this: impl Fn(&Trouble) -> bool,
    ) -> Option<(IpAddr, Trouble, usize)> {
        let all = self.places.since(since, now);
        let of: Vec<_> = all.iter().filter(|((_, trouble), ..)| is_this(trouble)).map(|(place, ..)| **place).collect();
        let (address, trouble) = *of.first()?;
        let mut others: Vec<IpAddr> = of.iter().map(|(other, _)| *other).filter(|other| *other != address).collect();
        others.sort_unstable();
        others.dedup();
        Some((address, trouble, others.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::SECOND;

    const A: &str = "10.0.0.2";

    fn look(resolvers: &[(&str, u64, u64)]) -> DnsLook {
        let one = |(address, asked, answered): &(&str, u64, u64)| Resolver {
            address: address.parse().unwrap(),
            asked: *asked,
            answered: *answered,
            unreachable: 0,
            failed: 0,
            unknown: 0,
            answer_us: answered * 1_000,
        };
        DnsLook { pid: 1, since: 0, until: SECOND, resolvers: resolvers.iter().map(one).collect() }
    }

    fn failed(names: &mut Names, looks: &[&[(&str, u64, u64)]]) -> Vec<(f64, f64)> {
        let each = |(at, told): (usize, &&[_])| {
            let sums = names.take(&look(told), at as u64 * 2 * SECOND);
            (sums.failed, sums.asked)
        };
        looks.iter().enumerate().map(each).collect()
    }

    #[test]
    fn what_is_under_way_at_a_look_is_no_failure_and_what_never_comes_is_one() {
        let mut names = Names::default();
        let told = failed(&mut names, &[&[(A, 10, 9)], &[(A, 10, 11)], &[(A, 4, 0)], &[(A, 4, 0)], &[]]);
        assert_eq!(told, [(0.0, 9.0), (0.0, 11.0), (0.0, 0.0), (4.0, 4.0), (4.0, 4.0)]);
        let (address, trouble, others) = names.worst(0, 10 * SECOND, |trouble| *trouble != Trouble::Late).unwrap();
        assert_eq!((address.to_string().as_str(), trouble, others), (A, Trouble::Unanswered, 0));
    }

    #[test]
    fn an_answer_that_takes_longer_than_a_look_is_late_and_counts_once_as_lost_at_most() {
        let told = failed(&mut Names::default(), &[&[(A, 1, 0)], &[(A, 1, 1)], &[(A, 0, 1)]]);
        assert_eq!(told, [(0.0, 0.0), (0.0, 1.0), (0.0, 1.0)]);
    }

    #[test]
    fn several_resolvers_are_counted_and_odd_figures_do_no_harm() {
        let mut names = Names::default();
        let odd = [(A, u64::MAX, 3), ("::1", 3, u64::MAX), ("10.0.0.3", 5, 0)];
        failed(&mut names, &[&odd, &odd, &odd]);
        assert_eq!(names.worst(0, 10 * SECOND, |trouble| *trouble == Trouble::Unanswered).unwrap().2, 1);
        let many: Vec<String> = (0..300).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
        let many: Vec<_> = many.iter().map(|address| (address.as_str(), 9, 0)).collect();
        failed(&mut names, &[&many, &many]);
        assert!(names.open.len() <= RESOLVERS);
    }
}
