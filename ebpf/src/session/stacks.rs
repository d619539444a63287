//! How many stacks a second are copied of whom, filled up a few times a second.

use super::{Session, Shed};
use snowshed_engine::model::{Ask, Nanos};

/// Stacks a second that every target may have copied, unless the engine asks for more.
pub(super) const STACKS_PER_SECOND: u32 = 50;
/// While stacks are shed.
const SHED_STACKS_PER_SECOND: u32 = 5;
/// No more than this, however much is asked.
const MOST_STACKS_PER_SECOND: u32 = 500;
/// How often the allowance is filled up.
const REFILL: Nanos = 200_000_000;
/// Stacks a second of all targets together, unless the engine asks for more: unwinding one takes some 10 µs.
const STACKS_OF_ALL: u32 = 250;

impl Session {
    pub(super) fn refill(&mut self, now: Nanos) {
        if self.refill > now {
            return;
        }
        self.refill = now + REFILL;
        self.sites.rest(now);
        if !std::mem::take(&mut self.used) {
            return;
        }
        let shed = (0..self.units.len()).any(|index| self.shed(index).contains(&Shed::Stacks));
        let most = if shed { SHED_STACKS_PER_SECOND } else { MOST_STACKS_PER_SECOND.max(self.stack_rate) };
        let usual = self.usual_stack_rate();
        let Some(kernel) = &mut self.kernel else { return };
        for watched in self.targets.iter() {
            let rate = self.rates.get(&watched.pid).copied().unwrap_or(usual).min(most);
            kernel.set_tokens(watched.host, rate / 5);
        }
    }

    /// What each process gets that nobody asked about: many targets share.
    fn usual_stack_rate(&self) -> u32 {
        let share = STACKS_OF_ALL / u32::try_from(self.targets.len()).unwrap_or(u32::MAX).max(1);
        if self.stack_rate == STACKS_PER_SECOND {
            share.clamp(SHED_STACKS_PER_SECOND, STACKS_PER_SECOND)
        } else {
            self.stack_rate
        }
    }

    /// Answers the engine.
    pub fn ask(&mut self, ask: Ask) {
        let Ask::StackRate { pid, per_second } = ask;
        if self.targets.get(pid).is_some() {
            self.rates.insert(pid, per_second.clamp(5, MOST_STACKS_PER_SECOND));
            self.used = true;
        }
    }

    /// Takes this many stacks a second of each process, for a look that is short and must miss none.
    pub fn set_stack_rate(&mut self, per_second: u32) {
        self.stack_rate = per_second;
        (self.refill, self.used) = (0, true);
    }
}
