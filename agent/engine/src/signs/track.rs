//! One figure over time, and whether it is out of its ordinary: large by itself, large against its own past, and
//! for some time.
//!
//! A figure is a share or a rate: an amount over what it is measured by (resent of sent segments, waiting seconds of
//! seconds), added up in windows of two seconds. Its usual height is the 90th percentile of its past windows, so that
//! a few peaks do not hide in a mean, and a flat past, whose spread is nothing, makes nothing large: the bar is then
//! what counts for anything at all. Once it deviates, its past is frozen, or the trouble would become usual;
//! what deviates for [`LEARN`] is. Invariant: all figures are finite. Memory: 150 windows. Cost: one addition per fact,
//! and one sort of 150 numbers every two seconds.

use crate::{
    model::Nanos,
    window::{SECOND, Windows},
};

/// The length of a window.
pub(crate) const WINDOW: Nanos = 2 * SECOND;
/// Windows that are kept: five minutes.
const KEPT: usize = 150;
/// What deviates for so long is what is usual now.
const LEARN: Nanos = 900 * SECOND;
/// What has no past must be so many times as large, for so many times as long: a start is like that too.
const WITHOUT_PAST: (f64, u32) = (4.0, 3);
/// What is about to be found: of the last so many windows those two that tell most lately are high, the newer one so many
/// times as high as it must be. Half of a window tells as well.
const EARLY: (u32, f64) = (4, 1.5);
/// Where it has fallen below this share of the bar it is over.
const OVER: f64 = 0.5;
/// No single fact may claim more than this.
const MOST: f64 = 1e12;

/// When a figure counts as out of its ordinary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    /// The least height that is of any account.
    pub(crate) least: f64,
    /// How many times its usual height.
    pub(crate) times: f64,
    /// It is a share of 1: then being so many times closer to the whole is enough, or what is usually half could never
    /// be out of its ordinary.
    pub(crate) is_share: bool,
    /// It means nothing by itself, however large: only its own past tells whether it is much.
    pub(crate) needs_past: bool,
    /// The least that it must add up to over the windows of `hold`.
    pub(crate) events: f64,
    /// Of the last so many windows ...
    pub(crate) hold: u32,
    /// ... this many must be that high.
    pub(crate) needed: u32,
}

impl Bar {
    /// The height that it must reach where this one is usual.
    fn level(&self, usual: f64) -> f64 {
        let times = self.times * usual;
        let closer = 1.0 - (1.0 - usual).max(0.0) / self.times.max(1.0);
        self.least.max(if self.is_share { times.min(closer) } else { times })
    }

    /// The height that is far above such a level: a share that is large cannot be half as much again.
    fn far(&self, level: f64) -> f64 {
        let times = EARLY.1 * level;
        if self.is_share { times.min(level.midpoint(1.0)) } else { times }
    }
}

/// How long its past must be before it counts as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// Seconds.
    pub(crate) seconds: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    amount: f64,
    of: f64,
}

/// A figure that is out of its ordinary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Deviation {
    /// The window in which it began.
    pub(crate) since: Nanos,
    /// Its usual height; the median, as people read it.
    pub(crate) before: f64,
    /// Its height over the last seconds.
    pub(crate) after: f64,
    /// The height that it had to reach.
    pub(crate) level: f64,
    /// What it adds up to since it began, as far back as is kept.
    pub(crate) amount: f64,
    /// It has a past to be compared with.
    pub(crate) has_past: bool,
}

/// The past against which a deviation is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    since: Nanos,
    before: f64,
    level: f64,
    has_past: bool,
}

/// A figure.
#[derive(Debug)]
pub(crate) struct Track {
    sums: Windows<Sum>,
    held: Option<Held>,
    found: Option<Deviation>,
    early: Option<Deviation>,
    judged: u64,
}

impl Track {
    /// Without a fact yet.
    pub(crate) fn new() -> Self {
        Self { sums: Windows::new(WINDOW, KEPT), held: None, found: None, early: None, judged: 0 }
    }

    /// Takes an amount, and what it is measured by.
    pub(crate) fn add(&mut self, at: Nanos, amount: f64, of: f64) {
        let sane = |value: f64| if value.is_finite() { value.clamp(0.0, MOST) } else { 0.0 };
        if let Some(sum) = self.sums.at(at) {
            sum.amount = sane(sum.amount + sane(amount));
            sum.of = sane(sum.of + sane(of));
        }
    }

