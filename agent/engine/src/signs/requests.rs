//! What requests suffer, each held against its own route: slow, failed, or open for much longer than any was.
//!
//! A route's usual times are running quantiles, moved a little by every request, so that a heavier mix of routes is
//! no slowness; slow requests move them by the clock, not by their number, so that a quarter of an hour of slowness
//! is needed to make it usual, at any rate of requests. Invariant: a route that few requests were seen of says
//! nothing. Memory: 32 routes.

use crate::{
    model::{Nanos, OpenRequests, Request},
    text::cut,
    window::{SECOND, seconds},
};
use std::collections::BTreeMap;

/// Routes that are told apart.
const ROUTES: usize = 32;
/// A longer name than a route template has.
const NAME: usize = 96;
/// Requests of a route before it has a usual time.
const ENOUGH: u32 = 10;
/// Slow: so many times the usual, and by at least so many seconds.
const SLOW: (f64, f64) = (3.0, 0.1);
/// Hung: open for so many times what nearly all took, and for at least so many seconds.
const HUNG: (f64, f64) = (4.0, 5.0);
/// A slow request moves what is usual only so long after another one did.
const LEARN_EVERY: Nanos = 20 * SECOND;
/// A quantile moves by this share, times its distance from the middle.
const STEP: f64 = 0.04;
/// At first it moves faster, to find its place.
const FIRST_STEP: f64 = 0.4;

/// A running quantile of times, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantile {
    share: f64,
    value: f64,
}

impl Quantile {
    /// One that begins with its first value.
    pub(super) fn at(share: f64, value: f64) -> Self {
        Self { share, value: value.clamp(1e-6, 1e6) }
    }

    /// Where it is, seconds.
    pub(super) fn value(self) -> f64 {
        self.value
    }

    /// Moves towards a value; faster while it is new.
    pub(super) fn learn(&mut self, value: f64, is_new: bool) {
        self.take(value, if is_new { FIRST_STEP } else { STEP });
    }

    /// Moves towards a value: in balance where the share of values below is `share`.
    fn take(&mut self, value: f64, step: f64) {
        let up = value > self.value;
        let weight = if up { self.share } else { self.share - 1.0 };
        self.value = (self.value * (2.0 * step * weight).exp()).clamp(1e-6, 1e6);
        // It must not run past what it moves towards.
        self.value = if up { self.value.min(value.max(1e-6)) } else { self.value.max(value) };
    }
}

#[derive(Clone, Copy, Debug)]
struct Route {
    seen: u32,
    /// When a slow request last moved what is usual.
    learnt: Nanos,
    /// Until the first byte: the median.
    first_byte: Quantile,
    /// Until the end: nearly all.
    whole: Quantile,
}

/// What a request that ended was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Slow or not; `None`: its route has no usual time yet.
    pub(super) slow: Option<bool>,
    pub(super) failed: bool,
}

/// Usual times by route.
#[derive(Debug, Default)]
pub(super) struct Routes(BTreeMap<String, Route>);

impl Routes {
    /// Takes a request that ended. One that the breaker refused says nothing: `None`.
    pub(super) fn ended(&mut self, told: &Request, at: Nanos) -> Option<Judged> {
        if told.status == Some(429) {
            return None;
        }
        let failed = told.failed || told.status.is_some_and(|status| status >= 500);
        let name = cut(&told.route, NAME);
        let first_byte = seconds(told.first_byte.unwrap_or(told.ended).saturating_sub(told.started));
        let whole = seconds(told.ended.saturating_sub(told.started));
        if !self.0.contains_key(name) {
            if self.0.len() >= ROUTES {
                return Some(Judged { slow: None, failed });
            }
            let (first_byte, whole) = (Quantile::at(0.5, first_byte), Quantile::at(0.95, whole));
            self.0.insert(name.to_owned(), Route { seen: 0, learnt: 0, first_byte, whole });
        }
        let route = self.0.get_mut(name)?;
        let usual = route.first_byte.value;
        let is_slow = first_byte > (SLOW.0 * usual).max(usual + SLOW.1);
        let slow = (route.seen >= ENOUGH).then_some(is_slow);
        // What is quick because it failed is no measure.
        let learns = slow != Some(true) || at.saturating_sub(route.learnt) >= LEARN_EVERY;
        if !failed && learns {
            route.learnt = if slow == Some(true) { at } else { route.learnt };
            let is_new = route.seen < ENOUGH;
            route.first_byte.learn(first_byte, is_new);
            route.whole.learn(whole, is_new);
            route.seen = route.seen.saturating_add(1);
        }
        Some(Judged { slow, failed })
    }

