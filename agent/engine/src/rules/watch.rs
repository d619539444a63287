//! What rules make of one target.
//!
//! Invariant: sampled by the clock that is passed in, at the rule's own interval; a sample in which a condition is not
//! satisfied, or not known, begins the count anew. Memory: for a rise at most 121 samples a condition.

use super::{
    CONDITIONS, Condition, RULES, Rule, WITHIN,
    figure::{Figure, words},
};
use crate::{
    detect::Finding,
    model::{Evidence, Join, Nanos, RuleState, RuleView, TriggerKind},
    target::Target,
    window::{SECOND, seconds},
};
use std::collections::VecDeque;

/// So long after it was true a figure is not known any more.
pub(super) const FRESH: Nanos = 30 * SECOND;

/// Whether something is so.
#[derive(Clone, Debug, PartialEq)]
enum Truth {
    Yes,
    No,
    /// And why.
    Unknown(String),
}

/// One condition of one target.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The figure as last told, and how fast it went up until then, a second.
    last: Option<(Nanos, f64)>,
    rate: Option<f64>,
    /// Its samples, oldest first, where a rise is asked for.
    past: VecDeque<(Nanos, f64)>,
    /// Its last sample that did not satisfy the condition, else the first.
    before: Option<f64>,
    truth: Option<Truth>,
}

/// One rule of one target.
#[derive(Clone, Debug, Default)]
struct State {
    due: Nanos,
    /// Samples in a row, and when the first was taken.
    run: u32,
    began: Nanos,
    seen: Vec<Seen>,
    truth: Option<Truth>,
}

/// All rules of one target.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<State>);

impl Watch {
    /// Takes the samples that are due.
    pub(crate) fn sample(&mut self, now: Nanos, rules: &[Rule], target: &Target) {
        let rules = &rules[..rules.len().min(RULES)];
        self.0.resize(rules.len(), State::default());
        for (rule, state) in rules.iter().zip(&mut self.0) {
            if now >= state.due && is_for(rule, target) {
                state.sample(now, rule, target);
            }
        }
    }

    /// The rules that hold, most urgent first.
    pub(crate) fn findings(&self, rules: &[Rule], target: &Target) -> Vec<Finding> {
        let mut held: Vec<Finding> = self.held(rules).map(|(rule, state)| state.finding(rule)).collect();
        held.sort_by_key(|found| std::cmp::Reverse(found.severity));
        // What else would be told, if it could be.
        let unknown = self.views(rules, target).find(|view| view.state == RuleState::Unknown);
        if let Some((first, unknown)) = held.first_mut().zip(unknown) {
            first.detail.push_str(&format!("; whether {} holds is not known: {}", unknown.name, unknown.unknown[0]));
        }
        held
    }

    /// The figures of the rules that hold, each once.
    pub(crate) fn evidence(&self, now: Nanos, rules: &[Rule]) -> Vec<Evidence> {
        let mut all: Vec<Evidence> = Vec::new();
        for (rule, state) in self.held(rules) {
            for (condition, seen) in rule.when.iter().zip(&state.seen) {
                let found = evidence(condition, seen, state, now);
                let known = |other: &Evidence| found.as_ref().is_some_and(|found| found.signal == other.signal);
                if all.len() < CONDITIONS && !all.iter().any(known) {
                    all.extend(found);
                }
            }
        }
        all
    }

    /// How each rule gets on, in the order of the configuration.
    pub(crate) fn views<'a>(&'a self, rules: &'a [Rule], target: &'a Target) -> impl Iterator<Item = RuleView> + 'a {
        let own = rules.iter().zip(&self.0).filter(|(rule, _)| is_for(rule, target));
        own.map(|(rule, state)| state.view(rule))
    }

    fn held<'a>(&'a self, rules: &'a [Rule]) -> impl Iterator<Item = (&'a Rule, &'a State)> {
        rules.iter().zip(&self.0).filter(|(rule, state)| state.run >= rule.samples.max(1))
    }
}

fn is_for(rule: &Rule, target: &Target) -> bool {
    rule.targets.is_empty() || rule.targets.contains(&target.name)
}

impl State {
    fn sample(&mut self, now: Nanos, rule: &Rule, target: &Target) {
        let every = rule.every_seconds.max(1).saturating_mul(SECOND);
        self.due = if self.due == 0 { now } else { self.due }.saturating_add(every);
        if self.due <= now {
            self.due = now.saturating_add(every);
        }
        self.seen.resize_with(rule.when.len().min(CONDITIONS), Seen::default);
        for (condition, seen) in rule.when.iter().zip(&mut self.seen) {
            seen.sample(now, every, condition, target);
        }
        let truths = || self.seen.iter().filter_map(|seen| seen.truth.as_ref());
        let unknown = truths().find(|truth| matches!(truth, Truth::Unknown(_)));
        let truth = match truths().find(|truth| **truth == Truth::No).or(unknown) {
            Some(truth) => truth.clone(),
            None => Truth::Yes,
        };
        if truth != Truth::Yes {
            self.run = 0;
        } else {
            self.began = if self.run == 0 { now } else { self.began };
            self.run = self.run.saturating_add(1);
        }
        self.truth = Some(truth);
    }

