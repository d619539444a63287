//! How much of a request's time lies in calls to others, and to whom: slow and failed requests against healthy ones.
//!
//! A client span and the request that made it carry the same trace. Of a healthy request it is learnt, by route, how long
//! it takes and how long its calls to each peer do; of a slow one, how much longer than that it took, and how much longer
//! its calls to each peer did. A peer to whose calls most of the delay belongs is a reason to look at it; if calls take as
//! long as ever, the delay lies in the process: perhaps right before a call, which then may have waited for a connection.
//! Calls to one peer at the same time count once.
//! Invariant: a call counts only within its own request's time; what spans are too late for, or no room is left for, is
//! no evidence either way. Cost: constant for each span; memory: 896 traces of 16 calls, some 0.4 MB a target that
//! calls anybody.

use crate::{
    correlate::recent::Recent,
    model::{Call, Nanos, Request, TraceId},
    text::{cut, is_told_as, plain},
    window::{SECOND, Windows, seconds},
};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Peers told apart, the last of which is all others.
const PEERS: usize = 16;
/// The longest name, characters.
const NAME: usize = 128;
/// Traces that wait for more of their spans: just as many as leave half of a table's room free, which with one more would be
/// twice as large.
const OPEN: usize = 896;
/// Calls of a trace.
const CALLS: usize = 16;
/// So long after a request its calls are complete: spans of one trace come in one batch or the next.
const LATE: Nanos = 2 * SECOND;
/// Routes that are told apart.
const ROUTES: usize = 32;
/// Healthy requests before it is known how a route is.
const ENOUGH: u32 = 5;
/// A healthy request moves what is usual by this share.
const STEP: f64 = 0.05;
/// Requests that were slow or failed before they say anything.
const LEAST: u32 = 5;
/// Of the delay, or of the failures, at least this share must belong to one peer.
const MOST_OF: f64 = 0.5;
/// Of failures: healthy requests have fewer failed calls by this factor.
const RARER: f64 = 0.25;
/// Traces that are told as examples.
const TOLD: usize = 8;

type ByPeer = [f64; PEERS];
/// A call: peer, begin, end, and whether it failed.
type Made = (usize, Nanos, Nanos, bool);

/// A request that ended.
#[derive(Debug)]
struct Done {
    /// Its place among the routes; `None`: one too many.
    route: Option<u8>,
    started: Nanos,
    until: Nanos,
    slow: Option<bool>,
    failed: bool,
}

/// A trace whose spans are still awaited.
#[derive(Debug, Default)]
struct Open {
    number: u64,
    calls: SmallVec<[Made; 1]>,
    request: Option<Done>,
}

/// How a healthy request of a route is: seconds, and the share of requests with a failed call.
#[derive(Debug, Default)]
struct Usual {
    seen: u32,
    whole: f64,
    calls: ByPeer,
    failing: ByPeer,
    /// Seconds right before the first call, in which no other went on.
    ahead: ByPeer,
}

/// What slow and failed requests of a window add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    slow: u32,
    delay: f64,
    /// Seconds in calls, of slow requests; what is usual for them; and the part of the delay.
    calls: ByPeer,
    usual: ByPeer,
    late: ByPeer,
    failed: u32,
    failing: ByPeer,
    failing_usually: ByPeer,
    /// Seconds right before the first call, of slow requests: all of it, what is usual, and the part of the delay.
    ahead: [ByPeer; 3],
}

/// Who is behind slow or failed requests, as far as their calls tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Behind {
    pub(crate) peer: String,
    /// The share of the delay, or of the failures, that belongs to it.
    pub(crate) share: f64,
    /// Seconds in calls to it a request, or the share of requests with a failed call: healthy, and not.
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// By how much a slow request was late, seconds; of failures 0.
    pub(crate) delay: f64,
    /// Requests.
    pub(crate) count: u32,
    /// It is about failures.
    pub(crate) fails: bool,
    /// Some of the requests, newest last.
    pub(crate) traces: Vec<TraceId>,
}

/// Calls and requests of one target.
#[derive(Debug)]
pub(crate) struct Calls {
    peers: Vec<String>,
    open: Recent<TraceId, Open>,
    /// Requests that ended, and when their calls are complete.
    due: VecDeque<(TraceId, u64, Nanos)>,
    number: u64,
    routes: Vec<(String, Usual)>,
    sums: Windows<Sum>,
    last: VecDeque<(Nanos, TraceId)>,
}

impl Calls {
    /// Without a call yet.
    pub(crate) fn new() -> Self {
        Self {
            peers: Vec::new(),
            open: Recent::default(),
            due: VecDeque::new(),
            number: 0,
            routes: Vec::new(),
            sums: Windows::new(2 * SECOND, 90),
            last: VecDeque::new(),
        }
    }

