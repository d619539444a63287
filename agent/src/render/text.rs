//! An incident for a person at a terminal, and the phrases that alerts and other pages share with it.
//!
//! Invariant: nothing is said that is not in the record, and an unknown cause is called unknown.

use super::{
    incident::{Cause, End, Record},
    memory::mib,
    own_frames, wire_name,
};
use snowshed_engine::model::{Resource, Verdict};

/// Frames shown of a stack.
const FRAMES: usize = 16;

/// What is said of an incident that was open when its agent ended.
pub(crate) const UNKNOWN_END: &str = "unknown: it was open when the agent ended; closed_at is when that was last seen";

/// How sure, in words that carry their figure: `named, 93 %`.
pub(crate) fn verdict(record: &Record) -> String {
    match (record.verdict, record.causes.first()) {
        (Verdict::Named, Some(cause)) => {
            format!("named ({}), confidence {:.0} %", wire_name(cause.kind), cause.confidence * 100.0)
        }
        (Verdict::Unknown, Some(cause)) => {
            format!("unknown; likeliest {} at {:.0} %, below the bar", wire_name(cause.kind), cause.confidence * 100.0)
        }
        (_, None) => "unknown: nothing that was seen explains it".to_owned(),
    }
}

/// A time span as people say it: `48 s`, `12 min`, `3.5 h`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "unknown".to_owned(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A cause's forecast as a sentence, where it has one.
pub(crate) fn forecast(cause: &Cause) -> Option<String> {
    let forecast = cause.forecast.as_ref()?;
    let is_bytes = !matches!(forecast.resource, Resource::Fds | Resource::Threads | Resource::Tasks);
    let amount = |value: u64| if is_bytes { mib(value as f64) } else { value.to_string() };
    Some(format!(
        "{} of {} {} in use; the limit is reached in {} to {}",
        amount(forecast.level),
        amount(forecast.limit),
        wire_name(forecast.resource),
        seconds(forecast.eta_seconds.0),
        seconds(forecast.eta_seconds.1)
    ))
}

/// The body of an alert and of the log line: verdict, place, traces, forecast, actions; a line each.
pub(crate) fn description(record: &Record) -> String {
    let mut lines = vec![format!("verdict: {}", verdict(record)), format!("trigger: {}", record.trigger.detail)];
    if let Some(cause) = record.causes.first() {
        lines.extend(own_frames(&cause.site.frames).iter().take(6).map(|frame| format!("at: {frame}")));
        if let Some(thread) = &cause.thread {
            lines.push(format!("thread: {} ({})", thread.name, thread.tid));
        }
        if !cause.trace_ids.is_empty() {
            let traces: Vec<String> = cause.trace_ids.iter().rev().take(4).map(ToString::to_string).collect();
            lines.push(format!("traces: {}", traces.join(" ")));
        }
        lines.extend(forecast(cause).map(|sentence| format!("forecast: {sentence}")));
    }
    lines.extend(also(record).map(|also| format!("also in: {also}")));
    lines.extend(record.what_changed.iter().take(4).map(|change| format!("changed: {change}")));
    lines.extend(record.actions.iter().rev().take(3).rev().map(|action| {
        let mode = if action.dry_run { "would " } else { "" };
        format!("action: {mode}{} {} ({})", wire_name(action.actuator), action.change, action.reason)
    }));
    lines.join("\n")
}

/// The other processes of the service in which the same goes on.
pub(crate) fn also(record: &Record) -> Option<String> {
    let pids = &record.target.also_pids;
    let some: Vec<String> = pids.iter().take(8).map(ToString::to_string).collect();
    let more = if pids.len() > some.len() { ", ..." } else { "" };
    let noun = if pids.len() == 1 { "process" } else { "processes" };
    (!pids.is_empty()).then(|| format!("{} more {noun} of the service (pid {}{more})", pids.len(), some.join(", ")))
}

/// One line for a list: when, how urgent, which process, what.
pub(crate) fn one_line(record: &Record) -> String {
    let what = record.causes.first().filter(|_| record.verdict == Verdict::Named);
    let what = what.map_or_else(|| format!("cause unknown; {}", record.trigger.detail), |cause| cause.title.clone());
    let state = match record.end {
        Some(End::Unknown) => "end ?",
        _ if record.closed_at.is_some() => "closed",
        _ => "open",
    };
    let others = record.target.also_pids.len();
    let others = if others == 0 { String::new() } else { format!(" and {others} more") };
    format!(
        "{}  {}  {:<6} {:<6}  {} ({}{others})  {what}",
        record.id,
        record.opened_at,
        state,
        wire_name(record.severity),
        record.target.name,
        record.target.pid
    )
}

