//! A profile as text: a table for people, and a line a stack for scripts.

use super::stacks::{Profile, Stack};
use crate::render::{frame, own_frames};
use std::{collections::BTreeMap, fmt::Write as _};

/// Rows of the table.
const ROWS: usize = 20;

/// A value in the unit that suits it.
pub(super) fn amount(value: u64, unit: &str) -> String {
    let scaled = value as f64;
    match unit {
        "bytes" if scaled >= 1e9 => format!("{:.1} GB", scaled / 1e9),
        "bytes" if scaled >= 1e6 => format!("{:.1} MB", scaled / 1e6),
        "bytes" => format!("{:.1} kB", scaled / 1e3),
        "nanoseconds" if scaled >= 1e9 => format!("{:.2} s", scaled / 1e9),
        "nanoseconds" => format!("{:.1} ms", scaled / 1e6),
        _ => value.to_string(),
    }
}

/// The innermost frame that is the program's own, as far as that can be told.
fn place(stack: &Stack) -> String {
    let frames: Vec<String> = stack.frames.iter().map(frame).collect();
    own_frames(&frames).first().cloned().unwrap_or_default()
}

/// The places that count most, one a row.
pub(super) fn table(profile: &Profile, by_trace: bool) -> String {
    let (what, unit) = profile.kind.measure();
    let mut rows: BTreeMap<(String, String), u64> = BTreeMap::new();
    for stack in &profile.stacks {
        let beside = match (by_trace, stack.trace) {
            (true, Some(trace)) => trace.to_string(),
            (true, None) => "no request".to_owned(),
            (false, _) => stack.label.clone(),
        };
        let sum = rows.entry((place(stack), beside)).or_default();
        *sum = sum.saturating_add(stack.value);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
    let total = profile.total();
    let mut out =
        format!("pid {}, {what} in {:.1} s: {}\n", profile.pid, profile.elapsed.as_secs_f64(), amount(total, unit));
    for ((place, beside), value) in rows.iter().take(ROWS) {
        let share = 100.0 * *value as f64 / total.max(1) as f64;
        let beside = if beside.is_empty() { String::new() } else { format!("  [{beside}]") };
        writeln!(out, "{:>12} {share:>5.1} %  {place}{beside}", amount(*value, unit)).ok();
    }
    if let Some(more) = rows.len().checked_sub(ROWS).filter(|more| *more > 0) {
        writeln!(out, "              and {more} more places").ok();
    }
    out
}

/// `root;…;leaf value`, a line a stack.
pub(super) fn folded(profile: &Profile, by_trace: bool) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for stack in &profile.stacks {
        // The separator and the end of the line are taken out of names.
        let names: Vec<String> = stack.path(by_trace).iter().map(|name| name.replace([';', '\n'], ":")).collect();
        let sum = lines.entry(names.join(";")).or_default();
        *sum = sum.saturating_add(stack.value);
    }
    lines.iter().fold(String::new(), |mut out, (line, value)| {
        writeln!(out, "{line} {value}").ok();
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{super::stacks::tests::sample, *};

    #[test]
    fn the_table_says_what_counts_most_and_its_share() {
        let table = table(&sample(), false);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "pid 42, descriptors in 10.0 s: 10");
        assert!(lines[2].contains("4  40.0 %") && lines[2].ends_with("  spool (app.py:7)  [file]"), "{table}");
        assert!(lines[1].ends_with("place not known  [pipe]"), "{table}");
        let by_trace = super::table(&sample(), true);
        assert!(by_trace.contains(&format!("[{}]", "bb".repeat(16))) && by_trace.contains("no request"), "{by_trace}");
    }

    #[test]
    fn a_folded_line_is_a_stack_and_its_value() {
        let folded = folded(&sample(), false);
        assert!(folded.contains("main;handle<T> (app.py:3);spool (app.py:7);file 4\n"), "{folded}");
        assert_eq!(folded.lines().count(), 3);
    }

    #[test]
    fn amounts_are_read_in_their_unit() {
        assert_eq!(amount(1_500_000, "bytes"), "1.5 MB");
        assert_eq!(amount(2_500_000_000, "nanoseconds"), "2.50 s");
        assert_eq!(amount(12, "count"), "12");
    }
}
