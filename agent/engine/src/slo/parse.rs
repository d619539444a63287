//! Reads objectives from OpenSLO v1 YAML, several documents to a file.
//!
//! Invariant: a file is taken whole or refused with file, line, field and reason; no input panics.
//! Cost: once at start, files up to 1 MiB.

use super::{
    Good, Slo, condition,
    openslo::{Document, Metric, Objective, Query, TimeWindow},
};
use serde_saphyr::{Location, Spanned};
use std::cell::RefCell;

/// Most bytes of a file, and most objectives in it.
const CAP: (usize, usize) = (1 << 20, 64);

/// What is wrong with a file of objectives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct SloError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The field, as in `spec.objectives[0].target`; empty where the YAML itself is broken.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A problem at a place; the file's name is added at the end.
struct Problem {
    line: u64,
    field: String,
    text: String,
}

impl Problem {
    fn at(location: Location, field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { line: location.line(), field: field.into(), text: text.into() }
    }
}

/// Reads objectives; `file` is only told in errors.
///
/// # Errors
/// The first thing that this version does not understand, with its line and field.
pub fn parse(text: &str, file: &str) -> Result<Vec<Slo>, SloError> {
    objectives(text).map_err(|problem| SloError {
        file: file.to_owned(),
        line: problem.line.max(1),
        field: problem.field,
        problem: problem.text,
    })
}

fn objectives(text: &str) -> Result<Vec<Slo>, Problem> {
    if text.len() > CAP.0 {
        return Err(Problem { line: 1, field: String::new(), text: format!("larger than {} bytes", CAP.0) });
    }
    let mut slos: Vec<Slo> = Vec::new();
    for part in documents(text) {
        let Some(document) = document(&part)? else { continue };
        let name = document.metadata.name.clone();
        let slo = objective(document)?;
        if slos.iter().any(|other| other.name == slo.name) {
            return Err(Problem::at(name.referenced, "metadata.name", format!("{:?} is used twice", slo.name)));
        }
        if slos.len() >= CAP.1 {
            return Err(Problem::at(name.referenced, "metadata.name", format!("more than {} objectives", CAP.1)));
        }
        slos.push(slo);
    }
    if slos.is_empty() {
        return Err(Problem { line: 1, field: String::new(), text: "no objective in it".to_owned() });
    }
    Ok(slos)
}

/// The documents, each behind as many empty lines as stand before it, so that lines keep their numbers.
fn documents(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") {
            parts.push("\n".repeat(number));
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(if bare == "---" { "\n" } else { line });
        }
    }
    parts
}

fn document(text: &str) -> Result<Option<Document>, Problem> {
    let blank = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if blank {
        return Ok(None);
    }
    let options = serde_saphyr::options! { with_snippet: false };
    // The path is known only while reading: it is carried out of the closure beside the error.
    let path = RefCell::new(String::new());
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |de| {
        serde_path_to_error::deserialize(de).map_err(|error| {
            path.replace(error.path().to_string());
            error.into_inner()
        })
    });
    read.map(Some).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map_or(1, |location| location.line());
        // The wrapper that knows the location shows up in the path as a field of its own.
        let path = path.take().replace(".value[", "[").replace(".value.", ".");
        let path = path.strip_suffix(".value").unwrap_or(&path);
        let field = if path == "." { String::new() } else { path.to_owned() };
        // A location follows the text; the line is told already.
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        let text = text.split(" at line ").next().unwrap_or(text).to_owned();
        Problem { line, field, text }
    })
}

fn objective(document: Document) -> Result<Slo, Problem> {
    expect(&document.api_version, "apiVersion", "openslo/v1")?;
    expect(&document.kind, "kind", "SLO")?;
    let name = filled(&document.metadata.name, "metadata.name")?;
    let spec = document.spec;
    let service = filled(&spec.service, "spec.service")?;
    expect(&spec.budgeting_method, "spec.budgetingMethod", "Occurrences")?;
    let ratio = spec.indicator.spec.ratio_metric;
    if let Some(counter) = ratio.counter.filter(|counter| !counter.value) {
        let text = "only counters are supported: true";
        return Err(Problem::at(counter.referenced, "spec.indicator.spec.ratioMetric.counter", text));
    }
    let (route, good) = indicator(&ratio.good, &ratio.total)?;
    let window = window(&spec.time_window)?;
    let target = target(&spec.objectives)?;
    Ok(Slo { name, service, route, good, target, window })
}

