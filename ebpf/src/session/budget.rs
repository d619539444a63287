//! The budget: what observing may cost, and who leaves what out when it costs more.
//!
//! Policy only: it says which probe steps down or up, [`super::shed`] does it. The dearest probe steps down first,
//! one step at a time; the way back is slower than the way down, and slower still after it was tried in vain.
//! Invariant: no clock of its own, no I/O; whatever goes down comes up again when there is room.

use serde::{Deserialize, Serialize};
use snowshed_engine::model::Nanos;

/// A step has this long to show what it saved.
const SETTLE: Nanos = 1_000_000_000;
/// Less than this share of one core is never too much for hooks, however little the targets do.
const LEAST: f64 = 0.02;
/// Less than half of the budget for this long: one step up.
const PATIENCE: Nanos = 10_000_000_000;
/// A step up that would be too much again is tried all the same, after so many times as long: what it would take rests on
/// what was measured when it was too much, on a machine that was short of processors perhaps.
const TRIED: u64 = 3;
/// The longest that a step up is put off after it was tried in vain.
const MOST_PATIENCE: Nanos = 600_000_000_000;
/// Down again so soon after a step up: it was in vain.
const IN_VAIN: Nanos = 30_000_000_000;

/// What observing may cost at most; over it probes leave things out and say so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Share of one core that all hooks may take, in targets and in all other processes together.
    pub targets_core_share: f64,
    /// The same as a share of the processor time that the targets use, or all others, whichever is more, once that comes
    /// to more than 2 % of a core: so what is paid for a request stays small, however many requests there are.
    pub targets_cpu_ratio: f64,
    /// Share of one core that the agent itself may take.
    pub agent_core_share: f64,
    /// Memory of the agent and of its kernel maps, bytes.
    pub memory_bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { targets_core_share: 0.25, targets_cpu_ratio: 0.02, agent_core_share: 0.1, memory_bytes: 128 << 20 }
    }
}

impl Budget {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), String> {
        for (key, share) in [
            ("targets_core_share", self.targets_core_share),
            ("targets_cpu_ratio", self.targets_cpu_ratio),
            ("agent_core_share", self.agent_core_share),
        ] {
            // Written so that it refuses what is not a number, too.
            if !(share > 0.0 && share <= 1024.0) {
                return Err(format!("overhead.{key} = {share}: a share of one core above 0 is meant, as in 0.05"));
            }
        }
        if self.memory_bytes < 16 << 20 {
            let bytes = self.memory_bytes;
            return Err(format!("overhead.memory_bytes = {bytes}: the agent alone needs 16 MiB (16777216)"));
        }
        Ok(())
    }
}

/// What hooks may take of a core while the targets and all others use so many, the hooks' own part included.
pub(super) fn allowed(budget: &Budget, by_targets: f64, by_others: f64, spent: f64) -> f64 {
    // Not of the sum: what one side uses is no reason to burden the other with it.
    let relative = budget.targets_cpu_ratio * (by_targets - spent).max(by_others);
    budget.targets_core_share.min(relative.max(LEAST))
}

/// Something that a probe can leave out, the smallest loss first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shed {
    /// Most stacks: a few a second show the sites.
    Stacks,
    /// Owner and stack of most events, or of all: whatever the probe pays for that at every event.
    Owners,
    /// Its hooks: they are taken off, and the fallback serves.
    Hooks,
}

/// A probe as the budget sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spender {
    /// Share of one core.
    pub(super) core: f64,
    /// How many steps down it has.
    pub(super) steps: usize,
}

/// What is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The probe in this position leaves one thing more out.
    Down(usize),
    /// It takes one thing back.
    Up(usize),
}

/// A step down, with what the probe took then, and how many cores the targets used.
#[derive(Clone, Copy, Debug)]
struct Down {
    index: usize,
    core: f64,
    used: f64,
}

impl Down {
    /// What it would take now, if it costs in proportion to what they do.
    fn expected(self, used: f64) -> f64 {
        if self.used > 0.0 { self.core * used / self.used } else { 0.0 }
    }
}

/// Who has stepped down how far.
#[derive(Debug)]
pub(super) struct Governor {
    levels: Vec<usize>,
    /// In the order in which they were made; the last one comes up first.
    down: Vec<Down>,
    settled: Nanos,
    calm: Option<Nanos>,
    raised: Option<Nanos>,
    patience: Nanos,
}

impl Governor {
    pub(super) fn new(probes: usize) -> Self {
        Self { levels: vec![0; probes], down: Vec::new(), settled: 0, calm: None, raised: None, patience: PATIENCE }
    }

    /// How many steps the probe in this position is down.
    pub(super) fn level(&self, index: usize) -> usize {
        self.levels.get(index).copied().unwrap_or(0)
    }

