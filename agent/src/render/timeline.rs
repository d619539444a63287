//! An incident as a timeline: the response, its evidence, and beneath it each trace's requests and kernel events, in the
//! trace event format that Perfetto (and every Chromium) opens.
//!
//! Invariant: every slice is an interval of the public records, in Unix microseconds; nothing is drawn that they do not
//! hold, and a trace that is not kept any more is said to be missing. Slices of one row never overlap, because the format
//! would nest them. Cost: in proportion to the incident's evidence and at most [`TRACES`] traces.

use super::{incident, trace};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Traces that are drawn at most, the likeliest cause's first.
pub(crate) const TRACES: usize = 32;

/// A trace of the incident, or why there is none.
pub(crate) type Asked = (String, Result<trace::Record, String>);

/// The file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timeline {
    display_time_unit: &'static str,
    trace_events: Vec<Value>,
}

/// The traces that an incident names, each once, in the order of its causes.
pub(crate) fn traces(record: &incident::Record) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for id in record.causes.iter().flat_map(|cause| &cause.trace_ids).map(ToString::to_string) {
        if found.len() < TRACES && !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

/// Draws it.
pub(crate) fn draw(record: &incident::Record, asked: &[Asked]) -> Timeline {
    let mut sheet = Sheet::default();
    let mut group = sheet.group(format!("incident of {} (pid {})", record.target.name, record.target.pid));
    response(&mut group, record);
    for (index, cause) in record.causes.iter().enumerate() {
        let row = format!("{}. {} {:.2}", index + 1, word(&cause.kind), cause.confidence);
        for one in &cause.evidence {
            let name = format!("{} {} -> {} {}", one.signal, one.before, one.after, one.unit);
            group.slice(&row, name, (&one.since, &one.until), arguments(one));
        }
    }
    for (id, answer) in asked {
        let short: String = id.chars().take(8).collect();
        match answer {
            Ok(told) => told.draw(&mut sheet.group(format!("trace {short}"))),
            Err(why) => {
                sheet.group(format!("trace {short}: not kept")).moment("missing", why, &record.updated_at, Map::new());
            }
        }
    }
    Timeline { display_time_unit: "ms", trace_events: sheet.events }
}

/// From the onset to the end, in the steps that a responder is judged by.
fn response(group: &mut Group<'_>, record: &incident::Record) {
    let (times, row) = (&record.times, "response");
    let facts = arguments(&record.trigger);
    group.slice("onset", "it began within".to_owned(), (&times.onset.0, &times.onset.1), facts);
    let end = record.closed_at.as_ref().unwrap_or(&record.updated_at);
    let steps = [
        ("not yet detected", Some(&times.onset.1), Some(&times.detected)),
        ("detected, no cause named", Some(&times.detected), times.named.as_ref().or(Some(end))),
        ("cause named", times.named.as_ref(), times.recovered.as_ref().or(Some(end))),
    ];
    for (name, from, to) in steps {
        if let (Some(from), Some(to)) = (from, to) {
            group.slice(row, name.to_owned(), (from, to), Map::new());
        }
    }
    let turns = [("suspected", &times.suspected), ("mitigated", &times.mitigated), ("recovered", &times.recovered)];
    for (name, at) in turns {
        if let Some(at) = at {
            group.moment("turning points", name, at, Map::new());
        }
    }
    for action in &record.actions {
        let name = if action.dry_run { format!("would: {}", action.change) } else { action.change.clone() };
        group.moment("actions", &name, &action.at, arguments(action));
    }
}

/// What is shown of a record when its slice is clicked: all its fields.
pub(super) fn arguments(record: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        // Records are objects; what is none has nothing to show.
        _ => Map::new(),
    }
}

/// How a value of the contract's vocabularies is written.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Default)]
struct Sheet {
    events: Vec<Value>,
    groups: u32,
}

impl Sheet {
    /// A new heading, below the others.
    fn group(&mut self, name: String) -> Group<'_> {
        self.groups += 1;
        let id = self.groups;
        self.name("process_name", id, 0, &name);
        self.events.push(json!({"ph": "M", "name": "process_sort_index", "pid": id, "args": {"sort_index": id}}));
        Group { sheet: self, id, rows: Vec::new() }
    }

    fn name(&mut self, what: &str, group: u32, row: usize, name: &str) {
        self.events.push(json!({"ph": "M", "name": what, "pid": group, "tid": row, "args": {"name": name}}));
    }
}

/// Rows under one heading.
pub(super) struct Group<'a> {
    sheet: &'a mut Sheet,
    id: u32,
    /// Their names, and where their last slice ends.
    rows: Vec<(String, f64)>,
}

