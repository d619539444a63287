//! A profile as pprof reads it: `proto/profile.proto` of github.com/google/pprof, compressed with gzip.
//!
//! The request and the label are labels of a sample, so that `go tool pprof -tagfocus` and Pyroscope's selectors work.

use super::stacks::Profile;
use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use std::{
    collections::HashMap,
    io::{self, Write as _},
};

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Each once, numbered from 0 in the order in which they came.
#[derive(Default)]
struct Numbered<T>(HashMap<T, usize>, Vec<T>);

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn of(&mut self, one: T) -> usize {
        let next = self.1.len();
        let number = *self.0.entry(one.clone()).or_insert(next);
        if number == next {
            self.1.push(one);
        }
        number
    }
}

fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

fn wire(profile: &Profile) -> Wire {
    let (mut strings, mut functions, mut locations) = (Numbered::default(), Numbered::default(), Numbered::default());
    // The first string is empty by rule.
    let mut text = |text: &str| signed(strings.of(text.to_owned()));
    text("");
    let (what, unit) = profile.kind.measure();
    let mut out = Wire {
        sample_type: vec![ValueType { r#type: text(what), unit: text(unit) }],
        time_nanos: signed(profile.begun),
        duration_nanos: signed(profile.elapsed.as_nanos()),
        ..Wire::default()
    };
    for stack in &profile.stacks {
        let mut location_id = Vec::with_capacity(stack.frames.len());
        for frame in &stack.frames {
            let (file, line) = frame.location.as_ref().map_or(("", 0), |(file, line)| (file.as_str(), *line));
            let function = functions.of((text(&frame.function), text(file)));
            // Ids begin at 1: 0 is none.
            location_id.push(locations.of((function, line)) as u64 + 1);
        }
        let mut label = Vec::new();
        if let Some(trace) = stack.trace {
            label.push(Label { key: text("trace_id"), str: text(&trace.to_string()) });
        }
        if !stack.label.is_empty() {
            label.push(Label { key: text("kind"), str: text(&stack.label) });
        }
        out.sample.push(Sample { location_id, value: vec![signed(stack.value)], label });
    }
    let line = |&(function, line): &(usize, u32)| Line { function_id: function as u64 + 1, line: i64::from(line) };
    let numbered = locations.1.iter().enumerate();
    out.location = numbered.map(|(at, place)| Location { id: at as u64 + 1, line: vec![line(place)] }).collect();
    let function = |(at, &(name, filename)): (usize, &(i64, i64))| Function {
        id: at as u64 + 1,
        name,
        system_name: name,
        filename,
    };
    out.function = functions.1.iter().enumerate().map(function).collect();
    out.string_table = strings.1;
    out
}

/// As a file.
///
/// # Errors
/// None that memory would not give.
pub(super) fn encode(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&wire(profile).encode_to_vec())?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::stacks::tests::sample, *};

    #[test]
    fn places_are_kept_once_and_every_number_leads_somewhere() {
        let wire = wire(&sample());
        assert_eq!(wire.string_table[0], "");
        assert_eq!((wire.location.len(), wire.function.len()), (4, 4));
        let name = |id: u64| {
            let location = wire.location.iter().find(|location| location.id == id).expect("a location");
            let function = location.line[0].function_id;
            let function = wire.function.iter().find(|known| known.id == function).expect("a function");
            wire.string_table[usize::try_from(function.name).expect("an index")].as_str()
        };
        let sample = wire.sample.iter().find(|sample| sample.label.len() == 2).expect("with its request");
        let names: Vec<&str> = sample.location_id.iter().copied().map(name).collect();
        assert_eq!(names, ["spool", "handle<T>", "main"], "innermost first");
        assert_eq!(wire.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 10);
    }
}
