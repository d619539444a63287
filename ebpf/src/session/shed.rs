//! Holding the budget: once a second what the probes spend is compared with it, and one of them leaves something
//! out or takes it back.
//!
//! Fails open: what is left out is left out of the observing; nothing here touches a target. Whoever reads the
//! status, the metrics or the log sees what is missing.

use super::{
    Session, Shed,
    budget::{self, Spender, Step},
};
use crate::{
    host::{clock, footprint},
    status::Overhead,
};
use snowshed_engine::model::Nanos;

/// How often the budget is looked at.
const EVERY: Nanos = 1_000_000_000;
/// One in this many events keeps its owner and its stack once owners are shed; a power of two.
pub(super) const ONE_IN: u32 = 16;
/// The agent looks at most this many times less often than it would.
const SLOWEST: u32 = 8;

/// What the budget looked at last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    due: Nanos,
    looked: Nanos,
    events: Vec<u64>,
    pub(super) cores: Vec<f64>,
    /// Processor time of the machine so far, without this process's own.
    machine: Option<Nanos>,
    /// What the targets had worked at the last look.
    worked: Nanos,
    /// Cores that the machine uses, and that the targets use of them, the hooks' part included; and what hooks may take.
    pub(super) used: f64,
    pub(super) by_targets: f64,
    pub(super) allowed: f64,
    /// The agent's own figures that were judged last.
    judged: Option<f64>,
    /// Everything over memory has been given back once.
    over_memory: bool,
}

impl Session {
    /// Compares, and changes at most one thing.
    pub(super) fn hold_budget(&mut self, now: Nanos) {
        if now < self.watch.due {
            return;
        }
        let elapsed = now.saturating_sub(self.watch.looked);
        self.watch.due = now + EVERY;
        self.watch.looked = now;
        let counts = self.counts();
        let events: Vec<u64> = self.units.iter().map(|unit| unit.counted(&counts).0).collect();
        let before = std::mem::replace(&mut self.watch.events, events);
        let used = self.used_by_others();
        let worked = self.targets.worked();
        let by_targets = worked.saturating_sub(std::mem::replace(&mut self.watch.worked, worked));
        if before.len() == self.units.len() && elapsed > 0 {
            self.watch.used = used as f64 / elapsed as f64;
            self.watch.by_targets = by_targets as f64 / elapsed as f64;
            self.watch.cores = (0..self.units.len()).map(|index| self.core(index, before[index], elapsed)).collect();
            let spender = |(index, core): (usize, &f64)| Spender { core: *core, steps: self.steps(index).len() };
            let spenders: Vec<Spender> = self.watch.cores.iter().enumerate().map(spender).collect();
            let spent: f64 = self.watch.cores.iter().sum();
            let by_others = (self.watch.used - self.watch.by_targets).max(0.0);
            self.watch.allowed = budget::allowed(&self.budget, self.watch.by_targets, by_others, spent);
            if let Some(step) = self.governor.judge(now, self.watch.allowed, self.watch.by_targets, &spenders) {
                self.step(step, now);
            }
        }
        self.hold_own();
    }

    /// Processor time that the machine has used since the last call, without this process's own; none at first.
    fn used_by_others(&mut self) -> Nanos {
        let all = clock::of_machine().map(|all| all.saturating_sub(footprint::processor_time()));
        let before = std::mem::replace(&mut self.watch.machine, all);
        all.zip(before).map_or(0, |(all, before)| all.saturating_sub(before))
    }

