//! Go's goroutine profile, in its two texts: every goroutine with the place that made it (`debug=2`), or stacks
//! with how many are in each (`debug=1`).
//!
//! Invariant: what a text says is a name, cleaned of control characters and cut to a bound, never a path that is
//! opened. Bounded: the largest groups are told, the rest is counted.

use super::Named;
use snowshed_ebpf::Frame;
use snowshed_engine::model::{SiteId, TaskGroup};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Groups that are told.
const GROUPS: usize = 64;
/// The longest name, in letters.
const LONGEST: usize = 200;
/// The longest word on what goroutines do.
const STATE: usize = 40;

/// Goroutines.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    /// All of them.
    pub(super) live: u64,
    pub(super) groups: Vec<TaskGroup>,
    pub(super) left_out: u64,
    pub(super) names: Named,
}

/// Those of one place: how many, and what they do.
#[derive(Default)]
struct Place {
    live: u64,
    states: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Places(BTreeMap<(String, Option<(String, u32)>), Place>);

impl Places {
    fn add(&mut self, function: &str, location: Option<(String, u32)>, state: &str, count: u64) {
        let place = self.0.entry((clean(function, LONGEST), location)).or_default();
        place.live = place.live.saturating_add(count);
        let state = clean(state, STATE);
        if place.states.len() < 16 || place.states.contains_key(&state) {
            let sum = place.states.entry(state).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    fn into_goroutines(self, live: u64) -> Goroutines {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_by_key(|(_, place)| std::cmp::Reverse(place.live));
        let left_out = all.iter().skip(GROUPS).fold(0, |sum: u64, (_, place)| sum.saturating_add(place.live));
        let mut found = Goroutines { live, left_out, ..Goroutines::default() };
        for ((function, location), place) in all.into_iter().take(GROUPS) {
            let mut hash = DefaultHasher::new();
            ("told", &function, &location).hash(&mut hash);
            // Zero means unknown.
            let site = SiteId(hash.finish().max(1));
            let state = place.states.into_iter().max_by_key(|(_, count)| *count);
            let state = state.map_or_else(String::new, |(state, _)| state);
            found.groups.push(TaskGroup { site, live: place.live, state });
            found.names.push((site, vec![Frame { function, location }]));
        }
        found
    }
}

/// Reads `debug=2`: each by the place that made it, those of the runtime's start by where they began.
pub(super) fn listed(text: &str) -> Result<Goroutines, String> {
    let (mut places, mut live) = (Places::default(), 0);
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let mut lines = block.lines();
        let head = lines.next().unwrap_or_default();
        let state = head.strip_prefix("goroutine ").and_then(|head| head.split_once(" [")?.1.strip_suffix("]:"));
        let state = state.ok_or("no goroutine profile: a block without a goroutine")?;
        let state = state.split(',').next().unwrap_or_default();
        let lines: Vec<&str> = lines.collect();
        let made = lines.iter().rposition(|line| line.starts_with("created by "));
        let began = || lines.iter().rposition(|line| !line.starts_with('\t') && line.contains('('));
        let (function, at) = match (made, began()) {
            (Some(at), _) => (lines[at].trim_start_matches("created by "), at),
            (None, Some(at)) => (lines[at], at),
            (None, None) => ("", 0),
        };
        let function = function.split_once(" in goroutine ").map_or(function, |(function, _)| function);
        // Arguments are addresses; a method's receiver stands in brackets too.
        let function =
            if made.is_some() { function } else { function.rsplit_once('(').map_or(function, |(name, _)| name) };
        live += 1;
        places.add(function, lines.get(at + 1).and_then(|line| location(line)), state, 1);
    }
    if live == 0 {
        return Err("no goroutine profile: there is none in it".to_owned());
    }
    Ok(places.into_goroutines(live))
}

/// Reads `debug=1`: each by where it began.
pub(super) fn summed(text: &str) -> Result<Goroutines, String> {
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let live = head.strip_prefix("goroutine profile: total ").and_then(|count| count.trim().parse().ok());
    let live = live.ok_or("no goroutine profile: it does not begin with their number")?;
    let mut places = Places::default();
    for block in rest.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let count = block.split_once(" @").and_then(|(count, _)| count.trim().parse().ok());
        let count = count.ok_or("no goroutine profile: a stack without a number")?;
        let frame = block.lines().rfind(|line| line.starts_with("#\t"));
        // Columns are lined up by more than one tab.
        let words: Vec<&str> = frame.unwrap_or_default().split('\t').collect();
        let function = words.get(2).copied().unwrap_or_default();
        let function = function.rsplit_once("+0x").map_or(function, |(name, _)| name);
        places.add(function, words.get(3..).and_then(<[&str]>::last).and_then(|place| location(place)), "", count);
    }
    Ok(places.into_goroutines(live))
}

/// `\t/path/file.go:20 +0x5f`, with or without the offset.
fn location(line: &str) -> Option<(String, u32)> {
    let place = line.trim().split(" +0x").next()?;
    let (file, number) = place.rsplit_once(':')?;
    Some((clean(file, LONGEST), number.parse().ok()?))
}

/// Without control characters, and not without end.
fn clean(text: &str, most: usize) -> String {
    text.chars().take(most).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    const LISTED: &str = "goroutine 18 [running]:\nruntime/pprof.writeGoroutineStacks({0x7d5f40, 0xc0000b2000})\n\t/usr/lib/go/src/runtime/pprof/pprof.go:764 +0x6a\n\
        created by net/http.(*Server).Serve in goroutine 1\n\t/usr/lib/go/src/net/http/server.go:3454 +0x485\n\n\
        goroutine 1 [IO wait, 2 minutes]:\ninternal/poll.runtime_pollWait(0x7f, 0x72)\n\t/usr/lib/go/src/runtime/netpoll.go:351 +0x85\n\
        main.main()\n\t/srv/main.go:40 +0x1d\n\n\
        goroutine 34 [chan receive, 5 minutes]:\nmain.subscribe.func1()\n\t/srv/main.go:21 +0x25\ncreated by main.subscribe in goroutine 20\n\t/srv/main.go:20 +0x5f\n\n\
        goroutine 35 [chan receive]:\nmain.subscribe.func1()\n\t/srv/main.go:21 +0x25\ncreated by main.subscribe\n\t/srv/main.go:20 +0x5f\n";
    const SUMMED: &str = "goroutine profile: total 5\n3 @ 0x43e 0x40\n#\t0x48d\tmain.wait+0x24\t/srv/main.go:9\n#\t0x48e\tmain.subscribe.func1+0x24\t\t/srv/main.go:21\n\n\
        1 @ 0x44\n# labels: {\"a\":\"b\"}\n#\t0x1\tmain.main+0x1\t/srv/main.go:40\n\n1 @ 0x45\n\n";

    fn told(found: &Goroutines) -> Vec<(String, Option<u32>, u64, String)> {
        let name = |site| found.names.iter().find(|(of, _)| *of == site).map(|(_, frames)| frames[0].clone());
        let told = |group: &TaskGroup| {
            let frame = name(group.site).expect("named");
            (frame.function, frame.location.map(|at| at.1), group.live, group.state.clone())
        };
        found.groups.iter().map(told).collect()
    }

    #[test]
    fn the_long_text_tells_who_made_them() {
        let found = listed(LISTED).expect("reads");
        let first = ("main.subscribe".to_owned(), Some(20), 2, "chan receive".to_owned());
        assert_eq!((found.live, &told(&found)[0]), (4, &first));
        assert!(told(&found).contains(&("main.main".into(), Some(40), 1, "IO wait".into())), "{:?}", told(&found));
        assert!(told(&found).contains(&("net/http.(*Server).Serve".into(), Some(3454), 1, "running".into())));
    }

    #[test]
    fn the_short_text_tells_where_they_began() {
        let found = summed(SUMMED).expect("reads");
        assert_eq!((found.live, &told(&found)[0]), (5, &("main.subscribe.func1".into(), Some(21), 3, String::new())));
        assert_eq!(found.groups.len(), 3);
    }

    #[test]
    fn many_places_are_bounded_and_other_pages_refused() {
        let many: String =
            (0..500).map(|n| format!("goroutine {n} [select]:\nmain.x{n}()\n\t/a.go:1 +0x1\n\n")).collect();
        let found = listed(&many).expect("reads");
        assert_eq!((found.groups.len(), found.left_out, found.live), (GROUPS, 436, 500));
        assert!(listed("<html>").is_err() && listed("").is_err() && summed("").is_err() && summed("go_x 1\n").is_err());
        let hostile = listed("goroutine 1 [a\u{1b}[31m]:\nx\u{7}()\n\t/a\u{0}.go:1\n").expect("reads");
        assert!(!format!("{:?}", told(&hostile)).contains("\\u{1b}"), "{:?}", told(&hostile));
    }

    /// Cut and stirred, both texts are read or refused.
    #[test]
    fn anything_is_survived() {
        let mut random = StdRng::seed_from_u64(11);
        for source in [LISTED, SUMMED] {
            for _ in 0..5_000 {
                let mut bytes = source.as_bytes().to_vec();
                for _ in 0..random.random_range(0..6) {
                    let (at, with) = (random.random_range(0..bytes.len()), random.random_range(0..source.len()));
                    bytes[at] = source.as_bytes()[with];
                }
                bytes.truncate(random.random_range(0..=bytes.len()));
                let text = String::from_utf8_lossy(&bytes).into_owned();
                drop((listed(&text), summed(&text)));
            }
        }
    }
}