    /// Its deviation, as of the last judgement.
    pub(crate) fn found(&self) -> Option<&Deviation> {
        self.found.as_ref()
    }

    /// What is no deviation yet, but will be if it lasts; as of the last judgement.
    pub(crate) fn early(&self) -> Option<&Deviation> {
        self.early.as_ref()
    }

    /// Its height over the last `span`, where anything was measured.
    pub(crate) fn height(&self, now: Nanos, span: Nanos) -> Option<f64> {
        pooled(self.sums.range(now.saturating_sub(span), now).map(|(_, sum)| *sum))
    }

    /// Its usual height before a moment, and its height since.
    pub(crate) fn since(&self, since: Nanos, now: Nanos, past: Past) -> Option<(f64, f64)> {
        let before = self.before(since);
        let lately = pooled(self.sums.range(since, now).map(|(_, sum)| *sum))?;
        has_past(&before, past).then(|| (rank(&before, 0.5), lately))
    }

    /// Whether it is as high as it must be over the last windows of `hold`, or the last two, taken together, against what was
    /// before: what is about to be found, if it lasts.
    pub(crate) fn is_high(&self, now: Nanos, bar: &Bar, past: Past) -> bool {
        let end = self.sums.number(now).saturating_mul(WINDOW);
        let from = end.saturating_sub(WINDOW.saturating_mul(bar.hold.into()));
        let before = self.before(from);
        let level = bar.level(rank(&before, 0.9));
        let high = |from| pooled(self.sums.range(from, now).map(|(_, sum)| *sum)).is_some_and(|pool| pool >= level);
        has_past(&before, past) && (high(from) || high(end.saturating_sub(WINDOW)))
    }

    /// Judges the windows that are complete, each once; what begins early is judged each time.
    pub(crate) fn judge(&mut self, now: Nanos, bar: &Bar, past: Past) {
        let present = self.sums.number(now);
        if present != self.judged {
            self.judged = present;
            let end = present.saturating_mul(WINDOW);
            if self.held.is_some_and(|held| end.saturating_sub(held.since) > LEARN) {
                self.held = None;
            }
            self.held = match self.held {
                Some(held) => self.goes_on(end, bar, held.level).then_some(held),
                None => self.begins(end, bar, past),
            };
            self.found = self.held.map(|held| self.deviation(end, bar, held));
        }
        self.early = if self.held.is_some() { None } else { self.begins_early(now, bar, past) };
    }

    /// The windows of the last `count` before `end`, oldest first.
    fn last(&self, end: Nanos, count: u32) -> Vec<(Nanos, Sum)> {
        let from = end.saturating_sub(WINDOW.saturating_mul(count.into()));
        let measured = self.sums.range(from, end.saturating_sub(1)).filter(|(_, sum)| sum.of > 0.0);
        measured.map(|(start, sum)| (start, *sum)).collect()
    }

    /// Heights of the windows before a time where anything was measured, least first.
    fn before(&self, from: Nanos) -> Vec<f64> {
        let measured = self.sums.range(0, from.saturating_sub(1)).filter(|(_, sum)| sum.of > 0.0);
        let mut heights: Vec<f64> = measured.map(|(_, sum)| height(*sum)).collect();
        heights.sort_by(f64::total_cmp);
        heights
    }

