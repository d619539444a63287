//! The breaker's state machine: closed, limited, recovering.
//!
//! Invariant: a limit is renewed only while somebody proposes it, ends by itself otherwise, and is given
//! back after the longest time allowed even if they still do. Capacity comes back in steps with jitter,
//! so that many breakers do not move in lockstep.

use super::{BreakerConfig, Proposal};
use crate::{
    model::{Change, Nanos},
    window::SECOND,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Limited,
    Recovering,
}

/// What the breaker has decided to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) change: Change,
    /// The limit before.
    pub(crate) from: Option<u32>,
    pub(crate) reason: String,
    pub(crate) expires: Nanos,
    /// Nothing changes but the time limit.
    pub(crate) renewal: bool,
}

/// The breaker of one target.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    limit: u32,
    baseline: u32,
    /// When the present row of limits began.
    began: Nanos,
    expires: Nanos,
    reason: String,
    /// When a policy last proposed something.
    wanted: Nanos,
    next_step: Nanos,
    cool_until: Nanos,
    random: u64,
    /// It has decided something since its target was found.
    pub(crate) used: bool,
}

impl Breaker {
    /// Closed. The seed makes the jitter.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: State::Closed,
            limit: 0,
            baseline: 0,
            began: 0,
            expires: 0,
            reason: String::new(),
            wanted: 0,
            next_step: 0,
            cool_until: 0,
            random: seed,
            used: false,
        }
    }

    /// Nothing is limited.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Its state's name, for the API.
    pub(crate) fn name(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Limited => "limited",
            State::Recovering => "recovering",
        }
    }

    /// The limit that it wants.
    pub(crate) fn limit(&self) -> Option<u32> {
        (!self.is_closed()).then_some(self.limit)
    }

    /// Why, and until when.
    pub(crate) fn why(&self) -> (&str, Option<Nanos>) {
        (&self.reason, (!self.is_closed()).then_some(self.expires))
    }

    /// Moves on. `wanted` is what the policies propose now; `enforceable` says that somebody could obey.
    pub(crate) fn advance(
        &mut self,
        now: Nanos,
        wanted: Option<Proposal>,
        enforceable: bool,
        config: &BreakerConfig,
    ) -> Option<Decision> {
        if !enforceable {
            let gone = "the service no longer tells what it works on".to_owned();
            return (!self.is_closed()).then(|| self.release(now, gone));
        }
        let wanted = wanted.filter(|_| now >= self.cool_until);
        if let Some(proposal) = wanted {
            self.wanted = now;
            let overdue =
                !self.is_closed() && now.saturating_sub(self.began) >= config.most_seconds.saturating_mul(SECOND);
            if overdue {
                self.cool_until = now.saturating_add(config.cool_down_seconds.saturating_mul(SECOND));
                return Some(self.step_back(now, config, format!("{} s are the most", config.most_seconds)));
            }
            if self.state != State::Limited || proposal.limit < self.limit {
                return Some(self.restrict(now, proposal, config));
            }
        }
        let settled = now.saturating_sub(self.wanted) >= config.settle_seconds.saturating_mul(SECOND);
        match self.state {
            State::Limited if settled => Some(self.step_back(now, config, "the trouble is over".to_owned())),
            State::Recovering if now >= self.next_step => {
                Some(self.step_back(now, config, "still well: the next step back".to_owned()))
            }
            State::Limited | State::Recovering => self.renew(now, config),
            State::Closed => None,
        }
    }

    fn restrict(&mut self, now: Nanos, proposal: Proposal, config: &BreakerConfig) -> Decision {
        let from = self.limit();
        if self.is_closed() {
            self.began = now;
        }
        (self.state, self.used) = (State::Limited, true);
        (self.limit, self.baseline) = (proposal.limit, proposal.baseline.max(proposal.limit));
        self.reason = proposal.reason;
        self.decide(now, from, config)
    }

    fn step_back(&mut self, now: Nanos, config: &BreakerConfig, reason: String) -> Decision {
        let from = self.limit();
        let first = self.state == State::Limited;
        let wider = (f64::from(self.limit) * config.step_factor).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a u32 holds")]
        let wider = wider.clamp(0.0, f64::from(u32::MAX)) as u32;
        let wider = wider.max(self.limit.saturating_add(1));
        if wider >= self.baseline && !first {
            return self.release(now, reason);
        }
        (self.state, self.limit, self.reason) = (State::Recovering, wider, reason);
        let (least, most) = config.step_ms;
        let jitter = self.draw() % most.saturating_sub(least).saturating_add(1);
        self.next_step = now.saturating_add(least.saturating_add(jitter).saturating_mul(SECOND / 1_000));
        self.decide(now, from, config)
    }

    fn release(&mut self, now: Nanos, reason: String) -> Decision {
        let from = self.limit();
        (self.state, self.expires) = (State::Closed, now);
        self.reason.clone_from(&reason);
        Decision { change: Change::Release, from, reason, expires: now, renewal: false }
    }

    fn renew(&mut self, now: Nanos, config: &BreakerConfig) -> Option<Decision> {
        let half = config.expires_seconds.saturating_mul(SECOND) / 2;
        if now.saturating_add(half) < self.expires {
            return None;
        }
        let decision = self.decide(now, self.limit(), config);
        Some(Decision { renewal: true, ..decision })
    }

    fn decide(&mut self, now: Nanos, from: Option<u32>, config: &BreakerConfig) -> Decision {
        self.expires = now.saturating_add(config.expires_seconds.saturating_mul(SECOND));
        let reason = self.reason.clone();
        Decision { change: Change::Limit(self.limit), from, reason, expires: self.expires, renewal: false }
    }

    /// `SplitMix64` (Steele, Lea and Flood 2014): enough for jitter, and the same in every replay.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(limit: u32) -> Option<Proposal> {
        Some(Proposal { limit, baseline: 10, reason: "why".into() })
    }

    #[test]
    fn it_limits_renews_gives_back_in_steps_and_closes() {
        let (mut breaker, config) = (Breaker::new(1), BreakerConfig::default());
        assert_eq!(breaker.advance(SECOND, None, true, &config), None);
        let first = breaker.advance(2 * SECOND, wanted(4), true, &config).unwrap();
        assert_eq!((first.change, first.from, first.expires), (Change::Limit(4), None, 32 * SECOND));
        assert_eq!(breaker.advance(3 * SECOND, wanted(4), true, &config), None);
        let renewed = breaker.advance(17 * SECOND, wanted(4), true, &config).unwrap();
        assert!(renewed.renewal && renewed.expires == 47 * SECOND);
        assert_eq!(breaker.advance(18 * SECOND, wanted(3), true, &config).unwrap().change, Change::Limit(3));

        let mut changes = Vec::new();
        let mut times = Vec::new();
        for half in 37..200_u64 {
            if let Some(step) = breaker.advance(half * SECOND / 2, None, true, &config).filter(|step| !step.renewal) {
                changes.push(step.change);
                times.push(half * SECOND / 2);
            }
        }
        assert_eq!(changes, [Change::Limit(4), Change::Limit(6), Change::Limit(9), Change::Release]);
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| (3 * SECOND..=6 * SECOND).contains(&gap)), "{times:?}");
        assert!(breaker.is_closed());
    }

    #[test]
    fn trouble_that_comes_back_limits_again() {
        let (mut breaker, config) = (Breaker::new(1), BreakerConfig::default());
        breaker.advance(0, wanted(4), true, &config);
        breaker.advance(6 * SECOND, None, true, &config);
        assert_eq!(breaker.name(), "recovering");
        let again = breaker.advance(7 * SECOND, wanted(4), true, &config).unwrap();
        assert_eq!((again.change, again.from, breaker.name()), (Change::Limit(4), Some(6), "limited"));
    }

    #[test]
    fn the_longest_time_is_kept_whatever_is_wanted() {
        let (mut breaker, config) = (Breaker::new(1), BreakerConfig::default());
        let mut closed_at = None;
        for second in 0..900_u64 {
            breaker.advance(second * SECOND, wanted(4), true, &config);
            if second > 1 && breaker.is_closed() {
                closed_at.get_or_insert(second);
            }
        }
        assert!((600..630).contains(&closed_at.unwrap()), "{closed_at:?}");
        assert!(breaker.is_closed(), "it cools down for 300 s");
    }

    #[test]
    fn nobody_to_obey_means_nothing_to_limit() {
        let (mut breaker, config) = (Breaker::new(1), BreakerConfig::default());
        assert_eq!(breaker.advance(0, wanted(4), false, &config), None);
        breaker.advance(SECOND, wanted(4), true, &config);
        let lost = breaker.advance(2 * SECOND, wanted(4), false, &config).unwrap();
        assert_eq!(lost.change, Change::Release);
    }
}