    /// Of the requests that are open now: those that hang, and all whose route has a usual time.
    pub(super) fn open(&self, told: &OpenRequests, at: Nanos) -> (u32, u32) {
        let mut count = (0_u32, 0_u32);
        for item in &told.items {
            let known = self.0.get(cut(&item.route, NAME));
            let Some(route) = known.filter(|route| route.seen >= ENOUGH) else { continue };
            let hangs = seconds(at.saturating_sub(item.since)) > (HUNG.0 * route.whole.value).max(HUNG.1);
            count = (count.0 + u32::from(hangs), count.1 + 1);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OpenRequest, TraceId};

    fn request(route: &str, ms: u64, status: u16) -> Request {
        Request {
            pid: Some(1),
            service: "s".into(),
            trace: TraceId([1; 16]),
            route: route.into(),
            started: 0,
            ended: ms * 1_000_000,
            first_byte: None,
            status: Some(status),
            failed: false,
            weight: 1.0,
            span: None,
            peer: None,
            serial: false,
        }
    }

    /// Two routes, one ten times as long as the other; times spread by a half.
    fn usual() -> Routes {
        let mut routes = Routes::default();
        for n in 0..200 {
            routes.ended(&request("GET /light", 20 + n * 7 % 20, 200), 0);
            routes.ended(&request("GET /heavy", 400 + n * 70 % 400, 200), 0);
        }
        routes
    }

    #[test]
    fn a_request_is_slow_by_its_own_route() {
        let mut routes = usual();
        let slow = |routes: &mut Routes, route, ms| routes.ended(&request(route, ms, 200), 0).unwrap().slow;
        assert_eq!(slow(&mut routes, "GET /light", 110), Some(false), "80 ms more are of no account");
        assert_eq!(slow(&mut routes, "GET /light", 600), Some(true));
        assert_eq!(slow(&mut routes, "GET /heavy", 1_100), Some(false));
        assert_eq!(slow(&mut routes, "GET /heavy", 2_500), Some(true));
        assert_eq!(slow(&mut routes, "GET /new", 9_000), None);
    }

    #[test]
    fn failures_count_and_the_breakers_refusals_do_not() {
        let mut routes = usual();
        assert!(routes.ended(&request("GET /light", 1, 503), 0).unwrap().failed);
        assert_eq!(routes.ended(&request("GET /light", 1, 429), 0), None);
        for _ in 0..500 {
            routes.ended(&request("GET /light", 1, 500), 0);
        }
        assert_eq!(
            routes.ended(&request("GET /light", 110, 200), 0).unwrap().slow,
            Some(false),
            "its usual time stays"
        );
    }

    #[test]
    fn slowness_becomes_usual_by_the_clock_whatever_the_rate() {
        for per_second in [2, 200] {
            let (mut routes, mut learnt) = (usual(), None);
            for n in 0..2_000 * per_second {
                let at = 100 * SECOND + n * SECOND / per_second;
                let slow = routes.ended(&request("GET /light", 600, 200), at).unwrap().slow;
                if slow == Some(false) {
                    learnt = Some(n / per_second);
                    break;
                }
            }
            assert!(learnt.is_some_and(|seconds| (300..1_800).contains(&seconds)), "{per_second}: {learnt:?}");
        }
    }

    #[test]
    fn what_is_open_for_much_longer_than_any_hangs() {
        let routes = usual();
        let item = |route: &str, since| OpenRequest { trace: TraceId([1; 16]), route: route.into(), since };
        let items = vec![item("GET /light", 0), item("GET /light", 6_000_000_000), item("GET /new", 0)];
        let told = OpenRequests { pid: 1, at: 0, in_flight: 3, limit: None, rejected_total: 0, complete: true, items };
        assert_eq!(routes.open(&told, 10_000_000_000), (1, 2));
    }

    #[test]
    fn routes_without_end_are_bounded() {
        let mut routes = Routes::default();
        for n in 0..1_000 {
            routes.ended(&request(&format!("GET /{n}"), n, 200), 0);
        }
        assert_eq!(routes.0.len(), ROUTES);
    }
}