    /// What a probe can leave out here.
    pub(super) fn steps(&self, index: usize) -> &'static [Shed] {
        let unit = &self.units[index];
        if self.kernel.is_some() && unit.trouble.is_none() { unit.probe.sheds() } else { &[] }
    }

    /// What a probe leaves out now.
    pub(super) fn shed(&self, index: usize) -> &'static [Shed] {
        let steps = self.steps(index);
        &steps[..self.governor.level(index).min(steps.len())]
    }

    /// The share of one core that a probe takes: what its counters say times the calibrated price, or what the
    /// kernel's statistics say, whichever is more.
    fn core(&self, index: usize, before: u64, elapsed: Nanos) -> f64 {
        if self.shed(index).contains(&Shed::Hooks) {
            return 0.0;
        }
        let price = self.cost.price(index);
        let events = self.watch.events[index].saturating_sub(before) as f64;
        let counted = events * price.watched.unwrap_or(0.0) / elapsed as f64;
        counted.max(price.core.unwrap_or(0.0))
    }

    fn step(&mut self, step: Step, now: Nanos) {
        let (index, down) = match step {
            Step::Down(index) => (index, true),
            Step::Up(index) => (index, false),
        };
        // What was measured before says nothing about now.
        self.cost.stale(index, now);
        let name = self.units[index].probe.name();
        let share = self.watch.cores.iter().sum::<f64>();
        let budget = self.watch.allowed;
        let shed = self.shed(index);
        if down {
            tracing::warn!(
                probe = name,
                "over the budget ({share:.3} of a core, {budget:.3} allowed): leaves out {shed:?}"
            );
        } else {
            tracing::info!(probe = name, "room in the budget again ({share:.3} of {budget:.3}): leaves out {shed:?}");
        }
        self.used = true;
        let hooked = !shed.contains(&Shed::Hooks);
        let owned = !shed.contains(&Shed::Owners);
        let unit = &mut self.units[index];
        let Some(kernel) = &mut self.kernel else { return };
        if let Some(slot) = unit.probe.sampled() {
            kernel.set_sampling(slot, if owned { 1 } else { ONE_IN });
        }
        unit.probe.owned(owned && hooked, now);
        if !hooked {
            kernel.unhook(unit.probe.programs());
            unit.hooked = false;
            unit.probe.unhooked();
            return;
        }
        let off = if owned { &[][..] } else { unit.probe.owners() };
        kernel.unhook(off);
        let on: Vec<&str> = unit.probe.programs().iter().filter(|program| !off.contains(program)).copied().collect();
        // Those that are on stay as they are.
        match kernel.rehook(&on) {
            Ok(()) if unit.hooked => {}
            Ok(()) => {
                unit.hooked = true;
                unit.probe.hooked(now);
            }
            Err(trouble) => {
                tracing::warn!(probe = name, "{trouble}");
                unit.trouble = Some(trouble);
            }
        }
    }

    /// The agent's own time and memory.
    fn hold_own(&mut self) {
        let own = self.cost.own;
        if own != self.watch.judged {
            self.watch.judged = own;
            let (share, allowed) = (own.unwrap_or(0.0), self.budget.agent_core_share);
            if share > allowed && self.slower < SLOWEST {
                self.slower *= 2;
                tracing::warn!(
                    "the agent takes {share:.3} of a core, {allowed} allowed: looks {} times less often",
                    self.slower
                );
            } else if share < allowed / 2.0 && self.slower > 1 {
                self.slower /= 2;
                tracing::info!("the agent takes {share:.3} of a core: looks {} times less often", self.slower);
            }
        }
        let over = self.cost.footprint.sum() > self.budget.memory_bytes;
        if over && !self.watch.over_memory {
            let held = self.cost.footprint.sum();
            tracing::warn!(
                "the agent and its maps hold {held} bytes, {} allowed: gives caches back",
                self.budget.memory_bytes
            );
            self.sites.shrink();
        }
        self.watch.over_memory = over;
    }

    /// What observing costs in all, beside what it may cost.
    #[must_use]
    pub fn overhead(&self) -> Overhead {
        Overhead {
            targets_core_share: self.watch.cores.iter().sum(),
            machine_cores: self.watch.used,
            targets_cores: self.watch.by_targets,
            targets_core_share_allowed: self.watch.allowed,
            agent_core_share: self.cost.own,
            agent_rss_bytes: self.cost.footprint.resident,
            bpf_bytes: self.cost.footprint.kernel,
            ns_per_other_call: self.cost.unhooked,
            looks_divided_by: self.slower,
            over_memory: self.watch.over_memory,
            budget: self.budget,
        }
    }
}