fn expect(told: &Spanned<String>, field: &str, wanted: &str) -> Result<(), Problem> {
    if told.value == wanted {
        return Ok(());
    }
    Err(Problem::at(told.referenced, field, format!("{:?} is not supported, only {wanted:?}", told.value)))
}

fn filled(told: &Spanned<String>, field: &str) -> Result<String, Problem> {
    if told.value.trim().is_empty() || told.value.len() > 256 {
        return Err(Problem::at(told.referenced, field, "must have 1 to 256 characters"));
    }
    Ok(told.value.clone())
}

fn indicator(good: &Metric, total: &Metric) -> Result<(Option<String>, Good), Problem> {
    let at = |part: &str| format!("spec.indicator.spec.ratioMetric.{part}.metricSource");
    expect(&good.metric_source.kind, &(at("good") + ".type"), "snowshed")?;
    expect(&total.metric_source.kind, &(at("total") + ".type"), "snowshed")?;
    let (good, total) = (&good.metric_source.spec, &total.metric_source.spec);
    for (name, told) in conditions(total) {
        if let Some(told) = told {
            let text = "a condition on total would hide requests: put it on good";
            return Err(Problem::at(told.referenced, format!("{}.spec.{name}", at("total")), text));
        }
    }
    let route = |query: &Query| query.route.as_ref().map(|route| route.value.clone());
    if route(good) != route(total) {
        let place = good.route.as_ref().or(total.route.as_ref()).map_or(Location::UNKNOWN, |told| told.referenced);
        return Err(Problem::at(place, at("good") + ".spec.route", "good and total must name the same route"));
    }
    let read = |name: &str, told: &Spanned<String>, text: String| {
        Problem::at(told.referenced, format!("{}.spec.{name}", at("good")), text)
    };
    let mut made = Good::default();
    if let Some(told) = &good.status {
        made.status = Some(condition::status(&told.value).map_err(|text| read("status", told, text))?);
    }
    if let Some(told) = &good.first_byte {
        made.first_byte = Some(condition::at_most(&told.value).map_err(|text| read("first_byte", told, text))?);
    }
    if let Some(told) = &good.duration {
        made.duration = Some(condition::at_most(&told.value).map_err(|text| read("duration", told, text))?);
    }
    Ok((route(good), made))
}

fn conditions(query: &Query) -> [(&'static str, &Option<Spanned<String>>); 3] {
    [("status", &query.status), ("first_byte", &query.first_byte), ("duration", &query.duration)]
}

fn window(told: &Spanned<Vec<TimeWindow>>) -> Result<u64, Problem> {
    let [only] = &told.value[..] else {
        return Err(Problem::at(told.referenced, "spec.timeWindow", "exactly one is supported"));
    };
    if !only.is_rolling.value {
        let text = "only rolling windows are supported: true";
        return Err(Problem::at(only.is_rolling.referenced, "spec.timeWindow[0].isRolling", text));
    }
    let read = condition::duration(&only.duration.value);
    read.map_err(|text| Problem::at(only.duration.referenced, "spec.timeWindow[0].duration", text))
}

fn target(told: &Spanned<Vec<Objective>>) -> Result<f64, Problem> {
    let [only] = &told.value[..] else {
        return Err(Problem::at(told.referenced, "spec.objectives", "exactly one is supported"));
    };
    let (place, field, share) = match (&only.target, &only.target_percent) {
        (Some(target), None) => (target.referenced, "target", target.value),
        (None, Some(percent)) => (percent.referenced, "targetPercent", percent.value / 100.0),
        _ => {
            let text = "exactly one of target and targetPercent is needed";
            return Err(Problem::at(told.referenced, "spec.objectives[0]", text));
        }
    };
    if share > 0.0 && share < 1.0 {
        return Ok(share);
    }
    let (value, highest) = if field == "target" { (share, 1) } else { (share * 100.0, 100) };
    let text = format!("{value} is not between 0 and {highest}");
    Err(Problem::at(place, format!("spec.objectives[0].{field}"), text))
}