    /// Takes a call that ended.
    pub(crate) fn call(&mut self, told: &Call, ended: Nanos) {
        let peer = self.peer(&told.peer);
        let entry = self.entry(told.trace);
        if entry.calls.len() < CALLS {
            entry.calls.push((peer, told.started.min(ended), ended, told.failed));
        }
    }

    /// Takes a request that ended, and what was found of it. `now` is when it was told.
    pub(crate) fn request(&mut self, told: &Request, ended: Nanos, (slow, failed): (Option<bool>, bool), now: Nanos) {
        let until = told.first_byte.unwrap_or(ended).min(ended);
        let route = self.route(cut(&told.route, NAME));
        let done = Done { route, started: told.started.min(until), until, slow, failed };
        // A second request of one trace: the calls are told apart by their time.
        let entry = self.entry(told.trace);
        let number = entry.number;
        if let Some(first) = entry.request.replace(done) {
            let calls = entry.calls.clone();
            self.learn(told.trace, &first, &calls);
        } else {
            self.due.push_back((told.trace, number, now.saturating_add(LATE)));
        }
        self.settle(now);
    }

    /// Counts the requests whose calls are complete.
    pub(crate) fn settle(&mut self, now: Nanos) {
        while let Some((trace, number, at)) = self.due.front().copied() {
            if at > now && self.due.len() <= OPEN {
                return;
            }
            self.due.pop_front();
            self.close(trace, number);
        }
    }

    /// Who is behind requests that were slow (or failed) since a moment.
    pub(crate) fn behind(&self, fails: bool, since: Nanos, now: Nanos) -> Option<Behind> {
        let sum = self.sums.range(since, now).fold(Sum::default(), |all, (_, sum)| all.plus(sum));
        let (count, whole, of) =
            if fails { (sum.failed, f64::from(sum.failed), &sum.failing) } else { (sum.slow, sum.delay, &sum.late) };
        if count < LEAST || whole <= 0.0 {
            return None;
        }
        let number = f64::from(count);
        let peer = (0..self.peers.len()).max_by(|one, other| of[*one].total_cmp(&of[*other]))?;
        let share = (of[peer] / whole).clamp(0.0, 1.0);
        let (before, after) = if fails {
            (sum.failing_usually[peer] / number, of[peer] / number)
        } else {
            (sum.usual[peer] / number, sum.calls[peer] / number)
        };
        let is_usual = fails && before > RARER * after;
        (share >= MOST_OF && !is_usual).then(|| Behind {
            peer: self.peers[peer].clone(),
            share,
            before,
            after,
            delay: if fails { 0.0 } else { sum.delay / number },
            count,
            fails,
            traces: self.examples(since),
        })
    }

    /// Before whose calls slow requests since a moment lost most of their time.
    pub(crate) fn before(&self, since: Nanos, now: Nanos) -> Option<Behind> {
        let sum = self.sums.range(since, now).fold(Sum::default(), |all, (_, sum)| all.plus(sum));
        let [all, usual, late] = &sum.ahead;
        let peer = (0..self.peers.len()).max_by(|one, other| late[*one].total_cmp(&late[*other]))?;
        let number = f64::from(sum.slow);
        let share = if sum.delay > 0.0 { (late[peer] / sum.delay).clamp(0.0, 1.0) } else { 0.0 };
        (sum.slow >= LEAST && share >= MOST_OF).then(|| Behind {
            peer: self.peers[peer].clone(),
            share,
            before: usual[peer] / number,
            after: all[peer] / number,
            delay: sum.delay / number,
            count: sum.slow,
            fails: false,
            traces: self.examples(since),
        })
    }

    fn examples(&self, since: Nanos) -> Vec<TraceId> {
        self.last.iter().filter(|(at, _)| *at >= since).map(|(_, trace)| *trace).collect()
    }

    fn peer(&mut self, name: &str) -> usize {
        if let Some(place) = self.peers.iter().position(|known| is_told_as(name, NAME, known)) {
            return place;
        }
        if self.peers.len() < PEERS {
            let name = if self.peers.len() == PEERS - 1 { "others".to_owned() } else { plain(name, NAME).collect() };
            self.peers.push(name);
        }
        self.peers.len() - 1
    }

    fn route(&mut self, name: &str) -> Option<u8> {
        let known = self.routes.iter().position(|(known, _)| known == name);
        let place = known.or_else(|| {
            (self.routes.len() < ROUTES).then(|| {
                self.routes.push((name.to_owned(), Usual::default()));
                self.routes.len() - 1
            })
        });
        place.and_then(|place| u8::try_from(place).ok())
    }

    fn entry(&mut self, trace: TraceId) -> &mut Open {
        if !self.open.contains(&trace) {
            if self.open.len() >= OPEN
                && let Some((oldest, Open { calls, request: Some(done), .. })) = self.open.pop()
            {
                self.learn(oldest, &done, &calls);
            }
            self.number += 1;
        }
        let number = self.number;
        self.open.entry(trace, || Open { number, ..Open::default() })
    }

