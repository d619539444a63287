//! What the demo prints: narrow columns, one fact a line, colour only on a terminal that wants it.

use crate::text::wrap;
use std::{
    io::{IsTerminal as _, Write as _},
    time::Instant,
};

const WIDTH: usize = 96;
const INDENT: usize = 26;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// Something broke.
    Bad,
    /// Something works.
    Good,
    /// In the background.
    Faint,
}

/// The terminal.
pub(super) struct Screen {
    colour: bool,
    zero: Instant,
}

impl Screen {
    pub(super) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, zero: Instant::now() }
    }

    /// Times count from now on.
    pub(super) fn zero(&mut self) {
        self.zero = Instant::now();
    }

    /// Seconds since the last [`Screen::zero`].
    pub(super) fn seconds(&self) -> f64 {
        self.zero.elapsed().as_secs_f64()
    }

    /// The heading of an act.
    pub(super) fn act(&self, text: &str) {
        print(&format!("\n{}\n", self.paint(&format!("── {text} "), "1")));
    }

    /// A fact with the time it was seen.
    pub(super) fn seen(&self, label: &str, text: &str, tone: Tone) {
        self.labelled(&format!("{:>7.1} s", self.seconds()), label, text, tone);
    }

    /// A fact without a time.
    pub(super) fn fact(&self, label: &str, text: &str) {
        self.labelled("", label, text, Tone::Plain);
    }

    fn labelled(&self, time: &str, label: &str, text: &str, tone: Tone) {
        let style = match tone {
            Tone::Plain => "",
            Tone::Bad => "31",
            Tone::Good => "32",
            Tone::Faint => "2",
        };
        for (number, line) in wrap(text, WIDTH - INDENT).iter().enumerate() {
            let (time, label) = if number == 0 { (time, label) } else { ("", "") };
            print(&format!("{time:>9}  {label:<13}  {}\n", self.paint(line, style)));
        }
    }

    /// A document as it is, set off from the rest.
    pub(super) fn verbatim(&self, text: &str) {
        for line in text.lines() {
            print(&format!("{:>9}  {}\n", "", self.paint(&format!("│ {line}"), "2")));
        }
    }

    /// One row of the score card.
    pub(super) fn score(&self, what: &str, claim: &str, truth: &str, right: bool) {
        let (claims, truths) = (wrap(claim, 32), wrap(truth, 36));
        let mark = if right { self.paint("✓", "32") } else { self.paint("✗", "31") };
        for line in 0..claims.len().max(truths.len()) {
            let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            let (what, mark) = if line == 0 { (what, mark.as_str()) } else { ("", " ") };
            print(&format!("  {mark} {what:<17} {:<32}  {}\n", cell(&claims), cell(&truths)));
        }
    }

    /// A line of its own.
    pub(super) fn line(&self, text: &str, tone: Tone) {
        let style = match tone {
            Tone::Plain => "",
            Tone::Bad => "31;1",
            Tone::Good => "32;1",
            Tone::Faint => "2",
        };
        print(&format!("{}\n", self.paint(text, style)));
    }

    fn paint(&self, text: &str, style: &str) -> String {
        if self.colour && !style.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A closed terminal must not stop the clean-up.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
