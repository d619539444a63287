//! What the runs look like in a terminal: a block for each as it ends, and a table of all at the end.
//!
//! Colour and the moving line only on a terminal that wants them. With `--json` everything here is silent.

use super::{
    death,
    experiment::{Conditions, Run},
    measure::Measure,
    sample::Sample,
    sparkline,
};
use crate::text::wrap;
use std::io::{IsTerminal as _, Write as _};

const WIDTH: usize = 100;
/// Characters of a curve, health and illness together.
const CURVE: usize = 44;
/// Of these, in health.
const HEALTH: usize = 8;
/// Where the last column of the summary begins.
const HOW: usize = 73;

const BAD: &str = "31;1";
const GOOD: &str = "32";
const MARK: &str = "33;1";
const FAINT: &str = "2";
const BOLD: &str = "1";

/// The terminal.
pub(super) struct Screen {
    silent: bool,
    colour: bool,
    moving: bool,
}

impl Screen {
    pub(super) fn new(silent: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { silent, colour: terminal && std::env::var_os("NO_COLOR").is_none(), moving: terminal }
    }

    /// What is going to happen.
    pub(super) fn opening(&self, conditions: &Conditions) {
        let Conditions { rate, aborting, descriptors, data_bytes, health, length, timeout, .. } = conditions;
        let text = format!(
            "Each fault alone, without an agent. {rate} uploads a second of real video; {:.0} % of the clients go away in \
             the middle, and nobody waits longer than {} s. The service may have {descriptors} files and {} MiB. It is \
             well for {} s (up to the │), then the fault is on for {} s at most. Dead is whichever comes first: the \
             process gone; /livez silent for {} s; more than half of the requests of {} s failing.",
            aborting * 100.0,
            timeout.as_secs(),
            data_bytes >> 20,
            health.as_secs(),
            length.as_secs_f64(),
            death::SILENCE.as_secs(),
            death::WINDOW.as_secs(),
        );
        for line in wrap(&text, WIDTH) {
            self.line(&line);
        }
        if let Some(busy) = busy() {
            self.note(&busy);
        }
    }

    /// A remark.
    pub(super) fn note(&self, text: &str) {
        self.line(&self.paint(text, FAINT));
    }

    /// One line that moves while a run goes on.
    pub(super) fn progress(&self, run: &Run) {
        if self.silent || !self.moving {
            return;
        }
        let Some(last) = run.samples.last() else { return };
        let measures = run.cause.as_deref().map_or(&[Measure::Memory][..], Measure::of_cause);
        let measure = measures.first().copied().unwrap_or(Measure::Memory);
        let value = measure.value(last).map_or_else(|| "?".to_owned(), |value| format!("{value:.0}"));
        let recent = &run.samples[run.samples.len().saturating_sub(40 * 4)..];
        let from = last.at - 40.0;
        let curve = sparkline::draw(&points(measure, recent), from, last.at, top(measure, &run.samples, None), 40);
        let state = if run.death.is_some() { "dead" } else { "" };
        let text = format!(
            "   {:<17} {:>6.1} s  {:<10} {curve} {value}{} {state}",
            run.name(),
            last.at,
            measure.name(),
            measure.unit()
        );
        print(&format!("\r\x1b[K{}", self.paint(&text, FAINT)));
    }

    /// A run that is over.
    pub(super) fn outcome(&self, run: &Run, conditions: &Conditions) {
        if self.silent {
            return;
        }
        if self.moving {
            print("\r\x1b[K");
        }
        let title = match &run.cause {
            Some(cause) => format!("{}={} → {cause}", run.name(), run.value.as_deref().unwrap_or_default()),
            None => format!("{} (the control)", run.name()),
        };
        let (verdict, style) = verdict(run);
        let rule = WIDTH.saturating_sub(title.chars().count() + verdict.chars().count() + 8);
        self.line("");
        self.line(&format!(
            "{} {} {} {} {}",
            self.paint("──", FAINT),
            self.paint(&title, BOLD),
            self.paint(&"─".repeat(rule), FAINT),
            self.paint(&verdict, style),
            self.paint("──", FAINT)
        ));
        for line in self.story(run) {
            self.line(&format!("   {}", self.paint(&line, FAINT)));
        }
        let declared = run.cause.as_deref().map_or(&[][..], Measure::of_cause);
        for measure in Measure::ALL {
            self.line(&self.row(run, conditions, measure, declared.contains(&measure)));
        }
    }

    fn story(&self, run: &Run) -> Vec<String> {
        let mut lines = run.description.as_deref().map(|text| wrap(text, WIDTH - 4)).unwrap_or_default();
        if let Some(death) = &run.death {
            let words = death.last_words.as_deref().map(|words| format!("; it said: {words}")).unwrap_or_default();
            lines.extend(wrap(&format!("{}{words}", death.how), WIDTH - 4));
        }
        if let Some(load) = &run.load {
            let others = load.requests.saturating_sub(load.good + load.aborted);
            lines.push(format!(
                "{} requests: {} good, {} went away, {others} failed; {} answers decoded, {} broken",
                load.requests,
                load.good,
                load.aborted,
                run.verified,
                run.broken.len()
            ));
        }
        lines
    }

