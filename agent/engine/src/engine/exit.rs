//! The end of a process, and what is told of it.

use super::Engine;
use crate::model::{Incident, Output, Pid};

impl Engine {
    /// Tells of a process that the kernel ended for lack of memory, with what is known of it now, and drops it;
    /// false if that was not why it ended.
    pub(super) fn killed(&mut self, pid: Pid, out: &mut Vec<Output>) -> bool {
        let Some(target) = self.targets.get_mut(&pid) else { return false };
        target.ended = true;
        if !target.was_killed(self.now) {
            return false;
        }
        if target.episode.is_some() || !self.departed.again(&target.name, self.now, out) {
            target.evaluate(self.now, &self.config, &[], &self.lives, &mut self.ledger, out);
            if let Some(episode) = target.episode.take() {
                out.push(Output::Incident(Box::new(episode.incident.clone())));
                self.departed.add(episode.incident, self.now, &mut self.ledger, out);
            }
        }
        self.downstream.remove(&pid);
        self.traces.exit(pid, self.now);
        if let Some(target) = self.targets.remove(&pid) {
            self.lives.ended(&target.name, pid, self.now);
        }
        true
    }

    /// Drops a target; its open incident ends with it, and what was last known of it is told.
    pub(super) fn forget(&mut self, pid: Pid, out: &mut Vec<Output>) {
        self.downstream.remove(&pid);
        self.traces.exit(pid, self.now);
        let Some(mut target) = self.targets.remove(&pid) else { return };
        self.lives.ended(&target.name, pid, self.now);
        let Some(episode) = target.episode.take() else { return };
        let is_silent = episode.is_silent();
        let closed = episode.close(self.now);
        let mut told: Vec<Incident> = if is_silent { Vec::new() } else { vec![closed.clone()] };
        self.fallen.exit(&target, &closed, self.now, &mut self.ledger, &mut told);
        out.extend(told.into_iter().map(|incident| Output::Incident(Box::new(incident))));
        if !is_silent {
            self.ledger.file(closed);
        }
    }
}
