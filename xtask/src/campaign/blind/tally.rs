//! What was told in a round, held against what was drawn.
//!
//! Invariant: pure. An incident that is named tells every cause that is above the bar of belief: there may be two at once.
//! A fault counts as named if it is among those while it lasts, or within a moment of its end; a name is false if it was
//! true of no fault at that time.

use super::{
    super::{score::Seen, suspects::Suspect},
    faults::Drawn,
};
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
    /// The same until it is first suspected, or else named.
    pub(super) known: Option<f64>,
    /// It was among the first three causes of any incident.
    pub(super) top3: bool,
}

/// What was told of each fault, and what was not true.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) told: Vec<Told>,
    /// Names that were true of no fault at that time, and incidents before anything began.
    pub(super) false_incidents: usize,
    /// Suspicions of which the same is true.
    pub(super) wrong_suspicions: usize,
}

/// Scores what was seen and suspected, oldest first; times are seconds after the healthy past.
pub(super) fn tally(drawn: &[Drawn], seen: &[Seen], suspects: &[Suspect]) -> Tally {
    let is_true = |kind: &str, at: f64, one: &Drawn| {
        (one.from..one.until + LATE).contains(&at) && one.fault.truths().contains(&kind)
    };
    let told = |one: &Drawn| {
        let during = || seen.iter().filter(|state| (one.from..one.until + LATE).contains(&state.at));
        let is_it = |kind: &str| one.fault.truths().contains(&kind);
        let named = during().find(|state| believed(state).any(is_it));
        let top3 = during().any(|state| state.causes.iter().take(3).any(|(kind, _)| is_it(kind)));
        let named = named.map(|state| state.at - one.from);
        let suspected = suspects.iter().find(|suspect| is_true(&suspect.kind, suspect.at, one));
        let known = suspected.map(|suspect| suspect.at - one.from).into_iter().chain(named).reduce(f64::min);
        Told { named, known, top3 }
    };
    let mut wrong: Vec<(&str, &str)> = Vec::new();
    for state in seen {
        for kind in believed(state).chain((state.at < 0.0).then_some("before anything began")) {
            // Whoever told it in time may leave it until everything has been well for a while.
            let earlier = |other: &&Seen| other.id == state.id && other.at < state.at;
            let known = seen.iter().filter(earlier).any(|other| believed(other).any(|one| one == kind));
            if !known && !drawn.iter().any(|one| is_true(kind, state.at, one)) && !wrong.contains(&(&state.id, kind)) {
                wrong.push((&state.id, kind));
            }
        }
    }
    let of_none = |suspect: &&Suspect| !drawn.iter().any(|one| is_true(&suspect.kind, suspect.at, one));
    Tally {
        told: drawn.iter().map(told).collect(),
        false_incidents: wrong.len(),
        wrong_suspicions: suspects.iter().filter(of_none).count(),
    }
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
        let suspect = |at, kind: &str| Suspect { at, kind: kind.into() };
        let suspects =
            [suspect(1.0, "downstream_slow"), suspect(6.0, "downstream_slow"), suspect(30.0, "lock_contention")];
        let found = tally(&drawn, &all, &suspects);
        assert_eq!(found.told[0], Told { named: Some(7.0), known: Some(4.0), top3: true });
        assert_eq!(found.told[1], Told { named: Some(10.0), known: Some(10.0), top3: true });
        assert_eq!(found.false_incidents, 1, "the disk");
        assert_eq!(found.wrong_suspicions, 2, "one before it began, and the lock");
        assert!(is_open(&all));
        assert!(!is_open(&[seen(1.0, "a", true, "x", true), seen(2.0, "a", true, "x", false)]));
        let before = tally(&drawn, &[seen(-3.0, "a", false, "x", true)], &[]);
        assert_eq!(before.false_incidents, 1, "before anything began");
        let missed = Told { named: None, known: None, top3: false };
        assert_eq!(
            tally(&drawn, &[seen(100.0, "a", true, "fd_leak", true)], &[]),
            Tally { told: vec![missed; 2], false_incidents: 1, wrong_suspicions: 0 }
        );
    }
}