    fn finding(&self, rule: &Rule) -> Finding {
        let said = rule.when.iter().zip(&self.seen).filter_map(|(condition, seen)| said(condition, seen));
        let said: Vec<String> = said.collect();
        let often = match self.run {
            1 => String::new(),
            run => format!(", in {run} samples {} s apart", rule.every_seconds),
        };
        let every = rule.every_seconds.saturating_mul(SECOND);
        Finding {
            kind: TriggerKind::JointRule,
            of: None,
            slo: None,
            detail: format!("{}: {}{often}", rule.name, said.join(" and ")),
            severity: rule.severity,
            onset: (self.began.saturating_sub(every), self.began),
        }
    }

    fn view(&self, rule: &Rule) -> RuleView {
        let unknown = |seen: &Seen| if let Some(Truth::Unknown(why)) = &seen.truth { Some(why.clone()) } else { None };
        RuleView {
            name: rule.name.clone(),
            state: match self.truth {
                Some(Truth::Yes) if self.run >= rule.samples => RuleState::Holds,
                Some(Truth::Yes | Truth::No) => RuleState::Quiet,
                Some(Truth::Unknown(_)) | None => RuleState::Unknown,
            },
            samples: self.run,
            needed: rule.samples,
            unknown: match self.truth {
                None => vec!["no sample was taken yet".to_owned()],
                Some(_) => self.seen.iter().filter_map(unknown).collect(),
            },
        }
    }
}

impl Seen {
    fn sample(&mut self, now: Nanos, every: Nanos, condition: &Condition, target: &Target) {
        let figure = condition.series.figure();
        let told = (figure.read)(target, now).filter(|(at, _)| now.saturating_sub(*at) <= FRESH.max(2 * every));
        let Some((at, value)) = told else {
            (self.last, self.rate) = (None, None);
            self.past.clear();
            self.truth = Some(Truth::Unknown(format!("nobody tells {} of this target", figure.name)));
            return;
        };
        match self.last {
            // A count that went down began anew.
            Some((_, last)) if value < last => self.rate = None,
            Some((then, last)) if at > then => self.rate = Some((value - last) / seconds(at - then)),
            _ => {}
        }
        self.last = Some((at, value));
        let truth = self.judge(now, figure, condition, value);
        if condition.rises_by.is_some() {
            self.past.push_back((now, value));
            let kept = usize::try_from(WITHIN).unwrap_or(0) + 1;
            while self.past.len() > kept {
                self.past.pop_front();
            }
        }
        if truth != Truth::Yes || self.before.is_none() {
            self.before = Some(value);
        }
        self.truth = Some(truth);
    }

    fn judge(&mut self, now: Nanos, figure: &Figure, condition: &Condition, value: f64) -> Truth {
        let level =
            condition.above.is_none_or(|bound| value > bound) && condition.below.is_none_or(|bound| value < bound);
        let rises = condition.rises_by.map(|least| {
            let window = condition.within_seconds.unwrap_or(0).saturating_mul(SECOND);
            let begin = now.saturating_sub(window);
            // Of the samples that are old enough the newest.
            while self.past.get(1).is_some_and(|(at, _)| *at <= begin) {
                self.past.pop_front();
            }
            let then = self.past.front().filter(|(at, _)| *at <= begin);
            then.map(|(_, then)| value - then >= least).ok_or_else(|| {
                let told = self.past.front().map_or(0, |(at, _)| now.saturating_sub(*at));
                format!("{} has been followed for {:.0} s of {:.0} s", figure.name, seconds(told), seconds(window))
            })
        });
        let fast = condition.per_second_above.map(|least| {
            self.rate.map(|rate| rate > least).ok_or_else(|| format!("{} was told once so far", figure.name))
        });
        let all = [Some(Ok(level)), rises, fast];
        let mut unknown = None;
        for part in all.into_iter().flatten() {
            match part {
                Ok(true) => {}
                Ok(false) => return Truth::No,
                Err(why) => unknown = Some(why),
            }
        }
        unknown.map_or(Truth::Yes, Truth::Unknown)
    }
}

/// What is shown of a condition: a rate where one was asked for.
fn shown(condition: &Condition, seen: &Seen) -> Option<(f64, String)> {
    let unit = condition.series.figure().unit;
    match condition.per_second_above {
        Some(_) => Some((seen.rate?, format!("{unit}/s"))),
        None => Some((seen.last?.1, unit.to_owned())),
    }
}

fn said(condition: &Condition, seen: &Seen) -> Option<String> {
    let figure = condition.series.figure();
    let (value, unit) = shown(condition, seen)?;
    let bound =
        |what: &str, bound: Option<f64>, unit: &str| bound.map(|bound| format!("{what} {}", words(bound, unit)));
    let within = condition.within_seconds.unwrap_or(0);
    let rises = bound("up by more than", condition.rises_by, figure.unit).map(|text| format!("{text} in {within} s"));
    let bounds = [
        bound("above", condition.above, figure.unit),
        bound("below", condition.below, figure.unit),
        rises,
        bound("above", condition.per_second_above, &unit),
    ];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    Some(format!("{} {} ({})", figure.name, words(value, &unit), bounds.join(", ")))
}

fn evidence(condition: &Condition, seen: &Seen, state: &State, now: Nanos) -> Option<Evidence> {
    let figure = condition.series.figure();
    let (after, unit) = shown(condition, seen)?;
    Some(Evidence {
        layer: figure.layer,
        signal: format!("rule.{}", figure.name),
        before: if condition.per_second_above.is_some() { 0.0 } else { seen.before.unwrap_or(0.0) },
        after,
        unit,
        n: state.run.into(),
        since: state.began,
        until: now,
        join: Join::Window,
        ambiguity: 1,
    })
}