    fn row(&self, run: &Run, conditions: &Conditions, measure: Measure, declared: bool) -> String {
        let change = run.change(measure);
        let (mark, style) = growth(change.grows, declared);
        let samples = run.samples.as_slice();
        let (points, top) = (points(measure, samples), top(measure, samples, Some(conditions)));
        let end = samples.last().map_or(1.0, |sample| sample.at).max(1.0);
        let health = sparkline::draw(&points, -conditions.health.as_secs_f64(), 0.0, top, HEALTH);
        let ill = sparkline::draw(&points, 0.0, end, top, CURVE - HEALTH);
        let levels = format!("{:>5.0} → {:<5.0}{:<4}", change.before, change.end, measure.unit());
        let speed = measure.speed(change).map(|speed| format!("{speed:>11}")).unwrap_or_default();
        let kind = if measure == Measure::Fds && change.grows { growing_kind(run) } else { String::new() };
        format!(
            " {} {:<10}  {}{}{}  {}{} {}",
            self.paint(mark, style),
            measure.name(),
            self.paint(&health, FAINT),
            self.paint("│", FAINT),
            self.paint(&ill, style),
            self.paint(&levels, style),
            self.paint(&speed, style),
            self.paint(&kind, FAINT),
        )
        .trim_end()
        .to_owned()
    }

    /// All runs, one line each.
    pub(super) fn summary(&self, runs: &[Run]) {
        let measures = Measure::ALL.map(|measure| format!("{:>4}", measure.short_name())).concat();
        self.line("");
        let head = format!("   {:<17} {:<17} {:>7} {measures}   how it died", "fault", "declared as", "dead");
        self.line(&self.paint(&head, BOLD));
        for run in runs {
            let (mark, style) = if run.surprise().is_some() { ("✗", BAD) } else { ("✓", GOOD) };
            let dead = run.death.as_ref().map_or_else(|| "alive".to_owned(), |death| format!("{:.1} s", death.after));
            let declared = run.cause.as_deref().map_or(&[][..], Measure::of_cause);
            let grew = Measure::ALL.map(|measure| {
                let (mark, style) = growth(run.change(measure).grows, declared.contains(&measure));
                format!("   {}", self.paint(if mark == " " { "·" } else { mark }, style))
            });
            let cause = run.cause.as_deref().unwrap_or("the control");
            let how = run.death.as_ref().map_or_else(String::new, |death| death.how.to_string());
            let how = wrap(&how, WIDTH.saturating_sub(HOW));
            let text = format!("{:<17} {cause:<17} {dead:>7} {}", run.name(), grew.concat());
            self.line(format!(" {} {text}   {}", self.paint(mark, style), how[0]).trim_end());
            for rest in &how[1..] {
                self.line(&format!("{}{rest}", " ".repeat(HOW)));
            }
        }
        self.line("");
        self.note("▲ grew as declared   △ grew as well   ✗ did not grow although declared   · in a curve: not known   │ fault on");
    }

    fn line(&self, text: &str) {
        if !self.silent {
            print(&format!("{text}\n"));
        }
    }

    fn paint(&self, text: &str, style: &str) -> String {
        if self.colour && !style.is_empty() && !text.is_empty() {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// That others are at work here too, which the figures then show as well.
fn busy() -> Option<String> {
    let average = std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse::<f64>().ok()?;
    let cores = std::thread::available_parallelism().ok()?.get();
    (average > cores as f64 / 2.0).then(|| {
        format!("This machine is busy already (load average {average:.1} on {cores} cores): expect its noise in the figures.")
    })
}

/// What stands for a measure that grew or not, and was declared to or not.
fn growth(grows: bool, declared: bool) -> (&'static str, &'static str) {
    match (grows, declared) {
        (true, true) => ("▲", MARK),
        (true, false) => ("△", ""),
        (false, true) => ("✗", BAD),
        (false, false) => (" ", FAINT),
    }
}

fn verdict(run: &Run) -> (String, &'static str) {
    match (&run.death, &run.fault) {
        (Some(death), _) => (format!("dead after {:.1} s", death.after), BAD),
        (None, Some(_)) => (format!("still alive after {:.0} s", run.watched), MARK),
        (None, None) => (format!("alive after {:.0} s", run.watched), GOOD),
    }
}

/// The kind of descriptors that became more, where one did.
fn growing_kind(run: &Run) -> String {
    let alive = run.alive();
    let first = alive.iter().rev().find(|sample| sample.at < 0.0);
    let (Some(first), Some(last)) = (first, alive.last()) else { return String::new() };
    let more = |(kind, count): (&&'static str, &usize)| {
        (count.saturating_sub(first.fds.get(kind).copied().unwrap_or(0)), *kind)
    };
    last.fds.iter().map(more).max().map(|(more, kind)| format!("{kind} +{more}")).unwrap_or_default()
}

pub(super) fn points(measure: Measure, samples: &[Sample]) -> Vec<(f64, Option<f64>)> {
    samples.iter().map(|sample| (sample.at, measure.value(sample))).collect()
}

/// The upper end of a picture: the limit where there is one, else what was seen.
pub(super) fn top(measure: Measure, samples: &[Sample], conditions: Option<&Conditions>) -> f64 {
    let seen = samples.iter().filter_map(|sample| measure.value(sample)).fold(measure.least_span(), f64::max);
    match (measure, conditions) {
        (Measure::Fds, Some(conditions)) => conditions.descriptors as f64,
        (Measure::Memory, Some(conditions)) => seen.max((conditions.data_bytes >> 20) as f64),
        _ => seen,
    }
}

/// A closed terminal must not stop the clean-up.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn limits_are_the_top_of_their_pictures() {
        let folder = std::path::Path::new("/");
        let conditions = Conditions { descriptors: 100, data_bytes: 512 << 20, ..Conditions::new(folder) };
        let samples = [Sample { threads: Some(300), fds: BTreeMap::from([("pipe", 7)]), ..Sample::default() }];
        assert_eq!(top(Measure::Fds, &samples, Some(&conditions)), 100.0);
        assert_eq!(top(Measure::Memory, &samples, Some(&conditions)), 512.0);
        assert_eq!(top(Measure::Threads, &samples, Some(&conditions)), 300.0);
        assert_eq!(top(Measure::Livez, &samples, None), 1000.0);
    }
}
