//! What processes run with, and the instances of a service one after the other.

use super::Engine;
use crate::model::{Pid, Setup};

impl Engine {
    /// Takes what a process runs with.
    pub(super) fn setup(&mut self, told: &Setup) {
        let at = self.past(told.at);
        self.known(told.pid, |target, _| target.changes.setup(told, at));
        self.remember(told.pid);
    }

    /// What a process runs with is kept for those of its name that come after it. Who was forked and has not executed
    /// anything runs with what its parent does.
    pub(super) fn remember(&mut self, pid: Pid) {
        let Some(target) = self.targets.get(&pid) else { return };
        if target.changes.known().is_none() {
            let parent = target.parent.and_then(|parent| self.targets.get(&parent));
            let Some(setup) = parent.and_then(|parent| parent.changes.known().cloned()) else { return };
            let own = Setup { pid, ..setup };
            if let Some(target) = self.targets.get_mut(&pid) {
                target.changes.inherit(own);
            }
        }
        if let Some((name, life)) = self.targets.get(&pid).and_then(|target| Some((&target.name, target.life()?))) {
            self.lives.note(name, life, self.now);
        }
    }
}
