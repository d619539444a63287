//! The instances of a service that were seen, so that one can be held against the one before it.
//!
//! Invariant: bounded; of each name the newest are kept, and the name that nothing was heard of for longest makes room.

use crate::model::{Nanos, Pid, Setup};
use std::collections::{BTreeMap, VecDeque};

/// Names.
const NAMES: usize = 64;
/// Instances of a name.
const LIVES: usize = 4;

/// One instance.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) pid: Pid,
    pub(crate) started: Nanos,
    pub(crate) ended: Option<Nanos>,
    pub(crate) setup: Setup,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Lives(BTreeMap<String, (Nanos, VecDeque<Life>)>);

impl Lives {
    /// An instance runs with this, under this name.
    pub(crate) fn note(&mut self, name: &str, life: Life, now: Nanos) {
        let same = |known: &Life| known.pid == life.pid && known.started == life.started;
        // It may have told another name meanwhile.
        self.0.values_mut().for_each(|(_, lives)| lives.retain(|known| !same(known)));
        self.0.retain(|_, (_, lives)| !lives.is_empty());
        if self.0.len() >= NAMES && !self.0.contains_key(name) {
            let oldest = self.0.iter().min_by_key(|(_, (heard, _))| *heard).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.0.remove(&name));
        }
        let (heard, lives) = self.0.entry(name.to_owned()).or_default();
        *heard = now;
        let place = lives.partition_point(|known| known.started <= life.started);
        lives.insert(place, life);
        if lives.len() > LIVES {
            lives.pop_front();
        }
    }

    /// An instance has ended.
    pub(crate) fn ended(&mut self, name: &str, pid: Pid, now: Nanos) {
        let Some((_, lives)) = self.0.get_mut(name) else { return };
        lives.iter_mut().filter(|life| life.pid == pid && life.ended.is_none()).for_each(|life| life.ended = Some(now));
    }

    /// The newest instance of this name that started before another one did.
    pub(crate) fn before(&self, name: &str, pid: Pid, started: Nanos) -> Option<&Life> {
        let (_, lives) = self.0.get(name)?;
        lives.iter().rev().find(|life| life.pid != pid && life.started < started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(pid: Pid, started: Nanos) -> Life {
        let setup = Setup { pid, at: started, build: None, arguments: None, environment: None, limits: Vec::new() };
        Life { pid, started, ended: None, setup }
    }

    #[test]
    fn the_instance_before_is_found_by_name_and_start() {
        let mut lives = Lives::default();
        lives.note("a", life(3, 30), 30);
        lives.note("a", life(2, 20), 31);
        lives.note("comm", life(9, 25), 32);
        lives.note("a", life(9, 25), 33);
        lives.ended("a", 2, 40);
        let before = |pid, started| lives.before("a", pid, started).map(|life| (life.pid, life.ended));
        assert_eq!(before(3, 30), Some((9, None)), "it has told its name");
        assert_eq!((before(9, 25), before(2, 20)), (Some((2, Some(40))), None));
        assert!(lives.before("comm", 1, 99).is_none());
    }

    #[test]
    fn names_and_instances_are_bounded() {
        let mut lives = Lives::default();
        for n in 0..1_000_u32 {
            lives.note(&format!("name {}", n % 100), life(n, u64::from(n)), u64::from(n));
            lives.note("always", life(10_000 + n, u64::from(n)), u64::from(n));
        }
        assert_eq!(lives.0.len(), NAMES);
        assert_eq!(lives.0["always"].1.len(), LIVES);
        assert_eq!(lives.before("always", 0, 5_000).map(|life| life.pid), Some(10_999));
    }
}
