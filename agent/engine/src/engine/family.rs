//! One incident for one trouble: processes of one service that suffer from the same are told as one.
//!
//! A service of many workers has a target for each of them, and each sees the same dependency be late. The first incident
//! speaks for the others: they keep their own, with evidence and limits, but nothing is told of those until the one that
//! speaks for them is over, or theirs becomes another, or more urgent, or something is done about it.
//! Invariant: what somebody was told of once is told to its end. Cost: nothing unless two incidents are open.

use super::Engine;
use crate::{
    incident::Episode,
    model::{Output, Pid},
};

/// Processes that an incident names beside its own.
const MOST: usize = 16;

/// An incident that speaks for others.
struct Speaker {
    root: Pid,
    pid: Pid,
    also: Vec<Pid>,
}

impl Engine {
    /// Tells what is new of every incident, once of each trouble.
    pub(super) fn tell(&mut self, out: &mut Vec<Output>) {
        self.gather();
        for target in self.targets.values_mut() {
            target.tell(self.now, &mut self.ledger, out);
        }
    }

    /// Decides which of the open incidents speaks for which: those that were told, of them those that speak already, then
    /// the oldest; for those of which nothing was told.
    fn gather(&mut self) {
        let episode = |pid: Pid| self.targets.get(&pid).and_then(|target| target.episode.as_ref());
        let mut open: Vec<Pid> = self.targets.keys().copied().filter(|pid| episode(*pid).is_some()).collect();
        open.sort_by_key(|pid| {
            episode(*pid).map(|one| (!one.is_told(), one.incident.also.is_empty(), one.incident.id))
        });
        let mut speakers: Vec<Speaker> = Vec::new();
        for pid in open {
            let (Some(one), Some(root)) = (episode(pid), self.root(pid)) else { continue };
            let speaks = |other: &&mut Speaker| {
                other.root == root && episode(other.pid).is_some_and(|other: &Episode| other.may_speak_for(one))
            };
            match speakers.iter_mut().find(speaks) {
                Some(speaker) => speaker.also.push(pid),
                None => speakers.push(Speaker { root, pid, also: Vec::new() }),
            }
        }
        for Speaker { pid, mut also, .. } in speakers {
            for silent in &also {
                self.change(*silent, Episode::yield_to_kin);
            }
            also.truncate(MOST);
            self.change(pid, |one| one.stand(also));
        }
    }

    fn change(&mut self, pid: Pid, change: impl FnOnce(&mut Episode)) {
        if let Some(one) = self.targets.get_mut(&pid).and_then(|target| target.episode.as_mut()) {
            change(one);
        }
    }
}
