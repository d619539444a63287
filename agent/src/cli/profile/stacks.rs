//! A profile: stacks by name, each with what it counts for.

use super::Kind;
use crate::render::frame;
use snowshed_ebpf::Frame;
use snowshed_engine::model::{Pid, SiteId, TraceId};
use std::{collections::BTreeMap, time::Duration};

/// What was seen of one place, for one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) site: SiteId,
    pub(super) trace: Option<TraceId>,
    /// What tells it from others at the place: a kind of descriptor, a thread's name; may be empty.
    pub(super) label: String,
}

/// One stack.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stack {
    /// Innermost first; never empty.
    pub(super) frames: Vec<Frame>,
    pub(super) trace: Option<TraceId>,
    pub(super) label: String,
    /// In the unit of the profile's kind.
    pub(super) value: u64,
}

impl Stack {
    /// Names from the root to the leaf: the request, if it is asked for, the code, and the label.
    pub(super) fn path(&self, by_trace: bool) -> Vec<String> {
        let request = || self.trace.map_or_else(|| "no request".to_owned(), |trace| trace.to_string());
        let root = by_trace.then(request);
        let code = self.frames.iter().rev().map(frame);
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        root.into_iter().chain(code).chain(label).collect()
    }
}

/// The whole.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) kind: Kind,
    pub(super) pid: Pid,
    /// When it began, nanoseconds since 1970.
    pub(super) begun: i128,
    pub(super) elapsed: Duration,
    /// What counts most comes first.
    pub(super) stacks: Vec<Stack>,
}

impl Profile {
    /// Names the places; what has no known place is one stack of its own, so that sums are whole.
    pub(super) fn new(
        kind: Kind,
        pid: Pid,
        begun: i128,
        elapsed: Duration,
        places: BTreeMap<Place, u64>,
        mut frames: impl FnMut(SiteId) -> Vec<Frame>,
    ) -> Self {
        let mut named = BTreeMap::new();
        let mut stacks: Vec<Stack> = Vec::new();
        for (Place { site, trace, label }, value) in places.into_iter().filter(|(_, value)| *value > 0) {
            let frames = named.entry(site).or_insert_with(|| if site.0 == 0 { Vec::new() } else { frames(site) });
            let unknown = || vec![Frame { function: "place not known".to_owned(), location: None }];
            let frames = if frames.is_empty() { unknown() } else { frames.clone() };
            stacks.push(Stack { frames, trace, label, value });
        }
        stacks.sort_by_key(|stack| std::cmp::Reverse(stack.value));
        Self { kind, pid, begun, elapsed, stacks }
    }

    /// Of all stacks.
    pub(super) fn total(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.value).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn of(function: &str, line: u32) -> Frame {
        Frame { function: function.into(), location: (line > 0).then(|| ("app.py".into(), line)) }
    }

    /// Two requests that open at one place, and something whose place nobody knows.
    pub(in super::super) fn sample() -> Profile {
        let place = |site, trace: Option<u8>, label: &str| Place {
            site: SiteId(site),
            trace: trace.map(|byte| TraceId([byte; 16])),
            label: label.into(),
        };
        let places = BTreeMap::from([
            (place(1, Some(0xaa), "file"), 3),
            (place(1, Some(0xbb), "file"), 1),
            (place(2, None, ""), 2),
            (place(0, None, "pipe"), 4),
            (place(3, None, "none"), 0),
        ]);
        let named = |site: SiteId| match site.0 {
            1 => vec![of("spool", 7), of("handle<T>", 3), of("main", 0)],
            2 => vec![of("main", 0)],
            _ => Vec::new(),
        };
        Profile::new(Kind::Fd, 42, 1_700_000_000_000_000_000, Duration::from_secs(10), places, named)
    }

    #[test]
    fn sums_are_whole_and_what_has_no_place_is_said_to_have_none() {
        let profile = sample();
        assert_eq!(profile.total(), 10);
        assert_eq!(profile.stacks[0].path(false), ["place not known", "pipe"]);
        assert_eq!(profile.stacks[1].path(false), ["main", "handle<T> (app.py:3)", "spool (app.py:7)", "file"]);
        assert_eq!(profile.stacks[1].path(true)[0], "aa".repeat(16));
        assert_eq!(profile.stacks[2].path(true)[0], "no request");
        assert_eq!(profile.stacks.len(), 4, "what counts for nothing is left out");
    }
}
