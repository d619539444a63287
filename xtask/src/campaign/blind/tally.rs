//! What was told in a round, held against what was drawn.
//!
//! Invariant: pure. An incident that is named tells every cause that is above the bar of belief: there may be two at once.
//! A fault counts as named if it is among those while it lasts, or within a moment of its end; a name is false if it was
//! true of no fault at that time.

use super::{super::score::Seen, faults::Drawn};
use serde::Serialize;

/// What is told may come so much later than what it tells of, seconds.
const LATE: f64 = 20.0;

/// The bar of belief.
const BAR: f64 = 0.6;

/// What an incident tells as certain enough.
fn believed(state: &Seen) -> impl Iterator<Item = &str> {
    let above = state.causes.iter().filter(|(_, sure)| state.named && *sure >= BAR);
    above.map(|(kind, _)| kind.as_str())
}

/// What came of one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Told {
    /// From its onset until an incident names it, seconds.
    pub(super) named: Option<f64>,
    /// It was among the first three causes of any incident.
    pub(super) top3: bool,
}

/// Scores what was seen, oldest first; times are seconds after the healthy past.
pub(super) fn tally(drawn: &[Drawn], seen: &[Seen]) -> (Vec<Told>, usize) {
    let told = |one: &Drawn| {
        let during = || seen.iter().filter(|state| (one.from..one.until + LATE).contains(&state.at));
        let is_it = |kind: &str| one.fault.truths().contains(&kind);
        let named = during().find(|state| believed(state).any(is_it));
        let top3 = during().any(|state| state.causes.iter().take(3).any(|(kind, _)| is_it(kind)));
        Told { named: named.map(|state| state.at - one.from), top3 }
    };
    let mut wrong: Vec<(&str, &str)> = Vec::new();
    for state in seen {
        for kind in believed(state).chain((state.at < 0.0).then_some("before anything began")) {
            let is_true =
                |one: &Drawn| (one.from..one.until + LATE).contains(&state.at) && one.fault.truths().contains(&kind);
            // Whoever told it in time may leave it until everything has been well for a while.
            let earlier = |other: &&Seen| other.id == state.id && other.at < state.at;
            let known = seen.iter().filter(earlier).any(|other| believed(other).any(|one| one == kind));
            if !known && !drawn.iter().any(is_true) && !wrong.contains(&(&state.id, kind)) {
                wrong.push((&state.id, kind));
            }
        }
    }
    (drawn.iter().map(told).collect(), wrong.len())
}

/// Whether any incident is open, as last seen.
pub(super) fn is_open(seen: &[Seen]) -> bool {
    seen.iter().enumerate().any(|(at, state)| state.open && seen[at + 1..].iter().all(|later| later.id != state.id))
}

#[cfg(test)]
mod tests {
    use super::{super::faults::Fault, *};

    fn seen(at: f64, id: &str, named: bool, kind: &str, open: bool) -> Seen {
        let causes = vec![(kind.to_owned(), 0.8)];
        Seen {
            at,
            id: id.into(),
            named,
            causes,
            frames: String::new(),
            title: String::new(),
            eta: None,
            took: None,
            knew: None,
            open,
        }
    }

    #[test]
    fn each_fault_is_looked_for_in_its_own_time_and_other_names_are_false() {
        let drawn = [
            Drawn { fault: Fault::Partition, from: 2.0, until: 50.0 },
            Drawn { fault: Fault::FilesKept, from: 10.0, until: 60.0 },
        ];
        let all = [
            seen(5.0, "a", false, "tcp_retransmits", true),
            seen(9.0, "a", true, "downstream_slow", true),
            seen(20.0, "b", true, "fd_leak", true),
            seen(30.0, "c", true, "disk_stall", true),
            seen(90.0, "a", true, "downstream_slow", false),
            seen(95.0, "b", true, "fd_leak", false),
        ];
        let (told, wrong) = tally(&drawn, &all);
        assert_eq!(told[0], Told { named: Some(7.0), top3: true });
        assert_eq!(told[1], Told { named: Some(10.0), top3: true });
        assert_eq!(wrong, 1, "the disk");
        assert!(is_open(&all));
        assert!(!is_open(&[seen(1.0, "a", true, "x", true), seen(2.0, "a", true, "x", false)]));
        assert_eq!(tally(&drawn, &[seen(-3.0, "a", false, "x", true)]).1, 1, "before anything began");
        assert_eq!(
            tally(&drawn, &[seen(100.0, "a", true, "fd_leak", true)]),
            (vec![Told { named: None, top3: false }, Told { named: None, top3: false },], 1)
        );
    }
}
