//! How many requests of which route there were, to hold one time against another.
//!
//! Invariant: of requests that ended only; what a bound leaves out is one more route. Memory: 144 windows with 32
//! counts, 18 KB a target. Cost: a look-up by name.

use crate::{
    model::{Nanos, Request},
    text::{is_told_as, plain},
    window::{SECOND, Windows, seconds},
};

const LENGTH: Nanos = 5 * SECOND;
const KEPT: usize = 144;
/// Routes that are told apart, and one for all others.
const ROUTES: usize = 32;
/// The longest name, characters.
const NAME: usize = 96;
/// How far back the past goes, and how long a new mix is looked at.
const PAST: Nanos = 600 * SECOND;
const SINCE: Nanos = 120 * SECOND;
/// Spans come late and in batches.
const LATE: Nanos = 10 * SECOND;
/// On each side there must be at least so many requests, in so many windows.
const ENOUGH: (u32, u64) = (20, 2);
/// A share that moved by less is the same; a rate within this factor, too.
const MOVED: (f64, f64) = (0.2, 1.5);
/// Most routes that are told of.
const TOLD: usize = 3;

/// The counts.
#[derive(Debug)]
pub(crate) struct Traffic {
    names: Vec<String>,
    counts: Windows<[u32; ROUTES]>,
    first: Option<Nanos>,
}

/// Counts of a time.
struct Sum {
    routes: [u32; ROUTES],
    all: u32,
    seconds: f64,
}

impl Traffic {
    /// Without a request yet.
    pub(crate) fn new() -> Self {
        Self { names: Vec::new(), counts: Windows::new(LENGTH, KEPT), first: None }
    }

    /// Takes a request that ended. What was refused at the door is traffic too.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos) {
        let known = self.names.iter().position(|name| is_told_as(&told.route, NAME, name));
        let place = known.unwrap_or_else(|| {
            if self.names.len() < ROUTES - 1 {
                self.names.push(plain(&told.route, NAME).collect());
                self.names.len() - 1
            } else {
                ROUTES - 1
            }
        });
        self.first = Some(self.first.map_or(ended, |first| first.min(ended)));
        if let Some(counts) = self.counts.at(ended) {
            counts[place] = counts[place].saturating_add(1);
        }
    }

    /// What differs since an onset, which is known to an interval, from the time before it, in words.
    pub(crate) fn changed(&self, onset: (Nanos, Nanos), now: Nanos) -> Vec<String> {
        let end = onset.0 / LENGTH * LENGTH;
        let first = self.first.unwrap_or(end).max(end.saturating_sub(PAST)) / LENGTH * LENGTH;
        let begin = onset.1.div_ceil(LENGTH).saturating_mul(LENGTH);
        let until = now.saturating_sub(LATE).min(begin.saturating_add(SINCE)) / LENGTH * LENGTH;
        let Some((before, after)) = self.sum(first, end).zip(self.sum(begin, until)) else { return Vec::new() };
        let mut told = Vec::new();
        let rate = |sum: &Sum| f64::from(sum.all) / sum.seconds;
        let (then, since) = (rate(&before), rate(&after));
        if since >= MOVED.1 * then || then >= MOVED.1 * since {
            told.push(format!("traffic: {since:.1} requests a second end since the onset, {then:.1} before"));
        }
        let share = |sum: &Sum, route: usize| f64::from(sum.routes[route]) / f64::from(sum.all);
        let moved = |route: usize| share(&after, route) - share(&before, route);
        let mut routes: Vec<usize> = (0..ROUTES).filter(|route| moved(*route).abs() >= MOVED.0).collect();
        routes.sort_by(|one, other| moved(*other).abs().total_cmp(&moved(*one).abs()));
        told.extend(routes.into_iter().take(TOLD).map(|route| {
            let name = self.names.get(route).map_or("other routes", String::as_str);
            let (since, then) = (share(&after, route) * 100.0, share(&before, route) * 100.0);
            format!("traffic: {name} is {since:.0} % of the requests since the onset, {then:.0} % before")
        }));
        told
    }

    /// What ended from one moment to another; `None`: too little to say.
    fn sum(&self, from: Nanos, until: Nanos) -> Option<Sum> {
        let long = until.saturating_sub(from);
        if long < ENOUGH.1 * LENGTH {
            return None;
        }
        let mut sum = Sum { routes: [0; ROUTES], all: 0, seconds: seconds(long) };
        for (_, counts) in self.counts.range(from, until - 1) {
            for (total, count) in sum.routes.iter_mut().zip(counts) {
                *total = total.saturating_add(*count);
                sum.all = sum.all.saturating_add(*count);
            }
        }
        (sum.all >= ENOUGH.0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TraceId;

    fn request(route: &str, second: u64) -> Request {
        Request {
            pid: Some(1),
            service: "s".into(),
            trace: TraceId([1; 16]),
            span: None,
            route: route.into(),
            started: 0,
            ended: second * SECOND,
            first_byte: None,
            status: Some(200),
            failed: false,
            weight: 1.0,
            peer: None,
            serial: false,
        }
    }

    /// So many requests a second of each of two routes, until second 100 and then until 140.
    fn run(before: (u64, u64), after: (u64, u64)) -> Vec<String> {
        let mut traffic = Traffic::new();
        for second in 0..140 {
            let (light, heavy) = if second < 100 { before } else { after };
            (0..light).for_each(|_| traffic.request(&request("GET /light", second), second * SECOND));
            (0..heavy).for_each(|_| traffic.request(&request("GET /heavy", second), second * SECOND));
        }
        traffic.changed((100 * SECOND, 100 * SECOND), 140 * SECOND)
    }

    #[test]
    fn a_mix_and_a_rate_that_moved_are_told() {
        assert!(run((9, 1), (9, 1)).is_empty());
        assert!(run((9, 1), (8, 2)).is_empty(), "a tenth");
        assert_eq!(run((9, 1), (27, 3)), ["traffic: 30.0 requests a second end since the onset, 10.0 before"]);
        let told = run((9, 1), (2, 8));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.contains(&"traffic: GET /heavy is 80 % of the requests since the onset, 10 % before".to_owned()));
        assert!(run((9, 1), (0, 0)).is_empty(), "nothing ended: there is no mix to compare");
    }

    #[test]
    fn without_a_past_nothing_is_said_and_routes_are_bounded() {
        let mut traffic = Traffic::new();
        (0..1_000_u64).for_each(|n| traffic.request(&request(&format!("GET /{n}"), n / 10), n / 10 * SECOND));
        assert_eq!(traffic.names.len(), ROUTES - 1);
        assert!(traffic.changed((0, 2 * SECOND), 100 * SECOND).is_empty());
        assert!(
            traffic.changed((u64::MAX, u64::MAX), u64::MAX).is_empty() && Traffic::new().changed((0, 0), 0).is_empty()
        );
    }
}