    /// One look at what is spent, and how many cores the targets use.
    pub(super) fn judge(&mut self, now: Nanos, budget: f64, used: f64, spenders: &[Spender]) -> Option<Step> {
        let spent: f64 = spenders.iter().map(|spender| spender.core).sum();
        if now < self.settled {
            return None;
        }
        if spent > budget {
            self.calm = None;
            let able = |(index, spender): &(usize, &Spender)| self.level(*index) < spender.steps && spender.core > 0.0;
            let dearest = spenders.iter().enumerate().filter(able).max_by(|a, b| a.1.core.total_cmp(&b.1.core));
            let (index, core) = dearest.map(|(index, spender)| (index, spender.core))?;
            if self.raised.take().is_some_and(|raised| now < raised + IN_VAIN) {
                self.patience = (2 * self.patience).min(MOST_PATIENCE);
            }
            self.levels[index] += 1;
            self.down.push(Down { index, core, used });
            self.settled = now + SETTLE;
            return Some(Step::Down(index));
        }
        let Some(last) = self.down.last() else {
            self.calm = None;
            return None;
        };
        if spent > budget / 2.0 {
            self.calm = None;
            return None;
        }
        if spent + last.expected(used) > budget {
            self.calm = None;
            if now < self.settled + (TRIED * self.patience).min(MOST_PATIENCE) {
                return None;
            }
        } else if now < *self.calm.get_or_insert(now) + self.patience {
            return None;
        }
        if self.raised.is_some_and(|raised| now >= raised + IN_VAIN) {
            self.patience = PATIENCE;
        }
        let index = self.down.pop()?.index;
        self.levels[index] -= 1;
        self.calm = None;
        self.raised = Some(now);
        self.settled = now + SETTLE;
        Some(Step::Up(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn run(governor: &mut Governor, seconds: std::ops::Range<u64>, cores: [f64; 2]) -> Vec<Step> {
        let spenders = cores.map(|core| Spender { core, steps: 2 });
        // What is done is in proportion to what the hooks cost.
        let used = cores.iter().sum();
        seconds.filter_map(|second| governor.judge(second * SECOND, 0.1, used, &spenders)).collect()
    }

    #[test]
    fn the_dearest_goes_first_and_no_further_than_it_can() {
        let mut governor = Governor::new(2);
        let steps = run(&mut governor, 1..20, [0.3, 0.2]);
        assert_eq!(steps, [Step::Down(0), Step::Down(0), Step::Down(1), Step::Down(1)]);
    }

    #[test]
    fn within_the_budget_nothing_changes() {
        assert!(run(&mut Governor::new(2), 1..100, [0.05, 0.05]).is_empty());
    }

    #[test]
    fn the_way_back_is_slower_and_slower_still_after_it_was_in_vain() {
        let mut governor = Governor::new(2);
        assert_eq!(run(&mut governor, 1..2, [0.3, 0.0]), [Step::Down(0)]);
        // Between half of the budget and all of it: neither up nor down.
        assert!(run(&mut governor, 2..40, [0.07, 0.0]).is_empty());
        assert!(run(&mut governor, 40..50, [0.01, 0.0]).is_empty());
        assert_eq!(run(&mut governor, 50..51, [0.01, 0.0]), [Step::Up(0)]);
        assert_eq!(run(&mut governor, 53..54, [0.3, 0.0]), [Step::Down(0)]);
        assert!(run(&mut governor, 60..80, [0.01, 0.0]).is_empty(), "twice as long as before");
        assert_eq!(run(&mut governor, 80..81, [0.01, 0.0]), [Step::Up(0)]);
        assert_eq!(governor.level(0), 0);
    }

    #[test]
    fn while_the_load_stays_there_is_no_hurry_to_pay_again() {
        let mut governor = Governor::new(1);
        let mut judge =
            |second: u64, core, used| governor.judge(second * SECOND, 0.1, used, &[Spender { core, steps: 1 }]);
        assert_eq!(judge(1, 0.3, 1.0), Some(Step::Down(0)));
        assert!((2..25).all(|second| judge(second, 0.0, 0.9).is_none()), "it would cost 0.27 of a core again");
        assert!((25..30).all(|second| judge(second, 0.0, 0.2).is_none()), "the load may come back");
        assert_eq!(judge(40, 0.0, 0.2), Some(Step::Up(0)));
        let mut down = 45;
        for apart in [60, 120, 240, 480, 600, 600] {
            assert_eq!(judge(down, 0.3, 1.0), Some(Step::Down(0)));
            let up = (down + 1..down + 700).find(|second| judge(*second, 0.0, 1.0).is_some()).unwrap();
            assert!((apart..apart + 3).contains(&(up - down)), "after {} s instead of {apart}", up - down);
            down = up + 5;
        }
    }

    #[test]
    fn what_was_priced_in_a_storm_is_tried_again_soon() {
        let mut governor = Governor::new(1);
        let mut judge = |second: u64, core| governor.judge(second * SECOND, 0.1, 1.0, &[Spender { core, steps: 1 }]);
        assert_eq!(judge(1, 0.5), Some(Step::Down(0)));
        let up = (2..100).find(|second| judge(*second, 0.0).is_some());
        assert_eq!(up, Some(32));
        assert!((33..200).all(|second| judge(second, 0.02).is_none()), "it takes little now, and stays");
    }

    #[test]
    fn what_is_allowed_follows_what_is_used() {
        let budget = Budget::default();
        assert_eq!(allowed(&budget, 0.01, 0.0, 0.0), LEAST, "of little, little");
        assert!((allowed(&budget, 2.04, 0.0, 0.04) - 0.04).abs() < 1e-9, "of what is used without the hooks");
        assert!((allowed(&budget, 1.5, 1.5, 0.0) - 0.03).abs() < 1e-9, "not of the sum of both");
        assert!((allowed(&budget, 0.1, 2.0, 0.0) - 0.04).abs() < 1e-9, "others pay hooks, too");
        assert_eq!(allowed(&budget, 64.0, 0.0, 1.0), 0.25, "never more than this");
        assert_eq!(allowed(&budget, 0.0, 0.0, 0.5), LEAST);
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_refused_with_its_key() {
        let budget = Budget::default();
        assert_eq!(budget.check(), Ok(()));
        for share in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Budget { targets_core_share: share, ..budget }.check().unwrap_err();
            assert!(error.contains("overhead.targets_core_share"), "{error}");
        }
        assert!(Budget { memory_bytes: 1, ..budget }.check().unwrap_err().contains("overhead.memory_bytes"));
    }
}
