//! What came of the steps, and the sums.
//!
//! Invariant: the last line printed is `N passed, N failed, N skipped` and nothing else; each test and each step is in
//! exactly one of the three.

use std::time::Duration;

/// Skips that may happen under CI, word for word: anything else that cannot run there is a failure.
const ALLOWED_SKIPS: &[&str] = &[
    "ebpf stacks: Python 3.9 is not there: mirrors may have dropped its release",
    "ebpf stacks: Python 3.10 is not there: no release of Debian has it",
    "ebpf stacks: Python 3.12 is not there: no release of Debian has it",
];

/// How much of a line of what failed the sums repeat, characters: the whole stands above, where it was printed.
const TOLD: usize = 300;

/// Something failed. The report says what, so the error itself is not shown.
#[derive(Debug)]
pub struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("some tests failed")
    }
}

impl std::error::Error for Failed {}

/// Tests that a step ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tests that passed.
    pub(super) passed: usize,
    /// Tests that failed.
    pub(super) failed: usize,
    /// Tests that did not run, each with its reason.
    pub(super) skipped: Vec<String>,
}

impl Counts {
    /// Adds others to these.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All it checks holds.
    Passed,
    /// Something does not.
    Failed(String),
    /// It could not run here.
    Skipped(String),
}

/// A step's end and its tests.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How it ended.
    pub(super) verdict: Verdict,
    /// Its tests, where it has any.
    pub(super) tests: Counts,
}

impl Outcome {
    /// Passed, without tests of its own.
    pub(super) fn passed() -> Self {
        Self { verdict: Verdict::Passed, tests: Counts::default() }
    }

    /// Failed, without tests of its own.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed(why.into()), tests: Counts::default() }
    }

    /// Could not run.
    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped(why.into()), tests: Counts::default() }
    }
}

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<String>,
    wrong: Vec<String>,
    sums: Counts,
}

impl Report {
    /// Notes a step; the line says how it ended.
    pub(super) fn add(&mut self, name: &str, outcome: Outcome, time: Duration) -> String {
        let Outcome { verdict, tests } = outcome;
        let ran = match tests.passed + tests.failed {
            0 => String::new(),
            ran => format!(", {ran} tests"),
        };
        let (word, why) = match &verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(why) => ("FAILED", Some(why)),
            Verdict::Skipped(why) => ("SKIPPED", Some(why)),
        };
        let mut line = format!("{word:<7}  {name:<10} {:>6.1} s{ran}", time.as_secs_f64());
        if let Some(why) = why {
            for told in why.lines() {
                line.push_str("\n         ");
                line.extend(told.chars().take(TOLD));
            }
        }
        // What went wrong stands together, next to the sums: there it is looked for.
        let to = if why.is_none() { &mut self.lines } else { &mut self.wrong };
        to.push(line.clone());
        self.sums.add(tests);
        match verdict {
            Verdict::Passed => self.sums.passed += 1,
            Verdict::Failed(_) => self.sums.failed += 1,
            Verdict::Skipped(why) => self.sums.skipped.push(format!("{name}: {why}")),
        }
        line
    }

    /// The whole, with the sums in its last line, and whether it is good. Strict: a skip must be an allowed one.
    pub(super) fn finish(mut self, strict: bool) -> (String, Result<(), Failed>) {
        self.lines.append(&mut self.wrong);
        let is_forbidden = |skip: &String| strict && !ALLOWED_SKIPS.contains(&skip.as_str());
        let forbidden = self.sums.skipped.iter().any(is_forbidden);
        for skip in &self.sums.skipped {
            let note = if is_forbidden(skip) { ", which CI does not allow" } else { "" };
            self.lines.push(format!("SKIPPED{note}: {skip}"));
        }
        let Counts { passed, failed, skipped } = &self.sums;
        self.lines.push(format!("{passed} passed, {failed} failed, {} skipped", skipped.len()));
        let good = *failed == 0 && !forbidden;
        (self.lines.join("\n"), if good { Ok(()) } else { Err(Failed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(outcomes: Vec<Outcome>, strict: bool) -> (String, bool) {
        let mut report = Report::default();
        for outcome in outcomes {
            report.add("step", outcome, Duration::ZERO);
        }
        let (text, good) = report.finish(strict);
        (text, good.is_ok())
    }

    #[test]
    fn a_skip_fails_only_where_it_is_strict() {
        let skip = || vec![Outcome::passed(), Outcome::skipped("no root")];
        assert!(finished(skip(), false).1);
        assert!(!finished(skip(), true).1);
        assert!(finished(vec![Outcome::passed()], true).1);
    }

    #[test]
    fn one_failure_fails_the_whole() {
        assert!(!finished(vec![Outcome::failed("broken"), Outcome::passed()], false).1);
    }

    #[test]
    fn what_failed_stands_beside_the_sums_and_is_short() {
        let long = format!("failed: suite\nError: {}", "x".repeat(5000));
        let (text, _) = finished(vec![Outcome::failed(long), Outcome::passed()], false);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("passed") && lines[1].starts_with("FAILED"), "{text}");
        assert!(lines[3].contains("Error: xxx") && lines[3].len() < 400, "{text}");
    }

    #[test]
    fn each_test_and_step_counts_once_and_the_sums_come_last() {
        let tests = Counts { passed: 4, failed: 1, skipped: vec!["a: why".into()] };
        let mixed = Outcome { verdict: Verdict::Failed("1 test failed".into()), tests };
        let (text, _) = finished(vec![mixed, Outcome::passed(), Outcome::skipped("no BPF")], false);
        assert_eq!(text.lines().last(), Some("5 passed, 2 failed, 2 skipped"));
        assert!(text.contains("step: no BPF") && text.contains("a: why"), "{text}");
    }
}
