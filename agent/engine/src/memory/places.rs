//! Where the pages of a target come in, over the last minutes, and what has become more since a moment.
//!
//! Pages that come in say nothing of those that go. What tells the place of a growth is the contrast: places
//! that brought as much before it began are everyday turnover. Invariant: what does not fit is counted as an
//! unknown place, so shares are of everything. Bounded: 300 places of 32 windows of 10 s.

use crate::{
    model::{Join, MemorySite, Nanos, PageKind, Pages, SiteId, TraceId},
    window::{SECOND, seconds},
};
use std::collections::BTreeMap;

/// Places that are kept.
pub(super) const SITES: usize = 300;
/// Places that are shown.
const SHOWN: usize = 16;
/// Traces that are kept of a place.
const TRACES: usize = 16;
/// The length of a window, and how many there are.
const WINDOW: Nanos = 10 * SECOND;
const WINDOWS: usize = 32;
/// Windows that a picture sums up: 90 to 100 seconds.
const SHOWN_WINDOWS: u64 = 10;

#[derive(Clone, Debug, Default)]
struct Came {
    /// Bytes by window, its number modulo the count.
    bytes: [u64; WINDOWS],
    newest: u64,
    traces: Vec<TraceId>,
    join: Join,
}

impl Came {
    fn add(&mut self, window: u64, bytes: u64) {
        if window > self.newest {
            for number in (self.newest + 1..=window).take(WINDOWS) {
                self.bytes[slot(number)] = 0;
            }
            self.newest = window;
        }
        if self.newest - window < WINDOWS as u64 {
            let sum = &mut self.bytes[slot(window)];
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Bytes of the windows from the first to the last.
    fn sum(&self, first: u64, last: u64) -> u64 {
        let oldest = self.newest.saturating_sub(WINDOWS as u64 - 1);
        (first.max(oldest)..=last.min(self.newest)).fold(0, |sum, number| sum.saturating_add(self.bytes[slot(number)]))
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number % WINDOWS as u64).unwrap_or(0)
}

/// Where growth comes from, as far as samples tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    /// The place from which most of what is new comes.
    pub(crate) site: SiteId,
    /// Bytes a second that come in there more than before.
    pub(crate) rate: f64,
    /// The same of all places.
    pub(crate) all: f64,
    /// Requests that did it, newest last.
    pub(crate) traces: Vec<TraceId>,
    /// How the last of them was found.
    pub(crate) join: Join,
}

/// The places.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: BTreeMap<(PageKind, SiteId), Came>,
    /// When counting began, by kind.
    counted: [Option<Nanos>; 2],
}

impl Places {
    /// Counting began anew: nothing is known of the time before.
    pub(super) fn begin(&mut self, kind: PageKind, at: Nanos) {
        self.counted[kind as usize] = Some(at);
    }

    /// Takes what came in.
    pub(super) fn take(&mut self, told: &Pages, until: Nanos) {
        // What is told at the end of a window came in before it.
        let window = until.saturating_sub(1) / WINDOW;
        for place in &told.sites {
            let key = (told.kind, place.site);
            if self.known.len() >= SITES && !self.known.contains_key(&key) {
                self.known.retain(|_, came| window.saturating_sub(came.newest) < SHOWN_WINDOWS);
            }
            let full = self.known.len() >= SITES && !self.known.contains_key(&key);
            let came = self.known.entry(if full { (told.kind, SiteId(0)) } else { key }).or_default();
            came.add(window, place.bytes);
            if let Some(trace) = place.trace {
                came.join = place.join;
                came.traces.retain(|known| *known != trace);
                came.traces.push(trace);
                let more = came.traces.len().saturating_sub(TRACES);
                came.traces.drain(..more);
            }
        }
    }

