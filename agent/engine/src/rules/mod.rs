//! Joint rules: several figures of one target that are bad only together, as the operator says.
//!
//! Invariant: a rule never holds by what is not known. A figure that nobody tells makes the rule unknown, and it says
//! so; a figure that is told and within its bounds makes it quiet, whatever the others are. What makes no sense is
//! refused with its key. Cost: a few comparisons for each rule, target and sample.

mod figure;
mod watch;

pub use figure::FigureName;
pub(crate) use watch::Watch;

use crate::model::Severity;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Most rules.
const RULES: usize = 32;
/// Most conditions of a rule.
const CONDITIONS: usize = 8;
/// The longest name, characters.
const NAME: usize = 64;
/// Between two samples, seconds.
const EVERY: RangeInclusive<u64> = 1..=3_600;
/// Samples in a row.
const SAMPLES: RangeInclusive<u32> = 1..=1_000;
/// Samples over which a rise is measured.
const WITHIN: u64 = 120;

/// Several figures that are bad together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called in incidents and in the status.
    pub name: String,
    /// The names of the targets that it is for; all of them if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Time between two samples, seconds.
    #[serde(default = "five")]
    pub every_seconds: u64,
    /// How many samples in a row must satisfy every condition.
    #[serde(default = "one")]
    pub samples: u32,
    /// How urgent its incident is.
    pub severity: Severity,
    /// What must be true of a sample, all of it.
    pub when: Vec<Condition>,
}

/// What must be true of one figure: everything that is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The figure.
    pub series: FigureName,
    /// It is more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// It is less than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// It is more by this than it was `within_seconds` ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rises_by: Option<f64>,
    /// Over how long a rise is measured, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u64>,
    /// It goes up by more than this a second: for what is counted since the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second_above: Option<f64>,
}

fn five() -> u64 {
    5
}

fn one() -> u32 {
    1
}

/// Checks rules.
///
/// # Errors
/// `rules[NUMBER].KEY: what is wrong`, for the first that makes no sense.
pub(crate) fn check(rules: &[Rule]) -> Result<(), String> {
    if rules.len() > RULES {
        return Err(format!("rules: {} of them; at most {RULES} are followed", rules.len()));
    }
    for (number, rule) in rules.iter().enumerate() {
        rule.check().map_err(|wrong| format!("rules[{number}].{wrong}"))?;
        if rules[..number].iter().any(|other| other.name == rule.name) {
            return Err(format!("rules[{number}].name: \"{}\" is used twice", rule.name));
        }
    }
    Ok(())
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        if self.name.is_empty() || self.name.len() > NAME || !self.name.chars().all(is_plain) {
            return Err(format!(
                "name: \"{}\" is not 1 to {NAME} letters, digits, _, - or .",
                self.name.escape_debug()
            ));
        }
        within("every_seconds", self.every_seconds, &EVERY)?;
        within("samples", self.samples, &SAMPLES)?;
        within("when", self.when.len(), &(1..=CONDITIONS))?;
        for (number, condition) in self.when.iter().enumerate() {
            condition.check(self.every_seconds).map_err(|wrong| format!("when[{number}].{wrong}"))?;
        }
        Ok(())
    }
}

impl Condition {
    fn check(&self, every: u64) -> Result<(), String> {
        let bounds = [
            ("above", self.above),
            ("below", self.below),
            ("rises_by", self.rises_by),
            ("per_second_above", self.per_second_above),
        ];
        for (key, bound) in bounds {
            if bound.is_some_and(|bound| !bound.is_finite() || bound < 0.0) {
                return Err(format!("{key}: {} is not a number from 0 up", bound.unwrap_or_default()));
            }
        }
        if bounds.iter().all(|(_, bound)| bound.is_none()) {
            return Err("series: at least one of above, below, rises_by and per_second_above is needed".to_owned());
        }
        if let (Some(above), Some(below)) = (self.above, self.below)
            && below <= above
        {
            return Err(format!("below: nothing is above {above} and below {below}"));
        }
        match (self.rises_by, self.within_seconds) {
            (Some(_), Some(seconds)) => within("within_seconds", seconds, &(every..=every.saturating_mul(WITHIN))),
            (Some(_), None) => Err("within_seconds: is needed with rises_by".to_owned()),
            (None, Some(_)) => Err("within_seconds: is of no use without rises_by".to_owned()),
            (None, None) => Ok(()),
        }
    }
}

fn within<N: PartialOrd + std::fmt::Display>(key: &str, value: N, bounds: &RangeInclusive<N>) -> Result<(), String> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(format!("{key}: {value} is not from {} to {}", bounds.start(), bounds.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        let above = |series: &str, bound| Condition {
            series: series.to_owned().try_into().unwrap(),
            above: Some(bound),
            below: None,
            rises_by: None,
            within_seconds: None,
            per_second_above: None,
        };
        Rule {
            name: "both".into(),
            targets: Vec::new(),
            every_seconds: 5,
            samples: 1,
            severity: Severity::Ticket,
            when: vec![above("fds", 3_000.0), above("memory", 1e8)],
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        let wrong = |change: fn(&mut Rule)| {
            let mut rule = rule();
            change(&mut rule);
            check(&[rule]).unwrap_err()
        };
        assert_eq!(check(&[rule()]), Ok(()));
        for (change, key) in [
            (wrong(|rule| rule.name = "two words".into()), "rules[0].name: "),
            (wrong(|rule| rule.every_seconds = 0), "rules[0].every_seconds: 0 is not from 1 to 3600"),
            (wrong(|rule| rule.samples = 0), "rules[0].samples: "),
            (wrong(|rule| rule.when.clear()), "rules[0].when: 0 is not"),
            (wrong(|rule| rule.when[1].above = None), "rules[0].when[1].series: at least one"),
            (wrong(|rule| rule.when[1].above = Some(f64::NAN)), "rules[0].when[1].above: NaN"),
            (wrong(|rule| rule.when[0].below = Some(5.0)), "rules[0].when[0].below: "),
            (wrong(|rule| rule.when[0].rises_by = Some(5.0)), "rules[0].when[0].within_seconds: is needed"),
            (wrong(|rule| rule.when[0].within_seconds = Some(60)), "rules[0].when[0].within_seconds: is of no use"),
        ] {
            assert!(change.starts_with(key), "{change}");
        }
        let mut rising = rule();
        (rising.when[0].rises_by, rising.when[0].within_seconds) = (Some(5.0), Some(601));
        assert_eq!(check(&[rising]).unwrap_err(), "rules[0].when[0].within_seconds: 601 is not from 5 to 600");
        assert_eq!(check(&[rule(), rule()]).unwrap_err(), "rules[1].name: \"both\" is used twice");
        assert!(check(&vec![rule(); 33]).unwrap_err().starts_with("rules: 33"));
    }

    #[test]
    fn a_series_or_key_that_does_not_exist_is_refused() {
        let read = |when: &str| {
            let text = format!(r#"{{"name": "a", "severity": "page", "when": [{when}]}}"#);
            serde_json::from_str::<Rule>(&text).map_err(|error| error.to_string())
        };
        assert_eq!(read(r#"{"series": "fds", "above": 3000}"#).unwrap().when[0].above, Some(3_000.0));
        let error = read(r#"{"series": "fdz", "above": 3000}"#).unwrap_err();
        assert!(error.contains("series: there is no \"fdz\"") && error.contains("fds, memory"), "{error}");
        assert!(read(r#"{"series": "fds", "over": 3000}"#).unwrap_err().contains("over"));
    }
}
