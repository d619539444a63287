//! What follows from what is known of a target, beside its incident: what is suspected, limited and asked for.

use super::Target;
use crate::{
    breaker,
    causes::Scene,
    config::EngineConfig,
    incident::Episode,
    model::{Act, ActionTaken, ActuatorKind, Ask, Change, Nanos, Output, SiteId},
    signs::Shown,
    suspicion::Suspicion,
    window::SECOND,
};

/// Stacks are asked for at most this often, and so many a second.
const ASK: (Nanos, u32) = (30 * SECOND, 50);

impl Target {
    /// What is suspected, while nothing is found.
    pub(super) fn suspect(&self, found: Scene<'_>, before: Option<Suspicion>) -> Option<Suspicion> {
        let growth = found.config.growth.early();
        let memory = self.memory.growing(found.now, &growth, |from, until| self.tasks.work(from, until));
        let piles = self.tasks.piles(&growth, false, |since| self.more_load(since));
        let signs = Shown { early: true, ..found.signs };
        let leaks = if found.leaks.is_empty() { &self.own.suspected } else { found.leaks };
        Suspicion::next(before, &Scene { memory: memory.as_ref(), piles: &piles, signs, leaks, ..found }, self.pid)
    }

    pub(super) fn carry_out(
        &self,
        now: Nanos,
        decision: breaker::state::Decision,
        config: &EngineConfig,
        episode: Option<&mut Episode>,
        out: &mut Vec<Output>,
    ) {
        let enforced = config.enforce.contains(&ActuatorKind::Guard);
        if let Some(episode) = episode {
            if decision.renewal {
                episode.renew(decision.expires);
            } else {
                let words = |limit: Option<u32>| limit.map_or("none".to_owned(), |limit| limit.to_string());
                let to = if let Change::Limit(limit) = decision.change { Some(limit) } else { None };
                episode.act(ActionTaken {
                    at: now,
                    actuator: ActuatorKind::Guard,
                    change: format!("limit {} -> {}", words(decision.from), words(to)),
                    reason: decision.reason.clone(),
                    dry_run: !enforced,
                    expires: to.map(|_| decision.expires),
                });
            }
        }
        if enforced {
            let (change, reason, expires) = (decision.change, decision.reason, decision.expires);
            out.push(Output::Act(Act { actuator: ActuatorKind::Guard, pid: self.pid, change, reason, expires }));
        }
    }

    /// Orphans from an unknown place: more stacks would name it.
    pub(super) fn ask(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let blind = self.own.groups.iter().any(|group| group.orphaned >= 2 && group.site == SiteId(0));
        if blind && self.asked.is_none_or(|at| now.saturating_sub(at) >= ASK.0) {
            self.asked = Some(now);
            out.push(Output::Ask(Ask::StackRate { pid: self.pid, per_second: ASK.1 }));
        }
    }
}