    fn begins(&self, end: Nanos, bar: &Bar, past: Past) -> Option<Held> {
        // Whatever the past was, none of them reaches the bar: nearly always.
        let longest = WINDOW.saturating_mul(bar.hold.saturating_mul(WITHOUT_PAST.1).into());
        let mut recent = self.sums.range(end.saturating_sub(longest), end.saturating_sub(1));
        if !recent.any(|(_, sum)| sum.of > 0.0 && height(*sum) >= bar.least) {
            return None;
        }
        let from = end.saturating_sub(WINDOW.saturating_mul(bar.hold.into()));
        let before = self.before(from);
        let has_past = has_past(&before, past);
        if bar.needs_past && !has_past {
            return None;
        }
        let (level, longer) =
            if has_past { (bar.level(rank(&before, 0.9)), 1) } else { (bar.least * WITHOUT_PAST.0, WITHOUT_PAST.1) };
        let recent = self.last(end, bar.hold.saturating_mul(longer));
        let high = |sum: &Sum| height(*sum) >= level;
        let count = recent.iter().filter(|(_, sum)| high(sum)).count() as u64;
        let lately = recent.iter().rev().take(2).any(|(_, sum)| high(sum));
        let amount: f64 = recent.iter().map(|(_, sum)| sum.amount).sum();
        let pool = pooled(recent.iter().map(|(_, sum)| *sum))?;
        // As many windows may be low as otherwise.
        let may_be_low = u64::from(bar.hold.saturating_sub(bar.needed));
        let needed = (u64::from(bar.hold) * u64::from(longer)).saturating_sub(may_be_low);
        let holds = count >= needed && lately && amount >= bar.events && pool >= level;
        let first = recent.iter().find(|(_, sum)| high(sum)).filter(|_| holds)?;
        // Without a past of its own all that was before is part of the same.
        let before = if has_past { rank(&before, 0.5) } else { 0.0 };
        Some(Held { since: first.0, before, level, has_past })
    }

    /// What is high now, and far above that in the end.
    fn begins_early(&self, now: Nanos, bar: &Bar, past: Past) -> Option<Deviation> {
        let begun = self.sums.number(now).saturating_mul(WINDOW);
        let end = if now.saturating_sub(begun) >= WINDOW / 2 { begun.saturating_add(WINDOW) } else { begun };
        let from = end.saturating_sub(WINDOW.saturating_mul(EARLY.0.into()));
        let mut told = self.sums.range(from, end.saturating_sub(1)).filter(|(_, sum)| sum.of > 0.0);
        // Nearly always none of them is.
        if !told.any(|(_, sum)| height(*sum) >= bar.least) {
            return None;
        }
        let recent = self.last(end, EARLY.0);
        let [.., (since, first), (newest, last)] = recent.as_slice() else { return None };
        // No level is below the least one: what is not far above that needs no look at the past.
        if height(*last) < bar.far(bar.least) {
            return None;
        }
        let before = self.before(*since);
        let level = bar.level(rank(&before, 0.9));
        let is_new = newest.saturating_add(2 * WINDOW) >= end;
        let is_far = height(*first) >= level && height(*last) >= bar.far(level);
        let enough = (first.amount + last.amount) * f64::from(bar.hold) >= 2.0 * bar.events;
        let held = Held { since: *since, before: rank(&before, 0.5), level, has_past: true };
        (has_past(&before, past) && is_new && is_far && enough).then(|| self.deviation(end, bar, held))
    }

    fn goes_on(&self, end: Nanos, bar: &Bar, level: f64) -> bool {
        let recent = self.last(end, bar.hold);
        recent.iter().filter(|(_, sum)| height(*sum) >= OVER * level).count() as u64 * 2 >= u64::from(bar.needed)
    }

    fn deviation(&self, end: Nanos, bar: &Bar, held: Held) -> Deviation {
        let from = end.saturating_sub(WINDOW.saturating_mul(bar.hold.into())).max(held.since);
        let of = |from| self.sums.range(from, end.saturating_sub(1)).map(|(_, sum)| *sum);
        Deviation {
            since: held.since,
            before: held.before,
            after: pooled(of(from)).unwrap_or(0.0),
            level: held.level,
            amount: of(held.since).map(|sum| sum.amount).sum::<f64>().min(MOST),
            has_past: held.has_past,
        }
    }
}

/// Whether so many windows are a past.
fn has_past(before: &[f64], past: Past) -> bool {
    before.len() as u64 >= (past.seconds / (WINDOW / SECOND)).max(1)
}

fn height(sum: Sum) -> f64 {
    if sum.of > 0.0 { (sum.amount / sum.of).min(MOST) } else { 0.0 }
}

fn pooled(sums: impl Iterator<Item = Sum>) -> Option<f64> {
    let all = sums.fold(Sum::default(), |all, sum| Sum { amount: all.amount + sum.amount, of: all.of + sum.of });
    (all.of > 0.0).then(|| height(all))
}

/// The value at a share of some that are sorted; 0 of none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
fn rank(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