    /// A trace's spans are complete.
    fn close(&mut self, trace: TraceId, number: u64) {
        if self.open.get(&trace).is_some_and(|open| open.number == number)
            && let Some(Open { calls, request: Some(done), .. }) = self.open.take(&trace)
        {
            self.learn(trace, &done, &calls);
        }
    }

    fn learn(&mut self, trace: TraceId, done: &Done, calls: &[Made]) {
        let whole = seconds(done.until - done.started);
        let mut time = [0.0; PEERS];
        let mut failing = [0.0; PEERS];
        let ahead = ahead(done, calls);
        for (peer, total) in time.iter_mut().enumerate().take(self.peers.len()) {
            *total = seconds(together(done, calls.iter().filter(|call| call.0 == peer)));
        }
        for (peer, ..) in calls.iter().filter(|(_, begin, _, failed)| *failed && *begin <= done.until) {
            failing[*peer] = 1.0;
        }
        let Some((_, usual)) = done.route.and_then(|place| self.routes.get_mut(usize::from(place))) else { return };
        if done.slow != Some(true) && !done.failed {
            let step = STEP.max(1.0 / f64::from(usual.seen + 1));
            usual.seen = usual.seen.saturating_add(1);
            usual.whole += step * (whole - usual.whole);
            for peer in 0..self.peers.len() {
                usual.calls[peer] += step * (time[peer] - usual.calls[peer]);
                usual.failing[peer] += step * (failing[peer] - usual.failing[peer]);
                usual.ahead[peer] += step * (ahead[peer] - usual.ahead[peer]);
            }
            return;
        }
        if usual.seen < ENOUGH {
            return;
        }
        let Some(sum) = self.sums.at(done.until) else { return };
        if done.slow == Some(true) {
            let delay = (whole - usual.whole).max(0.0);
            sum.slow = sum.slow.saturating_add(1);
            sum.delay += delay;
            for (peer, (time, usual)) in time.iter().zip(&usual.calls).enumerate() {
                sum.calls[peer] += time;
                sum.usual[peer] += usual;
                sum.late[peer] += (time - usual).clamp(0.0, delay);
            }
            let [all, usually, late] = &mut sum.ahead;
            for (peer, (time, usual)) in ahead.iter().zip(&usual.ahead).enumerate() {
                all[peer] += time;
                usually[peer] += usual;
                late[peer] += (time - usual).clamp(0.0, delay);
            }
        }
        if done.failed {
            sum.failed = sum.failed.saturating_add(1);
            for (peer, (failing, usual)) in failing.iter().zip(&usual.failing).enumerate() {
                sum.failing[peer] += failing;
                sum.failing_usually[peer] += usual;
            }
        }
        if self.last.len() >= TOLD {
            self.last.pop_front();
        }
        self.last.push_back((done.until, trace));
    }
}

impl Sum {
    fn plus(mut self, other: &Self) -> Self {
        (self.slow, self.failed) = (self.slow.saturating_add(other.slow), self.failed.saturating_add(other.failed));
        self.delay += other.delay;
        let [own, usually, late] = &mut self.ahead;
        let all = [
            (own, &other.ahead[0]),
            (usually, &other.ahead[1]),
            (late, &other.ahead[2]),
            (&mut self.calls, &other.calls),
            (&mut self.usual, &other.usual),
            (&mut self.late, &other.late),
            (&mut self.failing, &other.failing),
            (&mut self.failing_usually, &other.failing_usually),
        ];
        for (own, other) in all {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
        self
    }
}

/// How long at least one of some calls went on within a request.
fn together<'a>(done: &Done, calls: impl Iterator<Item = &'a Made>) -> Nanos {
    let within = |(_, begin, end, _): &Made| ((*begin).max(done.started), (*end).min(done.until));
    let mut spans: SmallVec<[(Nanos, Nanos); 2]> = calls.map(within).filter(|(begin, end)| begin < end).collect();
    spans.sort_unstable();
    let (mut total, mut reached) = (0, 0);
    for (begin, end) in spans {
        total += end.saturating_sub(begin.max(reached));
        reached = reached.max(end);
    }
    total
}

/// Seconds right before the first call to each peer, in which no other call went on.
fn ahead(done: &Done, calls: &[Made]) -> ByPeer {
    let mut ahead = [0.0; PEERS];
    let mut spans: SmallVec<[&Made; 2]> =
        calls.iter().filter(|call| (done.started..done.until).contains(&call.1)).collect();
    spans.sort_unstable_by_key(|call| (call.1, call.2));
    let (mut reached, mut told) = (done.started, [false; PEERS]);
    for (peer, begin, end, _) in spans {
        if !std::mem::replace(&mut told[*peer], true) {
            ahead[*peer] = seconds(begin.saturating_sub(reached));
        }
        reached = reached.max(*end);
    }
    ahead
}

#[cfg(test)]
mod tests;