    /// What most of the pages that came in since `since` and did not before come from.
    pub(super) fn origin(&self, kind: PageKind, since: Nanos, now: Nanos) -> Option<Origin> {
        let begun = since / WINDOW;
        // The window in which it began is partly from before it, unless it is all that there is.
        let first = if now / WINDOW > begun { begun + 1 } else { begun };
        let over = seconds(now.saturating_sub(first * WINDOW)).max(1.0);
        let counted = self.counted[kind as usize]?.div_ceil(WINDOW);
        let oldest = counted.max(begun.saturating_sub(WINDOWS as u64 / 2));
        // The most of any window: what comes and goes varies, and only what it never was is new.
        let before = |came: &Came| {
            (oldest..begun).map(|window| rate(came.sum(window, window), seconds(WINDOW))).fold(0.0, f64::max)
        };
        let gains = |came: &Came| (rate(came.sum(first, now / WINDOW), over) - before(came)).max(0.0);
        let of_kind = || self.known.iter().filter(|((of, _), _)| *of == kind);
        let all: f64 = of_kind().map(|(_, came)| gains(came)).sum();
        let ((_, site), came) = of_kind().max_by(|a, b| gains(a.1).total_cmp(&gains(b.1)))?;
        let rate = gains(came);
        (rate > 0.0).then(|| Origin { site: *site, rate, all, traces: came.traces.clone(), join: came.join })
    }

    /// The places of the last one to two minutes, most first.
    pub(super) fn view(&self, now: Nanos) -> Vec<MemorySite> {
        let window = now / WINDOW;
        let show = |(&(kind, site), came): (&(PageKind, SiteId), &Came)| MemorySite {
            kind,
            site,
            bytes: came.sum((window + 1).saturating_sub(SHOWN_WINDOWS), window),
            traces: came.traces.clone(),
        };
        let mut sites: Vec<MemorySite> = self.known.iter().map(show).filter(|site| site.bytes > 0).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.bytes));
        sites.truncate(SHOWN);
        sites
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes, for a rate")]
fn rate(bytes: u64, over: f64) -> f64 {
    bytes as f64 / over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PagesAt;

    fn came(places: &mut Places, at: Nanos, sites: &[(u64, u64)]) {
        let place = |(site, bytes): &(u64, u64)| PagesAt {
            site: SiteId(*site),
            bytes: *bytes,
            trace: Some(TraceId([u8::try_from(at / SECOND % 250 + 1).unwrap(); 16])),
            join: Join::ThreadContext,
        };
        let sites = sites.iter().map(place).collect();
        places.take(&Pages { pid: 1, kind: PageKind::Anon, since: at - SECOND, until: at, bytes: 0, sites }, at);
    }

    #[test]
    fn what_is_new_is_told_from_what_always_came_in() {
        let mut places = Places::default();
        places.begin(PageKind::Anon, 0);
        for second in 1..=120 {
            let leak = if second > 60 { 1_000 } else { 0 };
            came(&mut places, second * SECOND, &[(7, 50_000), (8, leak)]);
        }
        let origin = places.origin(PageKind::Anon, 60 * SECOND, 120 * SECOND).unwrap();
        assert_eq!(origin.site, SiteId(8));
        assert!((900.0..=1_100.0).contains(&origin.rate) && origin.rate > 0.9 * origin.all, "{origin:?}");
        assert_eq!((origin.traces.len(), origin.traces[15]), (TRACES, TraceId([121; 16])));
        let blind = places.origin(PageKind::Anon, 0, 120 * SECOND).unwrap();
        assert_eq!(blind.site, SiteId(7), "without a time before, what brings most is told");
        assert!(blind.rate < blind.all && places.origin(PageKind::Shmem, 0, SECOND).is_none());
    }

    #[test]
    fn places_without_end_are_bounded_and_old_ones_fade() {
        let mut places = Places::default();
        (1..2_000).for_each(|number| came(&mut places, SECOND, &[(number, 10)]));
        assert!(places.known.len() <= SITES + 1);
        assert_eq!(places.view(SECOND)[0].site, SiteId(0), "the rest is counted as unknown");
        assert!(places.view(200 * SECOND).is_empty());
        (3_000..3_010).for_each(|number| came(&mut places, 200 * SECOND, &[(number, 10)]));
        assert!(places.known.len() <= 10, "they make room");
        came(&mut places, u64::MAX, &[(1, 1)]);
        came(&mut places, SECOND, &[(1, 1)]);
    }
}