impl Group<'_> {
    /// An interval on a row of this name; where its rows are taken, on one more of the same name. Records that begin
    /// earlier come first, or more rows than needed are made.
    pub(super) fn slice(&mut self, row: &str, name: String, (from, to): (&str, &str), facts: Map<String, Value>) {
        let (Some(from), Some(to)) = (micros(from), micros(to)) else { return };
        let to = to.max(from);
        let row = self.row(row, from);
        self.rows[row].1 = to;
        self.sheet.events.push(json!({
            "ph": "X", "name": name, "cat": "snowshed", "pid": self.id, "tid": row + 1, "ts": from, "dur": to - from, "args": facts,
        }));
    }

    /// A point in time.
    pub(super) fn moment(&mut self, row: &str, name: &str, at: &str, facts: Map<String, Value>) {
        let Some(at) = micros(at) else { return };
        let row = self.row(row, f64::MAX);
        self.sheet.events.push(json!({
            "ph": "i", "s": "t", "name": name, "cat": "snowshed", "pid": self.id, "tid": row + 1, "ts": at, "args": facts,
        }));
    }

    /// A row of this name that is free from then on.
    fn row(&mut self, name: &str, from: f64) -> usize {
        if let Some(free) = self.rows.iter().position(|(known, end)| known == name && *end <= from) {
            return free;
        }
        self.rows.push((name.to_owned(), f64::MIN));
        self.sheet.name("thread_name", self.id, self.rows.len(), name);
        self.rows.len() - 1
    }
}

/// Unix microseconds of a time of the contract; `None`: it is none.
fn micros(at: &str) -> Option<f64> {
    let at: Timestamp = at.parse().ok()?;
    // A double holds microseconds exactly for another two centuries.
    Some(at.as_microsecond() as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::incident::tests::sample, *};

    fn drawn(asked: &[Asked]) -> Vec<Value> {
        let (numbered, sites, clock) = sample();
        let record = incident::Record::of(&numbered, &sites, &clock);
        let file = serde_json::to_value(draw(&record, asked)).expect("serialises");
        file["traceEvents"].as_array().expect("events").clone()
    }

    fn named<'a>(events: &'a [Value], part: &str) -> &'a Value {
        let found = events.iter().find(|event| event["name"].as_str().is_some_and(|name| name.contains(part)));
        found.unwrap_or_else(|| panic!("no {part} among {events:#?}"))
    }

    #[test]
    fn the_response_and_the_evidence_are_slices_at_their_times() {
        let events = drawn(&[]);
        let evidence = named(&events, "fd.orphaned 0 -> 37 fds");
        // From 10 s to 30 s after the sample's beginning.
        assert_eq!((&evidence["ts"], &evidence["dur"]), (&json!(1.700_000_010e15), &json!(20e6)));
        assert_eq!(evidence["args"]["join"], "thread_context");
        assert_eq!(named(&events, "detected, no cause")["dur"], 1e6);
        assert_eq!(named(&events, "suspected")["ts"], json!(1.700_000_019e15));
        assert_eq!(named(&events, "would: limit none -> 4")["ph"], "i");
    }

    #[test]
    fn each_trace_is_asked_for_once_and_a_missing_one_is_told() {
        let (numbered, sites, clock) = sample();
        let mut record = incident::Record::of(&numbered, &sites, &clock);
        record.causes.push(record.causes[0].clone());
        let ids = traces(&record);
        assert_eq!(ids, ["0af7651916cd43dd8448eb211c80319c"]);
        let events = drawn(&[(ids[0].clone(), Err("forgotten".to_owned()))]);
        assert_eq!(named(&events, "process_name")["ph"], "M");
        assert!(events.iter().any(|event| event["args"]["name"] == "trace 0af76519: not kept"), "{events:#?}");
        assert_eq!(named(&events, "forgotten")["ph"], "i");
    }

    #[test]
    fn slices_of_a_row_never_overlap() {
        let mut sheet = Sheet::default();
        let mut group = sheet.group("x".into());
        let second = |at: u32| format!("2026-01-01T00:00:{at:02}.000Z");
        for (from, to) in [(0, 10), (5, 6), (6, 20), (10, 12), (40, 30)] {
            group.slice("requests", format!("{from}"), (&second(from), &second(to)), Map::new());
        }
        group.slice("requests", "odd".into(), ("yesterday", &second(1)), Map::new());
        let rows: Vec<_> =
            sheet.events.iter().filter(|event| event["ph"] == "X").map(|event| event["tid"].clone()).collect();
        assert_eq!(rows, [1, 2, 2, 1, 1]);
        assert!(sheet.events.iter().all(|event| event["dur"].as_f64().is_none_or(|length| length >= 0.0)));
    }
}
