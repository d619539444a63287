//! An incident as Markdown, for a ticket or a post-mortem.
//!
//! Invariant: text that a service chose (names, routes, titles) is escaped, so it cannot forge structure.

use super::{
    incident::{Cause, Record},
    own_frames, text, wire_name,
};

/// Frames shown of a stack; the JSON record has all.
const FRAMES: usize = 24;

/// The whole incident.
pub(crate) fn incident(record: &Record) -> String {
    let mut lines = vec![
        format!("# {} ({}): {}", escape(&record.target.name), record.target.pid, escape(&headline(record))),
        String::new(),
        format!("- Incident: `{}`", record.id),
        format!("- Severity: {}", wire_name(record.severity)),
        format!("- Trigger: {}: {}", wire_name(record.trigger.kind), escape(&record.trigger.detail)),
        format!("- Verdict: {}", escape(&text::verdict(record))),
    ];
    lines.extend(text::also(record).map(|also| format!("- Also in: {also}")));
    lines.extend([
        String::new(),
        "| Onset | Suspected | Detected | Named | Mitigated | Recovered | Closed |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
        format!(
            "| {} to {} | {} | {} | {} | {} | {} | {} |",
            record.times.onset.0,
            record.times.onset.1,
            or_dash(record.times.suspected.as_ref()),
            record.times.detected,
            or_dash(record.times.named.as_ref()),
            or_dash(record.times.mitigated.as_ref()),
            or_dash(record.times.recovered.as_ref()),
            or_dash(record.closed_at.as_ref())
        ),
    ]);
    if !record.what_changed.is_empty() {
        lines.extend(["", "## What changed", ""].map(String::from));
        lines.extend(record.what_changed.iter().map(|change| format!("- {}", escape(change))));
    }
    for (rank, found) in record.causes.iter().enumerate() {
        lines.push(String::new());
        lines.push(format!("## Cause {}: {} ({:.0} %)", rank + 1, wire_name(found.kind), found.confidence * 100.0));
        lines.push(String::new());
        cause(found, &mut lines);
    }
    if !record.actions.is_empty() {
        lines.extend(["", "## Actions", ""].map(String::from));
        lines.extend(record.actions.iter().map(|action| {
            let mode = if action.dry_run { " (dry run)" } else { "" };
            format!(
                "- {} {} {}{mode}: {}",
                action.at,
                wire_name(action.actuator),
                escape(&action.change),
                escape(&action.reason)
            )
        }));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn cause(cause: &Cause, lines: &mut Vec<String>) {
    lines.push(escape(&cause.title));
    if !cause.site.frames.is_empty() {
        lines.extend(["", "```"].map(String::from));
        let frames = own_frames(&cause.site.frames).iter().take(FRAMES);
        lines.extend(frames.map(|frame| frame.replace("```", "'''")));
        lines.push("```".to_owned());
    }
    lines.extend(text::forecast(cause).map(|sentence| format!("\nForecast: {}", escape(&sentence))));
    if !cause.evidence.is_empty() {
        lines.extend(
            [
                "",
                "| Layer | Signal | Before | After | Unit | n | Join |",
                "| --- | --- | --- | --- | --- | --- | --- |",
            ]
            .map(String::from),
        );
        lines.extend(cause.evidence.iter().map(|evidence| {
            format!(
                "| {} | {} | {:.3} | {:.3} | {} | {} | {} |",
                wire_name(evidence.layer),
                escape(&evidence.signal),
                evidence.before,
                evidence.after,
                escape(&evidence.unit),
                evidence.n,
                wire_name(evidence.join)
            )
        }));
    }
    if !cause.trace_ids.is_empty() {
        let traces: Vec<String> = cause.trace_ids.iter().map(|trace| format!("`{trace}`")).collect();
        lines.push(format!("\nTraces: {}", traces.join(" ")));
    }
}

fn headline(record: &Record) -> String {
    record.causes.first().map_or_else(|| record.trigger.detail.clone(), |cause| cause.title.clone())
}

fn or_dash(at: Option<&String>) -> &str {
    at.map_or("-", String::as_str)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '\\' => out.extend(['\\', character]),
            '\n' | '\r' => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;

    #[test]
    fn a_name_cannot_forge_structure() {
        let (mut numbered, sites, clock) = sample();
        numbered.incident.name = "evil\n# fake | `x`".into();
        numbered.incident.what_changed = vec!["traffic: GET /\n# fake".into()];
        let markdown = incident(&Record::of(&numbered, &sites, &clock));
        assert_eq!(markdown.lines().filter(|line| line.starts_with("# ")).count(), 1, "{markdown}");
        assert!(markdown.contains("| application | fd.orphaned |"), "{markdown}");
        assert!(markdown.contains(" | 2023-11-14T22:13:39.000Z | "), "{markdown}");
        assert!(markdown.contains("- Also in: 2 more processes of the service"), "{markdown}");
        assert!(markdown.contains("## What changed") && markdown.contains("- traffic: GET /"), "{markdown}");
    }
}