/// The whole incident.
pub(crate) fn incident(record: &Record) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("incident {}", record.id));
    line(format!("  process    {} (pid {})", record.target.name, record.target.pid));
    if let Some(also) = also(record) {
        line(format!("  also in    {also}"));
    }
    line(format!("  severity   {}", wire_name(record.severity)));
    line(format!("  trigger    {}: {}", wire_name(record.trigger.kind), record.trigger.detail));
    line(format!("  verdict    {}", verdict(record)));
    let times = &record.times;
    line(format!("  onset      {} to {}", times.onset.0, times.onset.1));
    if let Some(suspected) = &times.suspected {
        line(format!("  suspected  {suspected}"));
    }
    for (name, at) in [
        ("detected", Some(&times.detected)),
        ("named", times.named.as_ref()),
        ("mitigated", times.mitigated.as_ref()),
        ("recovered", times.recovered.as_ref()),
        ("closed", record.closed_at.as_ref()),
    ] {
        line(format!("  {name:<10} {}", at.map_or("-", String::as_str)));
    }
    if record.end == Some(End::Unknown) {
        line(format!("  end        {UNKNOWN_END}"));
    }
    for change in &record.what_changed {
        line(format!("  changed    {change}"));
    }
    for (rank, cause) in record.causes.iter().enumerate() {
        line(String::new());
        line(format!("cause {}: {} ({:.0} %)", rank + 1, wire_name(cause.kind), cause.confidence * 100.0));
        for text in cause_lines(cause) {
            line(format!("  {text}"));
        }
    }
    if !record.actions.is_empty() {
        line(String::new());
        line("actions".to_owned());
        for action in &record.actions {
            let mode = if action.dry_run { " (dry run)" } else { "" };
            line(format!("  {}  {} {}{mode}: {}", action.at, wire_name(action.actuator), action.change, action.reason));
        }
    }
    out
}

fn cause_lines(cause: &Cause) -> Vec<String> {
    let mut lines = vec![cause.title.clone()];
    if cause.site.frames.is_empty() && cause.kind.has_place() {
        lines.push("place in the code: unknown".to_owned());
    }
    let frames = own_frames(&cause.site.frames);
    lines.extend(frames.iter().take(FRAMES).map(|frame| format!("at {frame}")));
    if frames.len() > FRAMES {
        lines.push(format!("and {} more frames, with --format json", frames.len() - FRAMES));
    }
    lines.extend(cause.thread.iter().map(|thread| format!("on thread {} ({})", thread.name, thread.tid)));
    lines.extend(cause.connection.iter().map(|connection| format!("on {} - {}", connection.local, connection.peer)));
    lines.extend(forecast(cause));
    lines.extend(cause.evidence.iter().map(|evidence| {
        let ambiguous = if evidence.ambiguity > 1 { ", ambiguous" } else { "" };
        format!(
            "{} {}: {:.3} -> {:.3} {} (n {}, joined by {}{ambiguous})",
            wire_name(evidence.layer),
            evidence.signal,
            evidence.before,
            evidence.after,
            evidence.unit,
            evidence.n,
            wire_name(evidence.join)
        )
    }));
    lines.extend(cause.trace_ids.iter().map(|trace| format!("trace {trace}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::incident::tests::sample;
    use snowshed_engine::model::{CauseKind, SiteId};

    #[test]
    fn a_person_reads_cause_place_time_left_and_what_was_done() {
        let (numbered, sites, clock) = sample();
        let text = incident(&Record::of(&numbered, &sites, &clock));
        for part in [
            "fd_leak (93 %)",
            "at spool_upload (spool.rs:41)",
            "48 s to 61 s",
            "0af7651916cd43dd",
            "(dry run)",
            "suspected  2023-11-14T22:13:39.000Z",
            "changed    start: the process started 9 s before",
            "also in    2 more processes of the service (pid 4243, 4244)",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_unknown_cause_is_called_unknown() {
        let (mut numbered, sites, clock) = sample();
        numbered.incident.verdict = Verdict::Unknown;
        numbered.incident.causes.clear();
        let record = Record::of(&numbered, &sites, &clock);
        assert!(verdict(&record).starts_with("unknown"));
        assert!(one_line(&record).contains("cause unknown"));
    }

    #[test]
    fn what_has_no_place_in_the_code_is_not_said_to_be_at_an_unknown_one() {
        let (mut numbered, sites, clock) = sample();
        for (kind, has_place) in [(CauseKind::TcpRetransmits, false), (CauseKind::LockContention, true)] {
            let cause = &mut numbered.incident.causes[0];
            (cause.kind, cause.site) = (kind, SiteId(0));
            let text = incident(&Record::of(&numbered, &sites, &clock));
            assert!(text.contains(&format!("{} (93 %)", wire_name(kind))), "{text}");
            assert_eq!(text.contains("place in the code: unknown"), has_place, "{text}");
        }
    }

    #[test]
    fn spans_of_time_are_said_as_people_do() {
        assert_eq!(seconds(4.24), "4.2 s");
        assert_eq!(seconds(61.0), "61 s");
        assert_eq!(seconds(300.0), "5 min");
        assert_eq!(seconds(f64::INFINITY), "unknown");
    }
}
